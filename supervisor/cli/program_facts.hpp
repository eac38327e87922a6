// What `dev` and `serve` have to look at before they know a program: the environment, a script, package.json,
// a port.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "config/runners.hpp"

namespace runmain::cli {

inline constexpr std::size_t kFactsFileMax = 1U << 20U;  // bytes; a larger script is not looked at

// Files are taken from `folder`. What cannot be read is not known; never a fault.
config::RunnerFacts gather_facts(const std::vector<std::string>& argv, const std::string& folder);

// The line of this script in the text of a package.json, or empty.
std::string script_in_package(const std::string& json, const std::string& name);

// Whether TCP port `port` of `host` (numeric; empty: every address) can be bound now. On failure an Error
// with EADDRINUSE, or another errno.
Result<void> check_port(const std::string& host, std::uint16_t port);

}  // namespace runmain::cli
