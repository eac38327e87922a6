#include "web/http.hpp"

#include <algorithm>
#include <cctype>

#include "base/text.hpp"

namespace runmain::web {
namespace {

constexpr std::size_t kMethodMax = 16;

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
         });
}

const char* reason_of(int status) {
  switch (status) {
    case 200: return "OK";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 503: return "Service Unavailable";
    default: return "Status";
  }
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

// The value of the first field of this name; empty: none.
std::string_view field(std::string_view head, std::string_view name) {
  for (std::size_t at = head.find("\r\n"); at != std::string_view::npos; at = head.find("\r\n", at)) {
    at += 2;
    const std::string_view line = head.substr(at, head.find("\r\n", at) - at);
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos && equal_ignoring_case(line.substr(0, colon), name))
      return line.substr(colon + 1);
  }
  return {};
}

}  // namespace

HeadState look_at_head(std::string_view bytes) {
  const std::size_t blank = bytes.find(' ');
  if (blank == std::string_view::npos) {
    const bool could_be = bytes.empty() || (is_token(bytes) && bytes.size() <= kMethodMax);
    return could_be ? HeadState::incomplete : HeadState::not_http;
  }
  if (!is_token(bytes.substr(0, blank)) || blank > kMethodMax) return HeadState::not_http;
  if (bytes.find("\r\n\r\n") != std::string_view::npos) return HeadState::complete;
  return bytes.size() < kRequestHeadMax ? HeadState::incomplete : HeadState::not_http;
}

std::optional<HttpRequest> parse_head(std::string_view bytes) {
  const std::string_view head = bytes.substr(0, bytes.find("\r\n\r\n") + 2);
  const std::string_view line = head.substr(0, head.find("\r\n"));
  const std::size_t first = line.find(' ');
  const std::size_t second = line.find(' ', first + 1);
  if (first == std::string_view::npos || second == std::string_view::npos) return std::nullopt;
  if (line.substr(second + 1).substr(0, 5) != "HTTP/") return std::nullopt;
  const std::string_view target = line.substr(first + 1, second - first - 1);
  HttpRequest request;
  request.method = line.substr(0, first);
  request.path = target.substr(0, target.find('?'));
  request.wants_html = field(head, "accept").find("text/html") != std::string_view::npos;
  return request;
}

std::string to_bytes(const HttpAnswer& answer, bool head_only) {
  std::string bytes = "HTTP/1.1 " + std::to_string(answer.status) + " " + reason_of(answer.status) +
                      "\r\nContent-Type: " + answer.type +
                      "\r\nContent-Length: " + std::to_string(answer.body.size()) +
                      "\r\nCache-Control: no-store\r\nConnection: close\r\n" + answer.fields + "\r\n";
  if (!head_only) bytes += answer.body;
  return bytes;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : printable(text, false)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace runmain::web
