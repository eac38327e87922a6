// Any bytes as supervisor.toml: parsed or refused with places, then explained and compared with itself.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "config/config.hpp"
#include "config/diff.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace runmain;
  config::LoadOptions options;
  options.check_host = false;
  const config::Outcome outcome = config::parse(std::string(data, data + size), "supervisor.toml", options);
  if (const auto* faults = std::get_if<config::Faults>(&outcome)) {
    if (faults->faults.empty() || config::explain(*faults).empty()) std::abort();
    for (const Error& fault : faults->faults) {
      if (fault.at.empty() || fault.message.empty()) std::abort();
    }
    return 0;
  }
  const auto& loaded = std::get<config::Loaded>(outcome);
  if (!config::diff(loaded.desired, loaded.desired).empty()) std::abort();
  (void)config::explain_warnings(loaded);
  return 0;
}
