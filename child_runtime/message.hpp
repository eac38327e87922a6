// The channel's lines (protocol.h): a strict reader of JSON for the few that we get, and a writer for ours.
//
// Invariant: any bytes are safe to read: bounded by the line, the nesting by kNestingMax, texts cut to their
// fields and always ended by a NUL. Unknown keys are skipped. Non-goal: JSON for anything else. Allocates
// nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "protocol.h"

namespace runmain::child {

inline constexpr unsigned kListenersMax = 64;  // sockets of one process
inline constexpr int kNestingMax = 16;         // objects and arrays in one line

struct ListenerText {
  char name[256];  // sd_listen_fds_with_names(3): 255 characters at most
  char address[160];
  char kind[16];
};

struct Role {
  char service[128];
  char instance_id[64];
  std::uint32_t slot;
  std::uint32_t generation;
};

enum class MessageKind : std::uint8_t { none, role, refused, drain };

// `kind` says which of the fields mean something. `none`: a line without a key that we know.
struct Message {
  MessageKind kind;
  Role role;
  bool mailbox;             // of the role
  unsigned listener_count;  // of the role
  ListenerText listeners[kListenersMax];
  char why[256];
  std::uint32_t budget_ms;
};

// Reads one line without its newline. False if it is not one JSON object of version 1, or a known key has a
// value of the wrong type; `out` is then half filled and must not be used.
[[nodiscard]] bool parse_message(const char* line, std::size_t size, Message& out);

// One of our lines in the making. What does not fit sets overflow, and the line must not be sent.
class LineWriter {
 public:
  LineWriter& raw(const char* text);
  // A JSON string. Bytes that are not UTF-8 become U+FFFD; at most `limit` bytes of the text are taken, whole
  // characters only.
  LineWriter& string(const char* text, std::size_t limit);
  LineWriter& number(std::uint64_t value);

  const char* data() const { return text_; }
  std::size_t size() const { return size_; }
  bool overflow() const { return overflow_; }

 private:
  void append(const char* bytes, std::size_t size);

  char text_[RUNMAIN_CHANNEL_LINE_MAX];
  std::size_t size_ = 0;
  bool overflow_ = false;
};

// Length of the UTF-8 character that `text` begins with (RFC 3629: 1 to 4 bytes, shortest form, no
// surrogates), 0 if it begins with none.
std::size_t utf8_length(const char* text, std::size_t size);

// Copies at most size - 1 bytes of a C string, whole characters only, and a NUL.
void copy_text(char* out, std::size_t size, const char* text);

}  // namespace runmain::child
