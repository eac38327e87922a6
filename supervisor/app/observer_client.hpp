// What the observer has to tell a person: follows its socket and turns its facts into lines.
//
// One JSON object a line: {"v":1,"verb":"follow"} is asked, {"v":1,"fact":"destination.fails","text":…}
// comes. Invariant: the head waits for nothing here, but kFarewell at its end; an observer that is gone, slow
// or hostile costs a retry after a back-off, and at most kLinesMax lines are said in kLinesWithin, the rest
// counted. Non-goal:
// programs (they ask the observer themselves). Thread: the loop's.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "app/narrator.hpp"
#include "base/time.hpp"
#include "os/linux/fd.hpp"
#include "os/loop/loop.hpp"

namespace runmain::app {

// The line that a fact deserves; nothing: none, or it is no fact.
std::optional<Line> line_of_fact(const nlohmann::json& fact);

class ObserverClient {
 public:
  static constexpr std::size_t kLineMax = 64U << 10U;  // bytes of a fact
  static constexpr std::size_t kLinesMax = 20;         // lines that are said …
  static constexpr Duration kLinesWithin = std::chrono::seconds(1);
  static constexpr Duration kRetryFirst = std::chrono::milliseconds(100);
  static constexpr Duration kRetryMax = std::chrono::seconds(5);
  static constexpr Duration kFarewell = std::chrono::milliseconds(200);

  ObserverClient(os::Loop& loop, std::string path, std::function<void(const Line&)> say);

  // Tries to connect unless it is connected or about to.
  void start();
  // Says what the observer has told up to now, and hears no more: what comes later it tells by itself.
  void end();

 private:
  void connect();
  void lose();
  void on_readable();
  enum class Heard { all, more, end };  // up to now; there may be more; it has hung up
  Heard hear();
  void take_line(std::string_view line);
  void say_within_bounds(const Line& line);
  void end_window();

  os::Loop& loop_;
  std::string path_;
  std::function<void(const Line&)> say_;
  os::UniqueFd fd_;
  std::unique_ptr<os::Poll> poll_;
  std::unique_ptr<os::Timer> retry_timer_;
  std::unique_ptr<os::Timer> window_timer_;
  bool waits_ = false;  // for the retry
  Duration retry_ = kRetryFirst;
  std::string in_;
  std::size_t said_ = 0;  // in this window
  std::size_t more_ = 0;
};

}  // namespace runmain::app
