// Where git keeps the excludes of a person, as far as its configuration files say so: git-config(1), key
// core.excludesFile, without includes and environment overrides.
//
// Thread: any. Non-goal: every other key.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace runmain::drive {

struct GitPlaces {
  std::string home;           // $HOME; empty: unknown
  std::string configuration;  // $XDG_CONFIG_HOME, or .config in the home; empty: unknown

  static GitPlaces of_process();
};

// The last value of core.excludesFile in the text of a configuration file, or nothing.
std::optional<std::string> excludes_file_in(std::string_view text);

// The absolute path of the file of global excludes for a repository whose configuration file is `config`;
// empty when there is none. The file need not exist.
std::string excludes_file(const GitPlaces& places, const std::string& config);

}  // namespace runmain::drive
