// One answer of HTTP/1.1 as it comes, byte by byte if need be. Follows RFC 9112, sections 2 to 7 and 9.6.
//
// Invariant: pure; bytes of a stranger: what is no answer, or has a head over kAnswerHeadMax, is `bad`, and
// nothing of a body is kept. Interim answers (1xx) are passed over. Non-goal: trailers, pipelining, answers
// to HEAD.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace runmain::graceful {

inline constexpr std::size_t kAnswerHeadMax = 64U << 10U;  // bytes

class AnswerReader {
 public:
  enum class State : std::uint8_t { nothing, head, body, done, bad };

  // Takes what has come, up to the answer's end. Returns the state.
  State feed(std::string_view bytes);
  // The other side has ended the connection: done where that is how the body ends.
  State end();

  State state() const { return state_; }
  int status() const { return status_; }
  // No request can follow on this connection: "Connection: close", HTTP/1.0, or a body that the end ends.
  bool is_last() const { return last_; }
  std::size_t body_bytes() const { return body_; }

 private:
  enum class Body : std::uint8_t { none, length, chunked, until_end };

  void read_head();
  void read_field(std::string_view name, std::string_view value);
  void take_body(std::string_view bytes);
  void take_chunks(std::string_view bytes);

  State state_ = State::nothing;
  std::string head_;  // as far as it has come; then a chunk's line
  int status_ = 0;
  bool last_ = false;
  Body how_ = Body::until_end;
  std::uint64_t left_ = 0;  // of the body, or of the chunk
  bool in_chunk_ = false;
  bool last_chunk_ = false;
  std::size_t body_ = 0;
};

}  // namespace runmain::graceful
