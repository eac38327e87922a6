// Facts as lines for a person: what happened to whom, in a few words, nothing twice.
// Invariant: every failure and every reload gets one line; steps on the way to a success do not. Non-goal:
// machine output (that is `runmain events --json`).
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "app/changes.hpp"
#include "base/time.hpp"
#include "core/effect.hpp"
#include "drive/log.hpp"

namespace runmain::app {

using drive::Tone;

struct Line {
  Tone tone = Tone::plain;
  std::string text;
};

inline constexpr Duration kSlowStep =
    std::chrono::seconds(3);  // of a roll; faster ones are told with its end
inline constexpr Duration kStarvedAgain = std::chrono::minutes(1);
inline constexpr std::size_t kWordsMax = 10;                     // lines of what failed
inline constexpr Duration kSlowBuild = std::chrono::seconds(1);  // a faster one is told with what it led to

class Narrator {
 public:
  using NameOf = std::function<std::string(ServiceId)>;
  // What a person could do about a reload that failed while the old generation serves on; empty: nothing
  // known.
  using AdviceOf = std::function<std::string(const core::Fact&)>;

  // The last lines of what failed; empty: they are not worth repeating.
  using WordsOf = std::function<std::vector<std::string>(const core::Fact&)>;

  explicit Narrator(AdviceOf advice = {}, WordsOf words = {})
      : advice_(std::move(advice)), words_(std::move(words)) {}

  // The lines that these Facts deserve; all Facts of one moment together.
  std::vector<Line> tell(const std::vector<core::Fact>& facts, const NameOf& name_of);
  // A build that takes long is told while it goes on: when that is next, and the lines of then.
  Time due() const;
  std::vector<Line> tell_due(Time now, const NameOf& name_of);
  // What has changed is shown with the reload that it causes.
  Changes& changes() { return changes_; }

 private:
  std::optional<Line> tell_one(const core::Fact& fact, const std::string& name);
  std::optional<Line> tell_service(const core::Fact& fact, const std::string& name);
  std::optional<Line> tell_child(const core::Fact& fact, const std::string& name);
  std::optional<Line> tell_reload(const core::Fact& fact, const std::string& name);
  std::string where(ServiceId service, const char* words);
  std::optional<Line> tell_roll(const core::Fact& fact, const std::string& name);
  std::optional<Line> tell_pool(const core::Fact& fact, const std::string& name);
  std::string who(const core::Fact& fact, const std::string& name) const;
  void add_words(const core::Fact& fact, std::vector<Line>& lines) const;
  std::optional<Line> tell_end(const core::Fact& fact);

  AdviceOf advice_;
  WordsOf words_;
  std::set<ServiceId> numbered_;  // have had several workers
  struct Rolled {
    std::uint32_t generation = 0;  // the new one
    Time told{};                   // when it began, or was last told to go on
  };
  std::map<ServiceId, Rolled> rolls_;
  std::map<std::pair<ServiceId, std::uint32_t>, Time> starved_told_;  // by slot
  Changes changes_;
  std::map<ServiceId, std::uint64_t> told_by_reload_;  // the cause of its latest reload.done or reload.failed
  std::set<ServiceId> built_;                          // since a generation last served
  std::map<ServiceId, Time> building_;                 // when to tell it; kNever: told
  std::map<ServiceId, std::string> found_at_;  // where a program that binds by itself was found to listen …
  std::map<ServiceId, std::string> told_at_;   // … and where a person knows it to be
  std::set<ServiceId> ignoring_;               // told of this start
  std::map<ServiceId, std::string> last_trouble_;  // so that a crash loop does not repeat itself line by line
};

// "84 ms", "1.2 s", "3 min 5 s".
std::string in_words(long long milliseconds);

}  // namespace runmain::app
