#include "app/changes.hpp"

#include "support/catch.hpp"

using namespace runmain;
using runmain::app::leave_out;

namespace {

core::Changed changed(std::vector<std::string> paths, bool unknown = false) {
  core::Changed c;
  c.count = static_cast<std::uint32_t>(paths.size());
  c.paths = std::move(paths);
  c.unknown = unknown;
  return c;
}

}  // namespace

TEST_CASE("runmain's own folders in a watched tree are no changes of the program") {
  const std::vector<std::string> own{"/srv/run", "", "/srv/state"};
  auto mixed = changed({"/srv/state/adoption", "/srv/state.py", "/srv/run/changed-0", "/srv/runner/x"});
  CHECK(leave_out(mixed, own));
  CHECK(mixed.paths == std::vector<std::string>{"/srv/state.py", "/srv/runner/x"});
  CHECK(mixed.count == 2);
  auto ours = changed({"/srv/state/adoption"});
  CHECK_FALSE(leave_out(ours, own));
  auto lost = changed({"/srv/state/adoption"}, true);
  CHECK(leave_out(lost, own));
}
