#include "app/orphans.hpp"

#include <poll.h>

#include "os/linux/process_tree.hpp"
#include "os/loop/loop.hpp"

namespace runmain::app {

void end_orphans(const std::vector<std::uint64_t>& tags, const std::function<void()>& meanwhile) {
  os::TreeKiller killer;
  const Time deadline = os::Loop::now() + std::chrono::seconds(5);
  for (const std::uint64_t tag : tags) {
    if (tag != 0) killer.add(tag, deadline);
  }
  if (!killer.idle()) (void)killer.step(os::Loop::now());
  meanwhile();
  while (!killer.idle()) {
    (void)killer.step(os::Loop::now());
    if (!killer.idle())
      poll(nullptr, 0, 1);  // they are init's children now: nobody tells us when they are gone
  }
}

}  // namespace runmain::app
