// Reads the text of a .env file.
//
// One assignment a line: NAME=value, optionally after `export `. Blank lines and lines that start with # are
// skipped.
//   NAME=plain text      blanks around it are cut; ` #` starts a comment
//   NAME='as it is'      nothing is special inside; may run over lines
//   NAME="a\nb"          \n \r \t \" \\ \$ are escapes, another \x stays as it is; may run over lines
// A $ stays a $: nothing is expanded, so a value means the same whoever reads it. A later assignment of a
// name replaces an earlier one. A BOM and CRLF are accepted. Invariant: names match [A-Za-z_][A-Za-z0-9_.-]*,
// no text holds a NUL, and no fault quotes a value (they are secrets). Non-goal: opening files; who calls
// brings the text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace runmain {

inline constexpr std::size_t kEnvFileMax = 1U << 20U;  // bytes of text
inline constexpr std::size_t kEnvFileVariablesMax = 10000;
inline constexpr std::size_t kEnvFileFaultsMax = 20;  // the rest is not listed

struct EnvFile {
  std::vector<std::pair<std::string, std::string>> variables;  // in the order of their first assignment
  std::vector<Error> faults;                                   // empty: every line was understood
};

// Never fails as a whole: what could be read is in `variables`, every line that could not be in `faults`,
// with at = "file_name:line:column" (both from 1, the column in bytes). Any thread.
EnvFile parse_env_file(std::string_view text, const std::string& file_name);

}  // namespace runmain
