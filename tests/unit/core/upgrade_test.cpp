// An upgrade of runmain itself, as far as the core is concerned: one at a time, told, and answered once.
#include "script.hpp"

using namespace runmain;
using namespace runmain::core;

namespace {

Command asks(std::uint64_t request, std::string folder = "/opt/new") {
  Command command{CommandVerb::upgrade, {}, 0, request};
  command.folder = std::move(folder);
  return command;
}

Scene serving() {
  Scene s;
  s.configure({service("a")});
  s.serve({0, 0, 1, 1});
  return s;
}

}  // namespace

TEST_CASE("who asks for an upgrade is answered when it has ended") {
  struct Row {
    std::string error;
    const char* effects;
    FactType fact;
  };
  for (const Row& row : {Row{"", "answer 7", FactType::upgrade_done},
                         Row{"too old", "answer 7 (too old)", FactType::upgrade_refused}}) {
    Scene s = serving();
    s.handle(asks(7));
    CHECK(s.effects() == "upgrade /opt/new");
    CHECK(s.facts.back().type == FactType::upgrade_started);
    CHECK(s.machine.snapshot().upgrading);
    s.handle(UpgradeEnded{row.error, true, "2.0"});
    CHECK(s.effects() == row.effects);
    CHECK(s.facts.back().type == row.fact);
    CHECK(s.facts.back().text == (row.error.empty() ? "2.0" : row.error));
    CHECK_FALSE(s.machine.snapshot().upgrading);
    CHECK(s.machine.snapshot().upgrade_error == row.error);
  }
}

TEST_CASE("there is one upgrade at a time") {
  Scene s = serving();
  s.handle(Signalled{SIGUSR2});
  CHECK(s.effects() == "upgrade -");
  s.handle(Signalled{SIGUSR2});
  CHECK(s.effects().empty());
  s.handle(asks(7));
  CHECK(s.effects() == "answer 7 (another upgrade is under way)");
  s.handle(UpgradeEnded{"", false, "2.0"});
  CHECK(s.effects().empty());
  s.handle(asks(8));
  CHECK(s.effects() == "upgrade /opt/new");
}

TEST_CASE("while runmain ends nothing is upgraded, and who waits for it is told") {
  Scene s = serving();
  s.handle(asks(7));
  s.handle(Signalled{SIGTERM});
  CHECK(s.effects().find("answer 7 (runmain is shutting down)") != std::string::npos);
  s.handle(asks(8));
  CHECK(s.effects() == "answer 8 (runmain is shutting down)");
  s.handle(UpgradeEnded{"runmain is ending", false, "1.0"});
  CHECK(s.effects().empty());
}

TEST_CASE("a head of the new program that takes over knows that an upgrade is under way") {
  Scene s = serving();
  s.handle(asks(7));
  Machine next{1};
  REQUIRE(next.restore(s.machine.save()));
  CHECK(next.snapshot().upgrading);
  Output out;
  next.handle(UpgradeEnded{"", true, "2.0"}, s.now, out);
  REQUIRE(out.effects.size() == 1);
  CHECK(text_of(out.effects[0].action) == "answer 7");
}
