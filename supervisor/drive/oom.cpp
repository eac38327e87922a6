#include "drive/oom.hpp"

#include <sys/wait.h>

#include <csignal>
#include <utility>

namespace runmain::drive {

OomWitness::OomWitness(Count count) : count_(std::move(count)) { seen_ = count_(true).value_or(0); }

void OomWitness::look(Time now) { look(now, false); }

void OomWitness::look(Time now, bool anew) {
  const std::uint64_t all = count_(anew).value_or(seen_);
  if (all > seen_) {
    unexplained_ += all - seen_;
    since_ = now;
  }
  seen_ = all;
  if (now - since_ > kOomCreditTime) unexplained_ = 0;
}

bool OomWitness::explains(std::int32_t status, bool by_us, Time now) {
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) return false;
  look(now, true);
  if (by_us || unexplained_ == 0) return false;
  --unexplained_;
  return true;
}

}  // namespace runmain::drive
