// Requests of OTLP/HTTP clients out of a connection's bytes, however these are cut (RFC 9110, RFC 9112).
//
//     HttpReader reader;
//     while (!bytes.empty()) {
//       bytes.remove_prefix(reader.feed(bytes));
//       decide:   the head is there: keep_body() or skip_body()
//       complete: answer request(), then next()
//       failed:   answer fault(), then close: where the next request begins cannot be known
//     }
//
// Invariant: the same bytes give the same requests, however they are cut. What could be read in two ways (two
// lengths, a bare line feed, a folded field, both lengths and chunks) is refused. Nothing is held beyond
// HttpLimits. A plain value. Non-goal: other codings than chunked, upgrades, percent signs in targets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace runmain::telemetry {

struct HttpLimits {
  std::size_t head = 16U << 10U;  // bytes of request line, fields and trailers
  std::size_t fields = 100;
  std::size_t body = 16U << 20U;  // as it comes: still compressed, without its chunks' lines
};

// What a request says of itself. Names of media and codings are in lower case.
struct HttpRequest {
  std::string method;
  std::string path;              // of the target, without scheme, host and query
  std::string content_type;      // without parameters
  std::string content_encoding;  // empty: none
  std::string token;             // runmain-token
  std::string user_agent;
  bool has_token = false;
  bool keeps_alive = true;       // HTTP/1.0 never does
  bool awaits_continue = false;  // the body comes after "100 Continue"
};

// A status other than 200 and why.
struct HttpFault {
  int status = 0;
  std::string message;
};

class HttpReader {
 public:
  enum class State : std::uint8_t { head, decide, body, complete, failed };

  explicit HttpReader(HttpLimits limits = {}) : limits_(limits) {}

  State state() const;
  // Whether a byte of a request came that is not complete.
  bool is_within() const { return step_ != Step::request_line || !line_.empty() || head_size_ > 0; }
  // How many bytes it took: all, or up to a state that waits for the caller.
  std::size_t feed(std::string_view bytes);

  const HttpRequest& request() const { return request_; }  // from `decide` on
  const HttpFault& fault() const { return fault_; }        // in `failed`
  const std::string& body() const { return body_; }
  std::string take_body() { return std::exchange(body_, {}); }

  void keep_body();  // in `decide`
  // What comes of it is read over, and what was kept is given up. In `decide` or `body`.
  void skip_body();
  void next();  // in `complete`

 private:
  enum class Step : std::uint8_t {
    request_line,
    fields,
    decide,
    sized_body,
    chunk_size,
    chunk,
    chunk_end,
    trailers,
    complete,
    failed
  };

  bool takes_lines() const;
  std::size_t feed_line(std::string_view bytes);
  std::size_t feed_body(std::string_view bytes);
  bool count_line(std::size_t size);
  void take_line(std::string_view line);
  void take_request_line(std::string_view line);
  void take_target(std::string_view target);
  void take_field(std::string_view line);
  void use_field(std::string_view name, std::string_view value);
  void use_once(std::string& to, std::string_view name, std::string_view value);
  void use_length(std::string_view value);
  void use_connection(std::string_view value);
  void end_of_head();
  void begin_body();
  void take_chunk_size(std::string_view line);
  void fail(int status, const std::string& message);

  HttpLimits limits_;
  Step step_ = Step::request_line;
  std::string line_;  // as far as it came
  int empty_lines_ = 0;
  std::size_t head_size_ = 0;
  std::size_t field_count_ = 0;
  std::size_t framing_size_ = 0;  // of chunks' lines
  HttpRequest request_;
  bool old_version_ = false;  // HTTP/1.0
  int hosts_ = 0;
  bool has_length_ = false;
  bool is_chunked_ = false;
  std::uint64_t left_ = 0;  // of the body or of the chunk
  std::uint64_t body_size_ = 0;
  bool skips_ = false;
  std::string body_;
  HttpFault fault_;
};

}  // namespace runmain::telemetry
