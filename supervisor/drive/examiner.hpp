// Finds out from outside why a worker does not answer (os/linux/stall.hpp): a sample of all of its tree, and
// a second one kStallSpan later.
//
// Invariant: each examine() is answered once by a core::Looked with `asked`, but for one that is stopped or
// replaced; nothing runs while nobody is in doubt. Where we were stopped between the samples ourselves they
// are taken anew. Non-goal: judging. Thread: the loop's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/ids.hpp"
#include "base/time.hpp"
#include "core/event.hpp"
#include "drive/health.hpp"
#include "drive/readiness_tree.hpp"
#include "os/linux/stall.hpp"
#include "os/loop/loop.hpp"

namespace runmain::drive {

class Examiner {
 public:
  // `tell` is called from the loop, never from inside examine(). The loop outlives this.
  Examiner(os::Loop& loop, std::function<void(const core::Event&)> tell);

  // `pid`: its main process; `tag`: of its tree.
  void examine(const ChildKey& key, std::int32_t pid, std::uint64_t tag);
  void stop(const ChildKey& key);

  std::size_t open() const { return open_.size(); }

 private:
  struct Patient {
    std::int32_t pid = 0;
    std::uint64_t tag = 0;
    os::StallSample first;
    int repeats = 0;
  };
  void on_timer();
  os::StallSample sample(const Patient& patient, Time now);
  void arm();

  os::Loop& loop_;
  std::function<void(const core::Event&)> tell_;
  std::unique_ptr<os::Timer> timer_;
  std::map<ChildKey, Patient> open_;
  TreeIndex trees_;
};

// What two samples say of a worker, as the answer to Examine.
core::Looked examined(const ChildKey& key, const os::StallSample& first, const os::StallSample& second);

core::Stall stall_of(os::StallKind kind);

}  // namespace runmain::drive
