// HTTP/1.1 as text (RFC 9110, RFC 9112): as much of a request as is needed to answer it, and answers that end
// the connection. Pure. Non-goal: bodies of requests; they are not read.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace runmain::web {

inline constexpr std::size_t kRequestHeadMax = 16U << 10U;  // bytes of request line and fields

struct HttpRequest {
  std::string method;
  std::string path;         // of the target, without its query
  bool wants_html = false;  // its Accept names text/html
};

enum class HeadState { incomplete, complete, not_http };

// What these first bytes of a connection are. `not_http` as early as that can be told.
HeadState look_at_head(std::string_view bytes);

// Requires a complete head.
std::optional<HttpRequest> parse_head(std::string_view bytes);

struct HttpAnswer {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string fields;  // more header fields, each ending in "\r\n"
  std::string body;
};

// The whole answer with "Connection: close"; without its body for HEAD.
std::string to_bytes(const HttpAnswer& answer, bool head_only);

// Text inside HTML: & < > " ' and control characters are harmless afterwards; what is not UTF-8 is replaced.
std::string escape_html(std::string_view text);

}  // namespace runmain::web
