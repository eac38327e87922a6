// Looks over the text before toml++ sees it and refuses what would end the process: toml++ bounds the nesting
// of values, but a key of 100,000 dotted parts makes tables so deep that freeing them overflows the stack,
// and a header such as [[[ fails an assertion in it. Invariant: accepts every file that a person would write.
// Non-goal: checking TOML; toml++ does.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/node.hpp"

namespace runmain::config {

inline constexpr std::size_t kKeyPartsMax = 32;  // parts of a dotted key or header

struct SyntaxFault {
  Place place;
  std::string message;
  std::string hint;
};

// On success the bytes at which a character must be given to toml++ as an escape (\UXXXXXXXX), in order;
// otherwise the first fault. Any thread.
std::variant<std::vector<std::size_t>, SyntaxFault> prescan(std::string_view text);

}  // namespace runmain::config
