// Looks over the text before toml++ sees it and refuses what would end the process: toml++ bounds the nesting
// of values, but a key of 100,000 dotted parts makes tables so deep that freeing them overflows the stack,
// and a header such as [[[ fails an assertion in it. Invariant: accepts every file that a person would write.
// Non-goal: checking TOML; toml++ does.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "config/node.hpp"

namespace runmain::config {

inline constexpr std::size_t kKeyPartsMax = 32;  // parts of a dotted key or header

struct SyntaxFault {
  Place place;
  std::string message;
  std::string hint;
};

// On success nothing; otherwise the first fault. Any thread.
std::optional<SyntaxFault> prescan(std::string_view text);

}  // namespace runmain::config
