// t_tracecontext: a service in the middle of a trace, for the W3C Trace Context suite (docs/propagation.md
// says how).
//
//   t_tracecontext PORT
//
// Serves HTTP/1.1 on this port of the loopback. A POST with [{"url":…,"arguments":…},…] makes it POST each
// one's arguments to its url, with what came in its own headers injected into each request, and answer "[]".
// One connection at a time, a request each; a peer that says nothing for kTimeout is given up.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cctype>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "support/trace_hop.hpp"

namespace {

using trace_hop::Headers;
using trace_hop::Hop;

constexpr timeval kTimeout{5, 0};
constexpr std::size_t kMessageMax = 1U << 20U;

struct Message {
  Headers headers;
  std::string body;
};

struct Url {
  sockaddr_in address{};
  std::string host;
  std::string path;
};

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t from = text.find_first_not_of(" \t\r");
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(" \t\r") + 1 - from);
}

// Lines after the first one.
Headers read_headers(std::string_view head) {
  Headers out;
  std::size_t at = head.find('\n');
  while (at != std::string_view::npos) {
    const std::size_t end = head.find('\n', at + 1);
    const std::string_view line = head.substr(at + 1, end == std::string_view::npos ? end : end - at - 1);
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos) {
      out.emplace_back(line.substr(0, colon), trimmed(line.substr(colon + 1)));
    }
    at = end;
  }
  return out;
}

std::size_t content_length(const Headers& headers) {
  for (const auto& [name, value] : headers) {
    if (runmain::detail::same_in_any_case(name, "content-length"))
      return std::strtoul(value.c_str(), nullptr, 10);
  }
  return 0;
}

// A request or an answer with Content-Length.
std::optional<Message> receive(int fd) {
  std::string in;
  char block[4096];
  for (;;) {
    const std::size_t end = in.find("\r\n\r\n");
    if (end != std::string::npos) {
      Message message{read_headers(std::string_view(in).substr(0, end)), in.substr(end + 4)};
      const std::size_t wanted = content_length(message.headers);
      if (message.body.size() >= wanted) return message;
    }
    const ssize_t got = recv(fd, block, sizeof block, 0);
    if (got <= 0 || in.size() > kMessageMax) return std::nullopt;
    in.append(block, static_cast<std::size_t>(got));
  }
}

bool send_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

void set_timeouts(int fd) {
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kTimeout, sizeof kTimeout);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kTimeout, sizeof kTimeout);
}

// http://ADDRESS:PORT/PATH, the address in numbers.
std::optional<Url> parse_url(std::string_view text) {
  constexpr std::string_view kScheme = "http://";
  if (!text.starts_with(kScheme)) return std::nullopt;
  text.remove_prefix(kScheme.size());
  const std::size_t slash = text.find('/');
  Url out;
  out.host = text.substr(0, slash);
  out.path = slash == std::string_view::npos ? "/" : text.substr(slash);
  const std::size_t colon = out.host.find(':');
  out.address = loopback(colon == std::string::npos ? 80 : std::atoi(out.host.c_str() + colon + 1));
  const std::string name = out.host.substr(0, colon);
  if (inet_pton(AF_INET, name.c_str(), &out.address.sin_addr) != 1) return std::nullopt;
  return out;
}

bool post(const Url& url, const Headers& headers, const std::string& body) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  set_timeouts(fd);
  std::string request = "POST " + url.path + " HTTP/1.1\r\nHost: " + url.host +
                        "\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: " +
                        std::to_string(body.size()) + "\r\n";
  for (const auto& [name, value] : headers) request += name + ": " + value + "\r\n";
  const bool done = connect(fd, reinterpret_cast<const sockaddr*>(&url.address), sizeof url.address) == 0 &&
                    send_all(fd, request + "\r\n" + body) && receive(fd).has_value();
  close(fd);
  return done;
}

// False: the request is none that we understand.
bool carry_out(const Message& request) {
  const nlohmann::json calls = nlohmann::json::parse(request.body, nullptr, false);
  if (!calls.is_array()) return false;
  Hop hop(request.headers);
  for (const auto& call : calls) {
    if (!call.is_object() || !call.contains("url") || !call["url"].is_string()) return false;
    const auto url = parse_url(call["url"].get<std::string>());
    if (!url) return false;
    const nlohmann::json arguments = call.contains("arguments") ? call["arguments"] : nlohmann::json::array();
    if (!post(*url, hop.outgoing(), arguments.dump())) {
      std::fprintf(stderr, "t_tracecontext: no answer from %s\n", url->host.c_str());
    }
  }
  return true;
}

void serve(int fd) {
  set_timeouts(fd);
  const auto request = receive(fd);
  if (!request) return;
  const std::string status = carry_out(*request) ? "200 OK" : "400 Bad Request";
  send_all(fd, "HTTP/1.1 " + status +
                   "\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]");
}

}  // namespace

int main(int argc, char** argv) {
  const int port = argc == 2 ? std::atoi(argv[1]) : 0;
  if (port <= 0 || port > 65535) {
    std::fprintf(stderr, "usage: t_tracecontext PORT\n");
    return 2;
  }
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in address = loopback(port);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener, SOMAXCONN) != 0) {
    std::perror("t_tracecontext: bind");
    return 1;
  }
  std::printf("t_tracecontext listening on http://127.0.0.1:%d\n", port);
  std::fflush(stdout);
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    serve(fd);
    close(fd);
  }
}
