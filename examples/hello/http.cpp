#include "http.hpp"

#include <algorithm>

namespace hello {
namespace {

bool same_word(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// Whether a list such as "keep-alive, close" has the word.
bool list_has(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    if (same_word(trim(list.substr(0, comma)), word)) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

// "GET /path?query HTTP/1.1"
bool read_request_line(std::string_view line, Request& out) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || last <= first + 1) return false;
  const std::string_view version = line.substr(last + 1);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  if (first == 0 || target.find(' ') != std::string_view::npos) return false;
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return false;
  if (target.front() != '/' && target != "*") return false;
  out.method = line.substr(0, first);
  out.keep_alive = version == "HTTP/1.1";
  const std::size_t mark = target.find('?');
  out.path = target.substr(0, mark);
  if (mark != std::string_view::npos) out.query = target.substr(mark + 1);
  return true;
}

bool read_field(std::string_view line, Request& out) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0 || line[colon - 1] == ' ') return false;
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim(line.substr(colon + 1));
  if (same_word(name, "connection")) {
    if (list_has(value, "keep-alive")) out.keep_alive = true;
    if (list_has(value, "close")) out.keep_alive = false;
  } else if (same_word(name, "content-length")) {
    out.has_body = out.has_body || value != "0";
  } else if (same_word(name, "transfer-encoding")) {
    out.has_body = true;
  } else if (same_word(name, "traceparent") || same_word(name, "tracestate") || same_word(name, "baggage")) {
    out.trace.emplace_back(name, value);
  }
  return true;
}

std::string_view reason_of(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 431: return "Request Header Fields Too Large";
    default: return "Unknown";
  }
}

}  // namespace

ParseResult parse_request(std::string_view bytes) {
  ParseResult result;
  const std::size_t end = bytes.substr(0, kHeadMax).find("\r\n\r\n");
  if (end == std::string_view::npos) {
    if (bytes.size() >= kHeadMax) result.state = Parse::too_large;
    return result;
  }
  result.consumed = end + 4;
  std::string_view head = bytes.substr(0, end);
  const std::size_t line_end = std::min(head.find("\r\n"), head.size());
  bool good = read_request_line(head.substr(0, line_end), result.request);
  head.remove_prefix(std::min(line_end + 2, head.size()));
  while (good && !head.empty()) {
    const std::size_t field_end = std::min(head.find("\r\n"), head.size());
    good = read_field(head.substr(0, field_end), result.request);
    head.remove_prefix(std::min(field_end + 2, head.size()));
  }
  if (result.request.has_body) result.request.keep_alive = false;
  result.state = good ? Parse::complete : Parse::bad;
  return result;
}

std::string render(const Answer& answer, bool keep_alive, bool head_only) {
  std::string out = "HTTP/1.1 " + std::to_string(answer.status) + " ";
  out.append(reason_of(answer.status));
  out.append("\r\nContent-Type: ").append(answer.type);
  out.append("\r\nContent-Length: ").append(std::to_string(answer.body.size()));
  if (answer.status == 405) out.append("\r\nAllow: GET, HEAD");
  out.append(keep_alive ? "\r\nConnection: keep-alive\r\n\r\n" : "\r\nConnection: close\r\n\r\n");
  if (!head_only) out.append(answer.body);
  return out;
}

}  // namespace hello
