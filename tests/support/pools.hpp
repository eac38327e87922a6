// A pool of workers in a real runmain, for integration tests: its file, what its status says, and a load that
// may lose nothing.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

namespace runmain::test {

inline std::string pool(int workers, const std::string& more,
                        const std::string& command = "@BIN@/t_http --fd {fd}") {
  return "[runmain]\nmode = \"prod\"\n[service.web]\ncommand = '''" + command +
         "'''\nshell = true\nlisten = \"127.0.0.1:0\"\nworkers = " + std::to_string(workers) +
         "\non_keeper_death = \"stop\"\n" + more;
}
// Says why a test cannot be run here.
inline void skip(const char* why) { WARN("skipped: " << why); }

inline const std::string kNotify = "ready = { notify = true }\n";
inline const std::string kNoHold = "roll = { hold_last = \"0s\" }\n";  // for those that reload often

// The generations of the workers that are ready, by slot.
inline std::vector<int> ready_generations(const Json& status) {
  std::vector<int> all;
  for (const Json& w : status["services"][0]["workers"]) {
    if (w["state"] == "ready") all.push_back(w["generation"].get<int>());
  }
  return all;
}

inline bool all_ready(const Json& status, std::size_t workers, int generation) {
  const std::vector<int> seen = ready_generations(status);
  return seen.size() == workers &&
         std::count(seen.begin(), seen.end(), generation) == static_cast<long>(workers);
}

inline void no_request_lost(HttpLoad& load) {
  load.stop();
  for (const auto& [fault, count] : load.faults()) UNSCOPED_INFO(fault << ": " << count);
  CHECK(load.failed() == 0);
  CHECK(load.done() > 0);
}

}  // namespace runmain::test
