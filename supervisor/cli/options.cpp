#include "cli/options.hpp"

#include "control/client.hpp"

namespace runmain::cli {

Time Options::deadline() const {
  if (timeout_s <= 0) return kNever;
  return control::deadline_after(
      std::chrono::duration_cast<Duration>(std::chrono::duration<double>(timeout_s)));
}

}  // namespace runmain::cli
