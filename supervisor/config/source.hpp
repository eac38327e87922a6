// The text of the file with its lines: from place to byte and back, and what a compiler shows under a fault.
// Invariant: a place outside the text finds nothing and harms nothing. Non-goal: parsing.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/node.hpp"

namespace runmain::config {

inline constexpr std::size_t kShownMax = 120;  // code points of a source line that are shown under a fault

class Source {
 public:
  // Keeps a view: `text` outlives this.
  explicit Source(std::string_view text);

  // The line without its end, or empty where there is none.
  std::string_view line(std::uint32_t number) const;

  // The nearest place that is in the text or just behind one of its lines.
  Place clamp(Place place) const;

  // The place of byte `offset` of the string that is written at `place` and reads `value`; `place` itself
  // where escapes or line breaks make that unclear.
  Place inside_string(Place place, std::string_view value, std::size_t offset) const;

  // Two lines, each ended: the source line with its number, and a caret below the place, drawn out as far as
  // the word there goes. Empty where there is no such line. Control characters become ?.
  std::string excerpt(Place place) const;

 private:
  bool may_hold_secrets(std::uint32_t number) const;
  std::optional<std::size_t> byte_of(Place place) const;

  std::string_view text_;
  std::vector<std::size_t> starts_;
};

}  // namespace runmain::config
