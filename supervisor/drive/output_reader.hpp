// From a ring's bytes to lines.
//
// A line ends at a newline, or where it would grow past kOutputLineMax, or with the stream. A line that was
// split goes on in pieces that are marked; put together they are the line. Invariant: the pieces of a stream
// are, joined with a newline for each piece that ends a line, exactly its bytes. Non-goal: prompts; a line
// without its end waits for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/ids.hpp"
#include "drive/output_buffer.hpp"
#include "keeper/board.hpp"

namespace runmain::drive {

inline constexpr std::size_t kOutputLineMax = 16U << 10U;    // bytes of a piece, newline not counted
inline constexpr std::size_t kOutputSliceMax = 128U << 10U;  // bytes taken out of a ring at once

struct OutputPiece {
  std::string_view text;   // without its newline
  bool continues = false;  // goes on with a line that was split
};

class OutputSplitter {
 public:
  // in_line: the bytes start inside a line that was split. ended: no byte will follow these.
  OutputSplitter(std::string_view bytes, bool in_line, bool ended)
      : bytes_(bytes), in_line_(in_line), ended_(ended) {}

  // False when no further piece is complete.
  bool next(OutputPiece& piece);

  // Bytes in the pieces so far, newlines included; and whether what follows goes on with a split line.
  std::size_t taken() const { return at_; }
  bool in_line() const { return in_line_; }

 private:
  std::string_view bytes_;
  std::size_t at_ = 0;
  bool in_line_;
  bool ended_;
};

// A consistent look at a ring that holds a stream.
struct OutputStream {
  std::uint32_t ring = 0;
  ChildKey key;
  std::uint64_t consumed = 0;
  std::uint64_t written = 0;
  bool ended = false;
  bool in_line = false;
  bool pty = false;
};

class OutputReader {
 public:
  // The board and the fd stay the caller's and outlive this.
  OutputReader(keeper::Board* board, int rings_fd)
      : board_(board), rings_fd_(rings_fd), buffer_(kOutputSliceMax) {}

  // Nothing if no stream uses the ring. Thread: any.
  std::optional<OutputStream> look(std::uint32_t ring) const;

  // The bytes from `consumed` on, at most kOutputSliceMax; valid until the next call. Empty if the ring
  // cannot be read.
  std::string_view read(const OutputStream& stream);

  void release() {
    buffer_.clear();
    buffer_.release();
  }

 private:
  keeper::Board* board_;
  int rings_fd_;
  OutputBuffer buffer_;
};

}  // namespace runmain::drive
