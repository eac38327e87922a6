// What only this machine can tell about a file: whether folders, env files, users and groups are there.
// Invariant: nothing is changed, and nothing that is read here ends up in the configuration. Non-goal:
// permissions.
#pragma once

#include <string>

#include "config/report.hpp"

namespace runmain::config {

// Each reports a fault at `place` if it is not as it should be, and says whether it is.
bool check_folder(Report& report, Place place, const std::string& name, const std::string& path);
bool check_exists(Report& report, Place place, const std::string& name, const std::string& path);
// Reads and parses the file: its own faults are reported with their own places.
bool check_env_file(Report& report, Place place, const std::string& path);
// By name with getpwnam(3) and getgrnam(3); a number is always accepted.
bool check_user(Report& report, Place place, const std::string& user);
bool check_group(Report& report, Place place, const std::string& group);

}  // namespace runmain::config
