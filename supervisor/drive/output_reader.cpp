#include "drive/output_reader.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace runmain::drive {
namespace {

constexpr int kLookMax = 100;  // a ring does not change hands so often while we look

// Where to split a line that is too long: before the character that would be cut in two.
std::size_t split_at(const char* text) {
  for (std::size_t back = 0; back < 4; ++back) {
    const std::size_t at = kOutputLineMax - back;
    if ((static_cast<unsigned char>(text[at]) & 0xc0U) != 0x80) return at;
  }
  return kOutputLineMax;  // not UTF-8
}

}  // namespace

bool OutputSplitter::next(OutputPiece& piece) {
  const char* from = bytes_.data() + at_;
  const std::size_t left = bytes_.size() - at_;
  if (left == 0) return false;
  const std::size_t scan = std::min(left, kOutputLineMax + 1);
  const auto* newline = static_cast<const char*>(std::memchr(from, '\n', scan));
  piece.continues = in_line_;
  if (newline != nullptr) {
    piece.text = {from, static_cast<std::size_t>(newline - from)};
    at_ += piece.text.size() + 1;
    in_line_ = false;
    return true;
  }
  if (left > kOutputLineMax) {
    piece.text = {from, split_at(from)};
    at_ += piece.text.size();
    in_line_ = true;
    return true;
  }
  if (!ended_) return false;
  piece.text = {from, left};
  at_ += left;
  in_line_ = false;
  return true;
}

// The keeper may free a ring that is ended and consumed and give it to another child while we look. It then
// clears `ended` before it sets `used`, so an old `ended` beside a new `written` shows in the second look at
// both.
std::optional<OutputStream> OutputReader::look(std::uint32_t ring) const {
  const keeper::RingLine& line = board_->rings[ring];
  const auto key_now = [&line] {
    return ChildKey{ServiceId{line.service.load()}, line.slot.load(), line.generation.load(),
                    line.attempt.load()};
  };
  for (int tries = 0; tries < kLookMax; ++tries) {
    if (line.used.load(std::memory_order_acquire) == 0) return std::nullopt;
    OutputStream s;
    s.ring = ring;
    s.key = key_now();
    s.ended = line.ended.load(std::memory_order_acquire) != 0;
    s.written = line.written.load(std::memory_order_acquire);
    s.consumed = line.consumed.load(std::memory_order_acquire);
    s.in_line = line.in_line.load() != 0;
    s.pty = line.pty.load() != 0;
    const bool same = key_now() == s.key && (line.ended.load() != 0 || !s.ended) && line.used.load() != 0;
    if (same && s.written - s.consumed <= keeper::kRingBytes) return s;
  }
  return std::nullopt;
}

std::string_view OutputReader::read(const OutputStream& stream) {
  buffer_.clear();
  const std::uint64_t want = std::min<std::uint64_t>(stream.written - stream.consumed, buffer_.capacity());
  while (buffer_.size() < want) {
    const std::uint64_t at = (stream.consumed + buffer_.size()) % keeper::kRingBytes;
    const std::uint64_t run = std::min(want - buffer_.size(), keeper::kRingBytes - at);
    const auto offset = static_cast<off_t>(std::uint64_t{stream.ring} * keeper::kRingBytes + at);
    const ssize_t n = pread(rings_fd_, buffer_.space(run), run, offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    buffer_.grow(static_cast<std::size_t>(n));
  }
  return buffer_.view();
}

}  // namespace runmain::drive
