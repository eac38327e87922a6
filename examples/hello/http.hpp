// The part of HTTP/1.1 (RFC 9112) that a server of small pages needs: reading one request head, writing one
// answer. Requests with a body are understood but the body is not read; the connection ends after the answer.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hello {

inline constexpr std::size_t kHeadMax = 8192;  // bytes of a request line with its fields

// Views into the bytes that were parsed.
struct Request {
  std::string_view method;
  std::string_view path;
  std::string_view query;  // without '?'
  bool keep_alive = true;
  bool has_body = false;
  // The caller's trace, for the span of this request; empty: none. Twice the same field is no trace.
  std::vector<std::pair<std::string_view, std::string_view>> trace;
};

enum class Parse { incomplete, complete, bad, too_large };

struct ParseResult {
  Parse state = Parse::incomplete;
  std::size_t consumed = 0;  // bytes of a complete request
  Request request;
};

// Looks for one whole request at the front of `bytes`.
ParseResult parse_request(std::string_view bytes);

struct Answer {
  int status = 200;
  std::string body;
  std::string_view type = "text/plain; charset=utf-8";
};

// The bytes of an answer. `head_only` for HEAD: the length without the body.
std::string render(const Answer& answer, bool keep_alive, bool head_only);

}  // namespace hello
