// Where text goes: both streams, whether colours are wanted there, and how wide it is.
// Source: no-color.org for NO_COLOR.
#pragma once

#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace runmain::cli {

enum class Style : unsigned char { plain, bold, dim, red, green, yellow, blue, magenta, cyan };

struct Terminal {
  std::ostream& out;
  std::ostream& err;
  bool colour = false;  // of `out`
  bool colour_err = false;
  std::size_t width = 0;  // columns of `out`; 0: no terminal, no limit

  // Standard output and error of this process.
  static Terminal of_process();
};

// The text in that style, or as it is.
std::string styled(std::string_view text, Style style, bool colour);

// "runmain: FILE:LINE:COLUMN: message" and, on a line of its own, the hint. Hostile bytes are made harmless.
void complain(Terminal& terminal, const Error& error);

// Columns that valid UTF-8 text takes when each character takes one.
std::size_t columns_of(std::string_view text);

// At most `width` columns, the last one an ellipsis if something was cut; width 0: as it is.
std::string cut_to(const std::string& text, std::size_t width);

// Text of strangers for one line of a terminal, without colours.
std::string harmless(std::string_view text);
// The same, with all of it shown: what a carriage return would have hidden, too, and a tab in one column.
std::string in_one_line(std::string_view text);

// A line or more, wrapped at blanks to `width` columns (0: not at all); the first begins with `first`, the
// others are as far in.
std::string wrapped(const std::string& sentence, const std::string& first, std::size_t width);

}  // namespace runmain::cli
