// Facts as lines for a person: what happened to whom, in a few words, nothing twice.
// Invariant: every failure and every reload gets a line; steps on the way to a success do not. Non-goal:
// machine output (that is `runmain events --json`).
#pragma once

#include <map>
#include <optional>
#include <string>

#include "core/effect.hpp"
#include "drive/log.hpp"

namespace runmain::app {

using drive::Tone;

struct Line {
  Tone tone = Tone::plain;
  std::string text;
};

class Narrator {
 public:
  // `name` is the service's; the line, if this Fact deserves one.
  std::optional<Line> tell(const core::Fact& fact, const std::string& name);
  // What has changed in a service: shown with the reload that it causes.
  void changed(ServiceId service, std::string first_path, std::uint32_t count);

 private:
  std::optional<Line> tell_service(const core::Fact& fact, const std::string& name);
  std::optional<Line> tell_child(const core::Fact& fact, const std::string& name);
  std::optional<Line> tell_reload(const core::Fact& fact, const std::string& name);
  std::string what_changed(ServiceId service);

  struct Change {
    std::string path;
    std::uint32_t count = 0;
  };
  std::map<ServiceId, Change> changes_;
  std::map<ServiceId, std::string> last_trouble_;  // so that a crash loop does not repeat itself line by line
};

// "84 ms", "1.2 s", "3 min 5 s".
std::string in_words(long long milliseconds);

}  // namespace runmain::app
