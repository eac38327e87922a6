// Whether the programs of a folder can take the places of those that run: asks each before anything is
// changed.
//
// Each is started with --check and what it will have to go on with, says what it is (check_line.hpp) and ends
// with 0: the keeper after it has read our state, the supervisor after it has read the state log and replayed
// it. They must be of one kind, as they talk to each other. Invariant: one process at a time, for
// kCheckTimeout at most; nothing that runs is touched. Non-goal: replacing them (keeper_upgrade.cpp).
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/time.hpp"
#include "keeper/protocol.hpp"
#include "os/linux/fd.hpp"
#include "os/linux/spawn.hpp"

namespace runmain::keeper {

inline constexpr Duration kCheckTimeout = std::chrono::seconds(10);
inline constexpr Duration kLastCheckTimeout = std::chrono::seconds(2);  // while nothing else is done
inline constexpr std::size_t kCheckOutputMax = 4096;                    // bytes that are looked at

class Upgrade {
 public:
  explicit Upgrade(os::Spawner& spawner) : spawner_(spawner) {}

  enum class Step : std::uint8_t { idle, keeper, supervisor, observer, ready };
  Step step() const { return step_; }
  // `state` is of the keeper (store_state()), `log` the head's, which stays the caller's. On failure the
  // reason is given by take_refusal(), as for everything that fails later.
  void begin(const std::string& folder, os::UniqueFd state, int log, Time now);
  // The check's process; 0: none.
  pid_t pid() const { return pid_; }
  // It was waited for: goes on with the next one.
  void died(int status, Time now);
  // When late() has something to do.
  Time due() const { return pid_ == 0 ? kNever : deadline_; }
  void late(Time now);
  // Why the programs are refused, once; empty: they are not, or not yet.
  std::string take_refusal() { return std::exchange(refusal_, {}); }

  // Once more, with the state that will be resumed; blocks for kLastCheckTimeout at most. On failure why not.
  Result<void> check_keeper_now(int state);

  // Once ready(). The keeper's differs from the program that runs.
  bool keeper_changed() const { return keeper_changed_; }
  std::string program(std::string_view name) const { return folder_ + "/" + std::string(name); }
  void finish();
  // Nobody wants to know any more.
  void cancel();

 private:
  void start(Step step, Time now);
  void next(Time now);
  void refuse(const std::string& why);
  Result<void> spawn(const std::string& name, int memory);
  std::string output();
  Result<void> judge(int status);
  std::string name() const;

  os::Spawner& spawner_;
  Step step_ = Step::idle;
  std::string folder_;
  os::UniqueFd state_;
  int log_ = -1;
  bool keeper_changed_ = false;
  std::string kind_;  // what all say behind their names
  pid_t pid_ = 0;
  Time deadline_ = kNever;
  bool was_late_ = false;
  os::UniqueFd output_;
  std::string refusal_;
};

}  // namespace runmain::keeper
