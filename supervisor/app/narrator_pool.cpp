// What a person is told of a pool of workers: its rolls, and what becomes of single workers.
#include <cstdlib>
#include <cstring>

#include "app/narrator.hpp"
#include "base/text.hpp"

namespace runmain::app {
namespace {

using core::Fact;
using core::FactType;

// "canary 1 of 4, held 10000 ms" as "canary 1 of 4, held 10.0 s".
std::string in_spans(const std::string& text) {
  constexpr std::string_view kHeld = ", held ";
  const std::size_t at = text.find(kHeld);
  if (at == std::string::npos) return text;
  return text.substr(0, at + kHeld.size()) + in_words(std::atoll(text.c_str() + at + kHeld.size()));
}

std::string shut_text(const Fact& fact, const std::string& name) {
  const bool its_own = fact.slot != kNoSlot;
  const std::string who =
      its_own ? name + "." + std::to_string(fact.slot) + ": it has" : name + ": one of its processes has";
  const std::string then = fact.number == 0 ? "; it listens again"
                                            : "; it cannot listen again: " +
                                                  std::string(std::strerror(static_cast<int>(fact.number)));
  return who + " shut down the socket " + printable(fact.text, false) + then;
}

}  // namespace

std::optional<Line> Narrator::tell_roll(const Fact& fact, const std::string& name) {
  switch (fact.type) {
    case FactType::reload_step: {
      const bool held = fact.text.find(", held ") != std::string::npos;
      Rolled& roll = rolls_[fact.service];
      const bool canary = fact.text.find("canary") != std::string::npos;
      if (!held && !canary && fact.time - roll.told < kSlowStep) return std::nullopt;
      roll.told = fact.time;
      const std::uint32_t to = roll.generation != 0 ? roll.generation : fact.generation;
      return Line{Tone::faint,
                  name + ": generation " + std::to_string(to) + ": " + printable(in_spans(fact.text), false)};
    }
    case FactType::reload_old_first:
      return Line{Tone::faint,
                  name + ": old workers go first, for want of memory: " + printable(fact.text, false)};
    case FactType::reload_restored:
      return Line{Tone::good,
                  name + ": generation " + std::to_string(fact.number) + " is back on every worker"};
    case FactType::service_scaled:
      return Line{Tone::good, name + ": " + std::to_string(fact.number) +
                                  (fact.number == 1 ? " worker" : " workers") + " from now on (" +
                                  printable(fact.text, false) + ")"};
    case FactType::service_scale_refused:
      return Line{Tone::bad, name + ": stays at " + std::to_string(fact.number) +
                                 (fact.number == 1 ? " worker" : " workers") + ": it has " +
                                 printable(fact.text, false)};
    case FactType::listener_shut:
      return Line{fact.number == 0 ? Tone::faint : Tone::bad, shut_text(fact, name)};
    default: return std::nullopt;
  }
}

// A child that has drained is on its way to a success: no line.
std::optional<Line> Narrator::tell_pool(const Fact& fact, const std::string& name) {
  const std::string who = this->who(fact, name);
  const std::string text = printable(fact.text, false);
  switch (fact.type) {
    case FactType::child_recycled: return Line{Tone::faint, who + ": is replaced, it is well: " + text};
    case FactType::child_frozen:
      return Line{Tone::bad,
                  who + ": a signal has stopped it (pid " + std::to_string(fact.pid) + ")" +
                      (fact.number > 0 ? ", it is ended after " + in_words(fact.number)
                                       : ", `kill -CONT " + std::to_string(fact.pid) + "` lets it go on")};
    case FactType::child_unwell:
      if (fact.number > 1) return std::nullopt;  // told when it is ended for it
      return Line{Tone::bad, who + ": is not well: " + text};
    case FactType::child_starved: {
      const auto [told, first] = starved_told_.emplace(std::pair(fact.service, fact.slot), fact.time);
      if (!first && fact.time - told->second < kStarvedAgain) return std::nullopt;
      told->second = fact.time;
      return Line{Tone::faint, who + ": is slow because others have the CPUs, and is left alone: " + text};
    }
    case FactType::child_replaced:
      return Line{Tone::bad, who + ": is not well: " + text + ", replacing it" +
                                 (fact.number > 0 ? " in " + in_words(fact.number) : "")};
    case FactType::child_hung:
      return Line{Tone::bad, who + ": hangs for " + in_words(fact.number) + " (" + text +
                                 "), is ended and replaced (pid " + std::to_string(fact.pid) + ")"};
    case FactType::slot_closed: {
      const bool one = fact.number == 1;
      return Line{Tone::bad, who + ": " + std::to_string(fact.number) +
                                 (one ? " connection was waiting and was closed"
                                      : " connections were waiting and were closed") +
                                 ", this worker has no successor"};
    }
    case FactType::slot_failed:
      return Line{Tone::bad, who + ": given up: " + text + "; the other workers go on"};
    default: return std::nullopt;
  }
}

}  // namespace runmain::app
