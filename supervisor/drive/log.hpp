// runmain's own lines: what the supervisor says beside its services' output. The only user of spdlog is
// log.cpp. Invariant: one line a call; a line never mixes with a service's. Thread: the loop's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace runmain::drive {

enum class Tone { plain, good, bad, faint };

class Log {
 public:
  // `write` takes whole lines without their newline. `times`: each with the wall clock (a log file, not a
  // person who sits before it). `colour`: the tone is shown by colour, else by nothing.
  Log(std::function<void(std::string_view)> write, bool times, bool colour);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // A text of several lines becomes several lines.
  void say(Tone tone, std::string_view text);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace runmain::drive
