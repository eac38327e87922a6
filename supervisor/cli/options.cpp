#include "cli/options.hpp"

#include <charconv>
#include <string_view>
#include <system_error>

#include "control/client.hpp"

namespace runmain::cli {

Time Options::deadline() const {
  if (timeout_s <= 0) return kNever;
  return control::deadline_after(
      std::chrono::duration_cast<Duration>(std::chrono::duration<double>(timeout_s)));
}

bool read_seconds(const std::string& text, double& seconds) {
  constexpr double kMax = 366.0 * 86'400;
  const char* end = text.data() + text.size();
  double number = 0;
  const auto read = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (read.ec != std::errc()) return false;
  const std::string_view unit(read.ptr, static_cast<std::size_t>(end - read.ptr));
  if (unit == "ms") {
    number /= 1000;
  } else if (unit == "m") {
    number *= 60;
  } else if (unit == "h") {
    number *= 3600;
  } else if (!unit.empty() && unit != "s") {
    return false;
  }
  if (!(number > 0 && number <= kMax)) return false;
  seconds = number;
  return true;
}

}  // namespace runmain::cli
