// Who may serve: the role is claimed, has a holder, and ends with the child.
#include "script.hpp"

using namespace runmain;
using namespace runmain::core;

TEST_CASE("the first process that claims holds the role; another one only by an explicit call") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"claim 0:0:1:1 501", "grant 0:0:1:1", "child.claimed"},
           {"claim 0:0:1:1 501", "grant 0:0:1:1", ""},  // again: the same answer, told once
           {"claim 0:0:1:1 502", "refuse 0:0:1:1 (the role belongs to process 501)", "child.claim_refused"},
           {"claim 0:0:1:1 502 explicit", "grant 0:0:1:1", "child.claimed"},
           {"claim 0:0:1:1 502", "grant 0:0:1:1", ""},
           {"claim 0:0:1:1 503", "refuse 0:0:1:1 (the role belongs to process 501)"}});
}

TEST_CASE("a holder that has ended gives its role to who claims next") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"claim 0:0:1:1 501", "grant 0:0:1:1", "child.claimed"},
           {"claim 0:0:1:1 502 after 499", "refuse 0:0:1:1 (the role belongs to process 501)"},
           {"claim 0:0:1:1 502 after 501", "grant 0:0:1:1", "child.claimed"},
           {"claim 0:0:1:1 503", "refuse 0:0:1:1 (the role belongs to process 502)"}});
}

TEST_CASE("how a claim wants the mailbox goes with its grant") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  for (const bool by_path : {true, false}) {
    s.handle(Claimed{K{0, 0, 1, 1}, 1, 501, false, "node", {}, by_path});
    REQUIRE(s.out.effects.size() == 1);
    CHECK(std::get<GrantRole>(s.out.effects[0].action).by_path == by_path);
  }
}

TEST_CASE("a claim in each phase of a child") {
  struct Row {
    const char* what;
    std::initializer_list<Step> before;
    const char* answer;
  };
  const char* killing = "refuse 0:0:1:1 (the child is being killed)";
  const char* unknown = "refuse 0:0:1:1 (no such child)";
  const Step lives{"lives 0:0:1:1", "probe 0:0:1:1"};
  const Step ready{"ready 0:0:1:1", ""};
  const Step stop{"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"};
  const Step killed{"tick 10000", "kill_tree 0:0:1:1"};
  const Row rows[] = {
      {"faster than the keeper's word", {}, "grant 0:0:1:1"},
      {"starting", {lives}, "grant 0:0:1:1"},
      {"ready", {lives, ready}, "grant 0:0:1:1"},
      {"to be stopped as soon as it is there", {{"stop 1 0", ""}}, "grant 0:0:1:1"},
      {"said that it is stopping", {lives, ready, {"stopping 0:0:1:1", ""}}, "grant 0:0:1:1"},
      {"asked to stop", {lives, ready, stop}, "grant 0:0:1:1, ask_drain 0:0:1:1"},
      {"killed", {lives, ready, stop, killed}, killing},
      {"exited", {lives, ready, stop, {"exits 0:0:1:1 0", "kill_tree 0:0:1:1"}}, unknown},
      {"gone",
       {lives,
        ready,
        stop,
        {"exits 0:0:1:1 0", "kill_tree 0:0:1:1"},
        {"swept 0:0:1:1", "forget 0:0:1:1, answer 1"}},
       unknown},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    Scene s;
    s.configure({service("web")});
    play(s, row.before);
    play(s, {{"claim 0:0:1:1 501", row.answer}});
    CHECK(s.count<GrantRole>() == 1);
  }
}

TEST_CASE("one that holds the role has it until its child is killed") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"claim 0:0:1:1 501", "grant 0:0:1:1"},
           {"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"claim 0:0:1:1 501", "grant 0:0:1:1, ask_drain 0:0:1:1"},  // it may not have heard of it
           {"claim 0:0:1:1 502", "refuse 0:0:1:1 (the role belongs to process 501)"},
           {"tick 10000", "kill_tree 0:0:1:1"},
           {"claim 0:0:1:1 501", "refuse 0:0:1:1 (the child is being killed)"},
           {"claim 0:0:1:1 501 explicit", "refuse 0:0:1:1 (the child is being killed)"}});
}

TEST_CASE("the role does not pass to the child's successor, which has its own") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  play(s, {{"claim 0:0:1:1 501", "grant 0:0:1:1"},
           {"exits 0:0:1:1 11", "spawn 0:0:1:2 crash, kill_tree 0:0:1:1"},
           {"claim 0:0:1:1 502", "refuse 0:0:1:1 (no such child)"},
           {"claim 0:0:1:2 503", "grant 0:0:1:2"}});
}

TEST_CASE("both generations of a roll may serve, each with its own holder") {
  Scene s;
  s.configure({watched("web", 2)});
  s.serve({0, 0, 1, 1});
  s.serve({0, 1, 1, 1});
  play(s, {{"claim 0:0:1:1 501", "grant 0:0:1:1"},
           {"claim 0:1:1:1 502", "grant 0:1:1:1"},
           {"changed 0", "spawn 0:0:2:1 change, spawn 0:1:2:1 change"},
           {"claim 0:0:2:1 503", "grant 0:0:2:1"}});
}

TEST_CASE("the number of processes of one child that serve is bounded") {
  Scene s;
  s.configure({service("web")});
  s.serve({0, 0, 1, 1});
  for (std::size_t n = 0; n < kClaimsMax; ++n) {
    s.handle(Claimed{K{0, 0, 1, 1}, n, static_cast<std::int32_t>(500 + n), true, "", {}, false});
    REQUIRE(s.effects() == "grant 0:0:1:1");
  }
  play(s, {{"claim 0:0:1:1 9999 explicit", "refuse 0:0:1:1 (too many processes of this child hold the role)"},
           {"claim 0:0:1:1 500", "grant 0:0:1:1"}});
}

TEST_CASE("a claim is answered to the connection that made it, known or not") {
  Scene s;
  s.configure({service("web")});
  for (const ChildKey& key : {ChildKey{K{0, 0, 1, 1}}, ChildKey{K{0, 9, 1, 1}}, ChildKey{K{77, 0, 1, 1}}}) {
    s.handle(Claimed{key, 4711, 5, false, "node", {}, false});
    REQUIRE(s.out.effects.size() == 1);
    const auto& answer = std::get<GrantRole>(s.out.effects[0].action);
    CHECK(answer.conn == 4711);
    CHECK(answer.key == key);
    CHECK(answer.granted == (key.service.value == 0 && key.slot == 0));
  }
}
