#include "app/options.hpp"

namespace runmain::app {

Result<HeadOptions> parse_options(int argc, char** argv) {
  HeadOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--detached") {
      options.detached = true;
      continue;
    }
    if (i + 1 >= argc) return Error{"argument " + name + " needs a value"};
    const std::string value = argv[++i];
    if (name == "--config") {
      options.config = value;
    } else if (name == "--mode" && (value == "dev" || value == "prod")) {
      options.mode = value == "dev" ? core::Mode::dev : core::Mode::prod;
    } else if (name == "--desired") {
      options.desired = value;
    } else if (name == "--runtime-dir") {
      options.runtime_dir = value;
    } else if (name == "--state-dir") {
      options.state_dir = value;
    } else if (name == "--only") {
      options.only.push_back(value);
    } else {
      return Error{"unknown argument " + name};
    }
  }
  if (options.config.empty()) return Error{"--config is missing"};
  return options;
}

}  // namespace runmain::app
