#include "cli/load.hpp"

#include <variant>

#include "config/config.hpp"

namespace runmain::cli {

std::optional<core::Desired> load_or_complain(const std::string& path, core::Mode mode, Terminal& terminal) {
  config::LoadOptions options;
  options.mode = mode;
  auto outcome = config::load(path, options);
  if (const auto* faults = std::get_if<config::Faults>(&outcome)) {
    terminal.err << config::explain(*faults);
    terminal.err.flush();
    return std::nullopt;
  }
  auto& loaded = std::get<config::Loaded>(outcome);
  terminal.err << config::explain_warnings(loaded);
  terminal.err.flush();
  return std::move(loaded.desired);
}

std::string count_of_services(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " service" : " services");
}

}  // namespace runmain::cli
