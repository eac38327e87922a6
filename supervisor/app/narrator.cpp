#include "app/narrator.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/text.hpp"

namespace runmain::app {
namespace {

using core::Fact;
using core::FactType;

std::string generation(const Fact& fact) { return "generation " + std::to_string(fact.generation); }

std::string arrow(const std::string& what) { return what.empty() ? what : what + " → "; }

// "settle 50, build 1200, start 80" (milliseconds) as " (settle 50 ms, build 1.2 s, start 80 ms)"; nothing
// where all of the time went to the start. Without a build the time before the start was for the old
// generation to stop.
std::string where_it_went(const std::string& parts, bool built) {
  std::string text;
  std::size_t named = 0;
  for (std::size_t at = 0; at < parts.size();) {
    const std::size_t comma = std::min(parts.find(", ", at), parts.size());
    const std::string part = parts.substr(at, comma - at);
    at = comma + 2;
    const std::size_t blank = part.find(' ');
    const long long ms = blank == std::string::npos ? 0 : std::atoll(part.c_str() + blank);
    if (ms == 0) continue;
    const std::string name = part.substr(0, blank);
    text += (named++ == 0 ? "" : ", ") + (name == "build" && !built ? "stop" : name) + " " + in_words(ms);
  }
  return named < 2 ? std::string() : " (" + text + ")";
}

bool ends_build(FactType type) {
  return type == FactType::reload_build_failed || type == FactType::reload_starting ||
         type == FactType::service_starting || type == FactType::service_failed ||
         type == FactType::service_stopping;
}

bool begins_start(FactType type) {
  return type == FactType::reload_building || type == FactType::reload_starting ||
         type == FactType::service_starting;
}

std::string signal_text(int number) {
  const char* name = sigabbrev_np(number);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(number);
}

// The end of a worker is part of the line that tells what follows from it.
bool is_told_with(const Fact& exited, const Fact& other) {
  if (exited.number == 0 && other.type == FactType::service_done)
    return other.service == exited.service && other.cause == exited.cause;
  const bool replaced = other.type == FactType::child_recycled && other.slot == exited.slot;
  const bool follows = replaced || other.type == FactType::service_failed ||
                       other.type == FactType::reload_failed || other.type == FactType::reload_build_failed;
  return follows && other.service == exited.service && other.cause == exited.cause &&
         other.text.find(exited.text) != std::string::npos;
}

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

// A worker of several has its number; of one alone the service's name is enough.
std::string Narrator::who(const Fact& fact, const std::string& name) const {
  if (const char* helper = helper_name(fact.slot)) return name + " " + helper;
  return fact.slot == 0 && !numbered_.contains(fact.service) ? name : name + "." + std::to_string(fact.slot);
}

// `words` and the address, if it is news.
std::string Narrator::where(ServiceId service, const char* words) {
  const auto found = found_at_.find(service);
  if (found == found_at_.end()) return {};
  std::string& told = told_at_[service];
  if (told == found->second) return {};
  told = found->second;
  return words + printable(told, false);
}

std::optional<Line> Narrator::tell_service(const Fact& fact, const std::string& name) {
  switch (fact.type) {
    case FactType::service_ready:
      last_trouble_.erase(fact.service);
      if (told_by_reload_[fact.service] == fact.cause) return std::nullopt;
      return Line{Tone::good, name + ": ready" + where(fact.service, ", serves on ")};
    case FactType::service_waiting: return Line{Tone::faint, name + ": " + fact.text};
    case FactType::service_backoff:
      return fact.number < 1000
                 ? std::nullopt
                 : std::optional(Line{Tone::faint, name + ": next try in " + in_words(fact.number)});
    case FactType::service_failed:
      if (told_by_reload_[fact.service] == fact.cause) return std::nullopt;
      return Line{Tone::bad, name + ": failed: " + printable(fact.text, false)};
    case FactType::service_stopped: return Line{Tone::faint, name + ": stopped"};
    case FactType::service_done: return Line{Tone::good, name + ": done"};
    case FactType::service_removed:
      return Line{Tone::faint, fact.text + ": gone from the configuration, stopped"};
    default: return std::nullopt;
  }
}

std::optional<Line> Narrator::tell_child(const Fact& fact, const std::string& name) {
  const std::string who = this->who(fact, name);
  switch (fact.type) {
    case FactType::child_spawn_failed: {
      // The same of another worker is no news, and may come after the verdict.
      std::string text = "cannot start: " + printable(fact.text, false);
      if (std::exchange(last_trouble_[fact.service], text) == text) return std::nullopt;
      return Line{Tone::bad, who + ": " + text};
    }
    case FactType::child_exited: {
      if (fact.slot == kBuildSlot || fact.text.empty()) return std::nullopt;
      std::string text = who + ": " + fact.text;
      if (std::exchange(last_trouble_[fact.service], text) == text) return std::nullopt;
      return Line{Tone::bad, text + " (pid " + std::to_string(fact.pid) + ", " + generation(fact) + ")"};
    }
    case FactType::child_not_ready:
      return Line{Tone::bad, who + ": not ready within " + in_words(fact.number) +
                                 (fact.text.empty() ? "" : ": " + printable(fact.text, false))};
    case FactType::child_stop_timeout:
      return Line{Tone::bad, who + ": did not stop within " + in_words(fact.number) + ", killed"};
    case FactType::child_survivors:
      return Line{Tone::bad, who + ": could not be stopped: " + printable(fact.text, false)};
    case FactType::child_claim_refused:
      return Line{Tone::faint,
                  who + ": pid " + std::to_string(fact.number) + " does not serve: " + fact.text};
    default: return std::nullopt;
  }
}

std::optional<Line> Narrator::tell_reload(const Fact& fact, const std::string& name) {
  switch (fact.type) {
    case FactType::reload_building:
      built_.insert(fact.service);
      building_.emplace(fact.service, fact.time + kSlowBuild);  // there already: that one was cut short
      return std::nullopt;
    case FactType::reload_build_failed:
      return Line{Tone::bad,
                  name + ": " + arrow(changes_.pending(fact.service)) + "build failed: " + fact.text};
    case FactType::reload_done: {
      told_by_reload_[fact.service] = fact.cause;
      last_trouble_.erase(fact.service);
      const std::string what = changes_.summary(fact.service);
      changes_.served(fact.service);
      return Line{Tone::good, name + ": " + arrow(what) + generation(fact) + " serves after " +
                                  in_words(fact.number) +
                                  where_it_went(fact.text, built_.erase(fact.service) > 0) +
                                  where(fact.service, ", now on ")};
    }
    case FactType::reload_loop:
      return Line{Tone::bad,
                  name + ": " + printable(fact.text, false) + " changes after each start, " +
                      std::to_string(fact.number) +
                      " times in a row: it reloads nothing any more until another file changes, or somebody "
                      "else writes it; if " +
                      name + " writes it, add it to `ignore`"};
    case FactType::reload_failed: {
      told_by_reload_[fact.service] = fact.cause;
      const std::string advice = advice_ ? advice_(fact) : std::string();
      // "generation 3: why; generation 2 serves on", or only why.
      const std::string itself = generation(fact) + ": ";
      const std::string why = fact.text.starts_with(itself) ? fact.text.substr(itself.size()) : fact.text;
      return Line{Tone::bad, name + ": " + arrow(changes_.summary(fact.service)) + generation(fact) +
                                 " failed: " + printable(why, false) + (advice.empty() ? "" : "; " + advice)};
    }
    case FactType::reload_waits:
      return Line{Tone::faint, name + " waits at its terminal; " + std::to_string(fact.number) +
                                   (fact.number == 1 ? " save" : " saves") +
                                   " queued (Ctrl-] r restarts it)"};
    case FactType::reload_ignored:
      if (!ignoring_.insert(fact.service).second) return std::nullopt;
      return Line{Tone::faint, name + ": a change during the start, ignored"};
    case FactType::reload_signalled: {
      changes_.launched(fact.service);
      const std::string what = changes_.summary(fact.service);
      changes_.served(fact.service);
      return Line{Tone::good, name + ": " + (what.empty() ? "" : what + " → ") +
                                  signal_text(static_cast<int>(fact.number)) + " sent"};
    }
    default: return std::nullopt;
  }
}

std::vector<Line> Narrator::tell(const std::vector<Fact>& facts, const NameOf& name_of) {
  std::vector<Line> lines;
  for (const Fact& fact : facts) {
    if (fact.slot > 0 && fact.slot < kHelperSlotFirst) numbered_.insert(fact.service);
  }
  for (const Fact& fact : facts) {
    if (fact.type == FactType::reload_starting) {
      changes_.launched(fact.service);
      rolls_[fact.service] = {static_cast<std::uint32_t>(fact.number), fact.time};
    }
    if (const std::size_t blank = fact.text.find(' ');
        fact.type == FactType::child_ready && blank != std::string::npos)
      found_at_[fact.service] = fact.text.substr(blank + 1);
    if (begins_start(fact.type)) ignoring_.erase(fact.service);
    if (ends_build(fact.type)) building_.erase(fact.service);
    const bool told_later =
        fact.type == FactType::child_exited &&
        std::any_of(facts.begin(), facts.end(), [&](const Fact& other) { return is_told_with(fact, other); });
    if (told_later) continue;
    auto line = tell_one(fact, name_of(fact.service));
    if (!line) continue;
    lines.push_back(std::move(*line));
    add_words(fact, lines);
  }
  return lines;
}

void Narrator::add_words(const Fact& fact, std::vector<Line>& lines) const {
  const bool failed = fact.type == FactType::reload_failed || fact.type == FactType::service_failed ||
                      fact.type == FactType::slot_failed;
  if (!failed || !words_) return;
  std::vector<std::string> words = words_(fact);
  if (words.size() > kWordsMax) words.erase(words.begin(), words.end() - kWordsMax);
  for (const std::string& word : words) lines.push_back({Tone::faint, "  | " + printable(word, false)});
}

Time Narrator::due() const {
  Time first = kNever;
  for (const auto& [service, when] : building_) first = std::min(first, when);
  return first;
}

std::vector<Line> Narrator::tell_due(Time now, const NameOf& name_of) {
  std::vector<Line> lines;
  for (auto& [service, when] : building_) {
    if (when > now) continue;
    when = kNever;
    lines.push_back({Tone::faint, name_of(service) + ": building"});
  }
  return lines;
}

std::optional<Line> Narrator::tell_one(const Fact& fact, const std::string& name) {
  if (auto line = tell_reload(fact, name)) return line;
  if (auto line = tell_roll(fact, name)) return line;
  if (auto line = tell_pool(fact, name)) return line;
  if (auto line = tell_service(fact, name)) return line;
  if (auto line = tell_child(fact, name)) return line;
  return tell_end(fact);
}

std::optional<Line> Narrator::tell_end(const Fact& fact) {
  switch (fact.type) {
    case FactType::signal_passed_on:
      return Line{Tone::faint, signal_text(static_cast<int>(fact.number)) + ": passed on to " + fact.text};
    case FactType::upgrade_refused: return Line{Tone::bad, "not upgraded, nothing has changed: " + fact.text};
    case FactType::upgrade_done: return Line{Tone::good, "upgraded to " + fact.text + "; everything goes on"};
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
