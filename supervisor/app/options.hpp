// The arguments of runmain-supervisor. It is started by the keeper only, with what `runmain up` passed on.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "core/spec.hpp"

namespace runmain::app {

struct HeadOptions {
  std::string config;   // real path; of the folder for `runmain dev` and `serve`
  std::string desired;  // `dev`, `serve`: a file with the configuration, base/archive.hpp; else empty
  std::optional<core::Mode> mode;  // set by the command; the file's own otherwise
  std::string runtime_dir;
  std::string state_dir;
  bool detached = false;
  std::vector<std::string> only;  // services to start at first
};

// On failure the Error says which argument is wrong.
Result<HeadOptions> parse_options(int argc, char** argv);

}  // namespace runmain::app
