// The forms in which a line is kept and shown.
//
//   in files and history:  2026-11-21T10:00:00.123Z web.0 | text      (bytes of the child as they are)
//   on the terminal:       web.0 | text                               (made printable)
//
// `+` in place of `|` goes on with a line that was split (output_reader.hpp). The worker's number is there
// where a service has several. A build step is `web build`. In the history the label ends with `:GENERATION`.
// Invariant: one piece is one line. Non-goal: escaping what a child writes into a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.hpp"
#include "drive/output_buffer.hpp"
#include "drive/output_reader.hpp"

namespace runmain::drive {

inline constexpr std::size_t kOutputLabelMax = 128;  // bytes of a service's name in a label; the rest is cut
inline constexpr std::size_t kOutputBatchMax = 256U << 10U;  // bytes written to a file at once
// Room that one piece takes at most on the terminal: four bytes a byte, and the prefix.
inline constexpr std::size_t kTerminalLineMax = 4 * kOutputLineMax + 512;

// "2026-11-21T10:00:00.123Z" of nanoseconds since 1970, UTC (RFC 3339).
class OutputStamp {
 public:
  std::string_view text(std::int64_t time_ns);

 private:
  std::int64_t second_ = -1;
  char text_[32] = {};
};
inline constexpr std::size_t kStampSize = 24;

// A line as it is handed to who asks for it.
struct OutputLine {
  ServiceId service{};
  std::string service_name;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;  // 0 where a log file does not tell
  bool build = false;
  bool continues = false;
  std::int64_t time_ns = 0;  // wall clock, since 1970
  std::string text;          // raw
};

// "web", "web.1", "web build", "web hook", "web look".
std::string output_label(std::string_view service_name, bool numbered, std::uint32_t slot);

// The other way round, for a line of a file or of the history without its newline. Nothing if it is not a
// line of this service. `service` is left as it is.
std::optional<OutputLine> parse_output_line(std::string_view line, std::string_view service_name);

struct OutputPrefix {
  std::string start;  // of a line
  std::string more;   // of a piece that goes on with one
};
OutputPrefix file_prefix(std::string_view stamp, std::string_view label);
// Padded to `width` and coloured if wanted; the same label always has the same colour.
OutputPrefix terminal_prefix(std::string_view label, std::size_t width, bool colour,
                             std::uint32_t colour_number);

struct OutputPlan {
  std::string_view bytes;
  bool in_line = false;
  bool ended = false;
  bool pty = false;  // lines end with "\r\n": what is kept is the line
  const OutputPrefix* file = nullptr;
  std::size_t file_room = 0;               // a piece that would need more is left for the next batch …
  bool at_least_one = false;               // … but the first one
  std::size_t stop_at = ~std::size_t{0};   // no piece that starts at this byte or later
  const OutputPrefix* terminal = nullptr;  // nullptr: not shown
  std::size_t terminal_room = 0;
  bool terminal_colour = false;
  std::size_t terminal_has = 0;  // so much of the first line stands on the terminal already, without its end
};
struct OutputBatch {
  std::size_t taken = 0;  // bytes of the stream
  bool in_line = false;
  bool more_waits = false;  // a whole piece was left
};
// A pty's line as it is kept and handed on.
std::string_view without_returns(std::string_view line);

// Appends whole pieces to both sinks until one is full. Requires file.room() for one piece.
OutputBatch format_output(const OutputPlan& plan, OutputBuffer& file, std::string& terminal);

}  // namespace runmain::drive
