// Checks on JSON text before it is parsed: what strangers send must not make the parser work hard.
#pragma once

#include <cstddef>
#include <string_view>

namespace runmain::drive {

// Whether arrays and objects are nested at most `limit` deep and no byte is NUL, which the parser takes for
// the end of the text. Says nothing about whether the text is JSON.
inline bool json_may_be_parsed(std::string_view text, std::size_t limit) {
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\0') return false;
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > limit) return false;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return true;
}

}  // namespace runmain::drive
