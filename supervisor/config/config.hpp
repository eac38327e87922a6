// The door of this room: supervisor.toml to core::Desired, or every fault of it at once.
//
// Invariant: a Desired that comes out of here keeps what core/spec.hpp promises; a file with one fault gives
// none. Every fault has a place "file:line:column" (a file that cannot be read: only "file") and, where there
// is something to do, a hint. Non-goal: starting anything, watching the file.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "core/spec.hpp"

namespace runmain::config {

inline constexpr std::size_t kFileMax = 10U << 20U;  // bytes
inline constexpr std::size_t kServicesMax = 2000;
using core::kWorkersMax;

struct LoadOptions {
  core::Mode mode = core::Mode::dev;          // where the file says nothing
  std::optional<core::Mode> mode_override{};  // whatever the file says
  bool check_host = true;  // folders, env files, users and groups must exist on this machine
};

struct Loaded {
  core::Desired desired;
  std::vector<Error> warnings;
  std::size_t more = 0;  // warnings that were counted only
  std::string file;      // as it was named, and its text: for explain_warnings()
  std::string text;
};

// In the file's order. The text is kept so that explain() can show the lines.
struct Faults {
  std::vector<Error> faults;  // never empty
  std::size_t more = 0;       // faults that were counted only
  std::string file;
  std::string text;
};

using Outcome = std::variant<Loaded, Faults>;

// Reads the file once and parses it. Relative paths in it start at its folder. Any thread.
Outcome load(const std::string& path, const LoadOptions& options = {});

// The same for a text that is in memory; `path` names it, need not exist, and says where relative paths
// start.
Outcome parse(std::string text, const std::string& path, const LoadOptions& options = {});

// As a compiler prints it: "file:12:3: error: MESSAGE (HINT)", the source line and a caret below, for each.
std::string explain(const Faults& faults);
// The warnings of a good file in the same form; empty if there are none.
std::string explain_warnings(const Loaded& loaded);

}  // namespace runmain::config
