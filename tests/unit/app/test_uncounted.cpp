// Who is told that a limit of requests does nothing.
#include <algorithm>
#include <set>
#include <vector>

#include "app/uncounted.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::app;
using namespace std::chrono_literals;
using core::Fact;
using core::FactType;

namespace {

struct Fixture {
  os::Loop loop;
  std::set<ServiceId> wants{ServiceId{0}, ServiceId{1}};
  std::set<ServiceId> told;
  std::vector<ServiceId> warned;
  Uncounted uncounted{loop,
                      {[this](ServiceId id) { return wants.contains(id); },
                       [this](ServiceId id) { return told.contains(id); },
                       [this](ServiceId id) { warned.push_back(id); }, 20ms}};

  void says(std::uint32_t service, FactType type) {
    Fact fact;
    fact.service = ServiceId{service};
    fact.type = type;
    uncounted.on_fact(fact);
  }
  // Until a service that is never in doubt has been warned of: by then the others would have been.
  void settle() {
    wants.insert(ServiceId{9});
    says(9, FactType::child_ready);
    const Time end = os::Loop::now() + 20s;
    while (std::find(warned.begin(), warned.end(), ServiceId{9}) == warned.end() && os::Loop::now() < end)
      loop.turn(10ms);
    REQUIRE(warned.back() == ServiceId{9});
    warned.pop_back();
  }
};

}  // namespace

TEST_CASE("a pool with a limit of requests that tells none is warned of once") {
  Fixture f;
  f.says(0, FactType::child_ready);
  f.says(0, FactType::child_ready);
  f.settle();
  CHECK(f.warned == std::vector<ServiceId>{ServiceId{0}});
}

TEST_CASE("no word about a pool that has told a count, has claimed, or has no such limit") {
  Fixture f;
  f.told.insert(ServiceId{0});
  f.says(0, FactType::child_ready);
  f.says(1, FactType::child_ready);
  f.says(1, FactType::child_claimed);
  f.says(1, FactType::child_ready);
  f.says(2, FactType::child_ready);
  f.settle();
  CHECK(f.warned.empty());
}
