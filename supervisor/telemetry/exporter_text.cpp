#include "telemetry/exporter_text.hpp"

#include <algorithm>

namespace runmain::telemetry {

std::string grouped(std::uint64_t number) {
  constexpr std::size_t kGroup = 3;
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > kGroup;) text.insert(at -= kGroup, 1, ',');
  return text;
}

std::string items_text(Signal signal, std::uint64_t items) {
  static constexpr const char* kNames[] = {"span", "metric", "log record"};
  return grouped(items) + " " + kNames[static_cast<std::size_t>(signal)] + (items == 1 ? "" : "s");
}

std::string failing_text(std::string said, Time next, Time now, Signal signal, std::uint64_t waiting,
                         std::uint64_t in_memory) {
  if (next != kNever) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(std::max(next - now, Duration{})).count();
    said += " in " + std::to_string(std::max<std::int64_t>(seconds, 1)) + " s";
  }
  const std::string wait = items_text(signal, waiting) + (waiting == 1 ? " waits" : " wait");
  if (in_memory == 0) return said + "; nothing is lost, " + wait;
  return said + "; " + wait + ", " + (in_memory >= waiting ? "all" : grouped(in_memory) + " of them") +
         " in memory only, as the disk takes no more: lost if the observer ends before they are sent";
}

std::string disk_text(const std::string& fault) {
  return fault + ": what waits is in memory only, and lost if the observer ends before it is sent";
}

std::string memory_lost_text(Signal signal, std::uint64_t items) {
  return items_text(signal, items) + (items == 1 ? " is lost: it" : " are lost: they") +
         " waited in memory only, as the disk took no more";
}

}  // namespace runmain::telemetry
