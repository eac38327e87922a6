// Files of tests/golden/config. RUNMAIN_UPDATE_GOLDEN=1 in the environment writes what is instead of
// comparing it.
#pragma once

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "config/config.hpp"

namespace golden {

inline std::string folder() { return std::string(RUNMAIN_SOURCE_DIR) + "/tests/golden/config/"; }

inline std::string read(const std::string& name) {
  std::ifstream in(folder() + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// What the file NAME.txt holds; with RUNMAIN_UPDATE_GOLDEN it is written first.
inline std::string expected(const std::string& name, const std::string& actual) {
  if (std::getenv("RUNMAIN_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(folder() + name + ".txt", std::ios::binary) << actual;
  }
  return read(name + ".txt");
}

// Parses without looking at this machine, as if the text were supervisor.toml in the current folder.
inline runmain::config::Outcome parse(std::string text) {
  runmain::config::LoadOptions options;
  options.check_host = false;
  return runmain::config::parse(std::move(text), "supervisor.toml", options);
}

}  // namespace golden
