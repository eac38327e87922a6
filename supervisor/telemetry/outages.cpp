#include "telemetry/outages.hpp"

namespace runmain::telemetry {

const char* to_text(Signal signal) {
  static constexpr const char* kNames[] = {"traces", "metrics", "logs"};
  return kNames[static_cast<std::size_t>(signal)];
}

std::string signals_text(const std::array<bool, kSignals>& signals) {
  std::string text;
  for (std::size_t i = 0; i < signals.size(); ++i) {
    if (signals[i]) text += (text.empty() ? "" : ", ") + std::string(to_text(static_cast<Signal>(i)));
  }
  return text;
}

std::optional<std::string> Outages::fails(const void* queue, const std::string& endpoint, Signal signal,
                                          const std::string& why) {
  Outage& outage = all_[endpoint];
  const bool is_new = outage.queues.empty();
  outage.queues.insert(queue);
  outage.signals[static_cast<std::size_t>(signal)] = true;
  if (!is_new) return std::nullopt;
  return endpoint + " fails (" + to_text(signal) + "): " + why;
}

std::optional<std::string> Outages::recovers(const void* queue, const std::string& endpoint,
                                             const std::string& how) {
  const auto found = all_.find(endpoint);
  if (found == all_.end() || found->second.queues.erase(queue) == 0) return std::nullopt;
  if (!found->second.queues.empty()) return std::nullopt;
  const std::string signals = signals_text(found->second.signals);
  all_.erase(found);
  return endpoint + " answers again (" + signals + ") " + how;
}

void Outages::forget(const void* queue, const std::string& endpoint) {
  const auto found = all_.find(endpoint);
  if (found == all_.end()) return;
  found->second.queues.erase(queue);
  if (found->second.queues.empty()) all_.erase(found);
}

}  // namespace runmain::telemetry
