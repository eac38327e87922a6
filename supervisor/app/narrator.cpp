#include "app/narrator.hpp"

#include <cstdio>

#include "base/text.hpp"

namespace runmain::app {
namespace {

using core::Fact;
using core::FactType;

std::string worker(const Fact& fact, const std::string& name) {
  if (fact.slot == kBuildSlot) return name + " build";
  return fact.slot == 0 ? name : name + "." + std::to_string(fact.slot);
}

std::string generation(const Fact& fact) { return "generation " + std::to_string(fact.generation); }

}  // namespace

std::string in_words(long long ms) {
  char text[64];
  if (ms < 1000) {
    std::snprintf(text, sizeof text, "%lld ms", ms);
  } else if (ms < 60'000) {
    std::snprintf(text, sizeof text, "%.1f s", static_cast<double>(ms) / 1000.0);
  } else {
    std::snprintf(text, sizeof text, "%lld min %lld s", ms / 60'000, ms / 1000 % 60);
  }
  return text;
}

void Narrator::changed(ServiceId service, std::string first_path, std::uint32_t count) {
  changes_[service] = Change{std::move(first_path), count};
}

std::string Narrator::what_changed(ServiceId service) {
  const auto found = changes_.find(service);
  if (found == changes_.end()) return {};
  const Change& change = found->second;
  const std::size_t slash = change.path.rfind('/');
  std::string text =
      printable(slash == std::string::npos ? change.path : change.path.substr(slash + 1), false);
  if (change.count > 1) text += " and " + std::to_string(change.count - 1) + " more";
  return text;
}

std::optional<Line> Narrator::tell_service(const Fact& fact, const std::string& name) {
  switch (fact.type) {
    case FactType::service_ready:
      last_trouble_.erase(fact.service);
      return fact.generation <= 1 ? std::optional(Line{Tone::good, name + ": ready"}) : std::nullopt;
    case FactType::service_waiting: return Line{Tone::faint, name + ": " + fact.text};
    case FactType::service_backoff:
      return fact.number < 1000
                 ? std::nullopt
                 : std::optional(Line{Tone::faint, name + ": next try in " + in_words(fact.number)});
    case FactType::service_failed: return Line{Tone::bad, name + ": failed: " + printable(fact.text, false)};
    case FactType::service_stopped: return Line{Tone::faint, name + ": stopped"};
    case FactType::service_done: return Line{Tone::good, name + ": done"};
    case FactType::service_removed:
      return Line{Tone::faint, fact.text + ": gone from the configuration, stopped"};
    default: return std::nullopt;
  }
}

std::optional<Line> Narrator::tell_child(const Fact& fact, const std::string& name) {
  const std::string who = worker(fact, name);
  switch (fact.type) {
    case FactType::child_spawn_failed: {
      std::string text = who + ": cannot start: " + printable(fact.text, false);
      if (std::exchange(last_trouble_[fact.service], text) == text) return std::nullopt;
      return Line{Tone::bad, std::move(text)};
    }
    case FactType::child_exited: {
      if (fact.slot == kBuildSlot || fact.text.empty()) return std::nullopt;
      std::string text = who + ": " + fact.text;
      if (std::exchange(last_trouble_[fact.service], text) == text) return std::nullopt;
      return Line{Tone::bad, text + " (pid " + std::to_string(fact.pid) + ", " + generation(fact) + ")"};
    }
    case FactType::child_not_ready:
      return Line{Tone::bad, who + ": not ready within " + in_words(fact.number)};
    case FactType::child_stop_timeout:
      return Line{Tone::bad, who + ": did not stop within " + in_words(fact.number) + ", killed"};
    case FactType::child_survivors:
      return Line{Tone::bad, who + ": could not be stopped: " + printable(fact.text, false)};
    case FactType::child_claim_refused:
      return Line{Tone::faint,
                  who + ": pid " + std::to_string(fact.number) + " does not serve: " + fact.text};
    case FactType::child_watchdog_missed:
      return Line{Tone::bad, who + ": missed its watchdog, restarting it"};
    default: return std::nullopt;
  }
}

std::optional<Line> Narrator::tell_reload(const Fact& fact, const std::string& name) {
  switch (fact.type) {
    case FactType::reload_building: return Line{Tone::faint, name + ": building"};
    case FactType::reload_build_failed: return Line{Tone::bad, name + ": build failed: " + fact.text};
    case FactType::reload_starting: return std::nullopt;
    case FactType::reload_done: {
      const std::string what = what_changed(fact.service);
      changes_.erase(fact.service);
      return Line{Tone::good, name + ": " + (what.empty() ? "" : what + " → ") + generation(fact) +
                                  " serves after " + in_words(fact.number)};
    }
    case FactType::reload_loop:
      return Line{Tone::bad,
                  name + ": " + printable(fact.text, false) + " changes after each start, " +
                      std::to_string(fact.number) +
                      " times in a row: it reloads nothing any more until another file changes; if " + name +
                      " writes it, add it to `ignore`"};
    case FactType::reload_failed:
      return Line{Tone::bad, name + ": " + generation(fact) + " failed: " + fact.text};
    default: return std::nullopt;
  }
}

std::optional<Line> Narrator::tell(const Fact& fact, const std::string& name) {
  if (auto line = tell_reload(fact, name)) return line;
  if (auto line = tell_service(fact, name)) return line;
  if (auto line = tell_child(fact, name)) return line;
  switch (fact.type) {
    case FactType::shutdown_started: return Line{Tone::faint, "stopping; once more Ctrl-C to force"};
    case FactType::shutdown_forced: return Line{Tone::bad, "forced: killing everything"};
    case FactType::shutdown_done:
      return Line{Tone::faint, fact.number == 0 ? "stopped, nothing is left" : "stopped"};
    case FactType::head_started:
      return Line{Tone::faint,
                  "the supervisor was replaced; everything goes on (" + std::to_string(fact.number) + ")"};
    default: return std::nullopt;
  }
}

}  // namespace runmain::app
