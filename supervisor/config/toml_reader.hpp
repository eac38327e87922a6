// TOML text to a Node tree. The only file of runmain that includes toml++ is toml_reader.cpp.
// Invariant: the tree is at most a few thousand levels deep, whatever the text. Non-goal: meaning.
#pragma once

#include <string_view>
#include <variant>

#include "config/node.hpp"
#include "config/prescan.hpp"

namespace runmain::config {

// On success the root table; on failure the first place where the text is no TOML (the rest cannot be read).
// Any thread.
std::variant<Node, SyntaxFault> read_toml(std::string_view text);

}  // namespace runmain::config
