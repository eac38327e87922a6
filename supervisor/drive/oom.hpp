// Whether a death by SIGKILL was the kernel's, for want of memory: the out-of-memory killer counts its
// victims, and whoever dies of a SIGKILL that nobody here has sent while the count grows is one of them.
//
// Invariant: each victim that was counted explains one death at most, and only for kOomCreditTime, as it may
// have been no main process. Non-goal: victims in control groups that are not ours. Thread: one.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "base/time.hpp"

namespace runmain::drive {

// A large process takes a while to die.
inline constexpr Duration kOomCreditTime = std::chrono::seconds(10);

class OomWitness {
 public:
  // `count`: victims so far (os::OomCounter); `anew`: wherever we are by now, which takes longer. Looks at it
  // once, so that older ones explain nothing.
  using Count = std::function<std::optional<std::uint64_t>(bool anew)>;
  explicit OomWitness(Count count);

  // A child was started: what was counted until now is none of its business.
  void look(Time now);
  // A main process has died with this wait status; `by_us`: we had ordered it.
  bool explains(std::int32_t status, bool by_us, Time now);

 private:
  void look(Time now, bool anew);

  Count count_;
  std::uint64_t seen_ = 0;
  std::uint64_t unexplained_ = 0;
  Time since_{};  // when the latest was seen
};

}  // namespace runmain::drive
