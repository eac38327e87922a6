// Verbs, answers and streams of the control server.
#include "fake_backend.hpp"
#include "support/catch.hpp"

namespace runmain::control {
namespace {

using S = core::ServiceState;
using V = core::CommandVerb;

TEST_CASE("status tells every service under the request's id") {
  World world;
  Peer peer(world);
  REQUIRE(peer.ask("status", "{}", 7));
  const Json answer = peer.line();
  CHECK(answer["id"] == 7);
  REQUIRE(answer["ok"]["services"].size() == 2);
  CHECK(answer["ok"]["services"][0]["name"] == "web");
}

TEST_CASE("an id may be a short text, and no other thing") {
  struct Case {
    const char* id;
    bool good;
  };
  const Case cases[] = {{R"("abc")", true}, {"-3", true},   {"18446744073709551615", true}, {"1.5", false},
                        {"null", false},    {"[1]", false}, {R"({"a":1})", false}};
  for (const Case& c : cases) {
    World world;
    Peer peer(world);
    REQUIRE(peer.send(std::string(R"({"v":1,"id":)") + c.id + R"(,"verb":"ping"})" + "\n"));
    const Json answer = peer.line();
    INFO(c.id);
    CHECK(answer.contains("ok") == c.good);
    CHECK(answer["id"] == (c.good ? Json::parse(c.id) : Json()));
  }
}

TEST_CASE("commands reach the backend with the services' ids and are answered when they are done") {
  struct Case {
    const char* verb;
    const char* args;
    V expected;
    std::vector<ServiceId> services;
    int signal;
    std::uint32_t number = 0;
  };
  const Case cases[] = {
      {"scale", R"({"services":["web"],"workers":4})", V::scale, {ServiceId{0}}, 0, 4},
      {"reload", R"({"services":["web"],"canary":1})", V::reload, {ServiceId{0}}, 0, 1},
      {"start", R"({"services":["web"]})", V::start, {ServiceId{0}}, 0},
      {"stop", R"({"services":["db","web","db"]})", V::stop, {ServiceId{1}, ServiceId{0}}, 0},
      {"restart", "{}", V::restart, {}, 0},
      {"reload", R"({"services":[]})", V::reload, {}, 0},
      {"signal", R"({"services":["web"],"signal":10})", V::signal, {ServiceId{0}}, 10},
      {"down", R"({"services":["web"]})", V::shutdown, {}, 0},
  };
  for (const Case& c : cases) {
    World world;
    Peer peer(world);
    REQUIRE(peer.ask(c.verb, c.args));
    REQUIRE(world.until([&] { return world.backend.commanded.size() == 1; }));
    CHECK(world.backend.commanded[0].verb == c.expected);
    CHECK(world.backend.commanded[0].services == c.services);
    CHECK(world.backend.commanded[0].signal == c.signal);
    CHECK(world.backend.commanded[0].number == c.number);
    CHECK_FALSE(peer.has_line());
    world.server.answered(1, "");
    CHECK(peer.line()["ok"] == Json::object());
  }
}

TEST_CASE("a reload for the doctor names a folder, which is for the workers of that reload only") {
  World world;
  Peer peer(world);
  REQUIRE(peer.ask("reload", R"({"services":["web"],"doctor":"/run/x"})"));
  REQUIRE(world.until([&] { return world.backend.commanded.size() == 1; }));
  CHECK(world.backend.doctor == "/run/x");
  world.server.answered(1, "it failed");
  CHECK(world.backend.doctor.empty());
  CHECK(peer.line()["error"]["code"] == "failed");
  world.backend.doctor = "somebody's";
  REQUIRE(peer.ask("reload", "{}"));
  REQUIRE(world.until([&] { return world.backend.commanded.size() == 2; }));
  CHECK(world.backend.doctor.empty());
}

TEST_CASE("a command that cannot be done is answered with the reason") {
  World world;
  Peer peer(world);
  REQUIRE(peer.ask("start", R"({"services":["web"]})"));
  REQUIRE(world.until([&] { return !world.backend.commanded.empty(); }));
  world.server.answered(99, "another's");
  world.server.answered(1, "web: no such file");
  const Json answer = peer.line();
  CHECK(answer["error"]["code"] == "failed");
  CHECK(answer["error"]["message"] == "web: no such file");
}

TEST_CASE("a failure is answered with the last lines of the worker that failed") {
  World world;
  world.backend.lines = {log_line_of("first"), log_line_of("last")};
  const auto add = [&](core::FactType type, std::uint32_t slot, Time when) {
    core::Fact fact;
    fact.type = type;
    fact.service = ServiceId{0};
    fact.slot = slot;
    fact.generation = 5;
    fact.time = when;
    world.backend.state.services[0].history.push_back(fact);
  };
  add(core::FactType::reload_failed, 0, Time{});  // before it was asked
  Peer first(world);
  REQUIRE(first.ask("reload", R"({"services":["web"]})"));
  REQUIRE(world.until([&] { return world.backend.commanded.size() == 1; }));
  world.server.answered(1, "no");
  CHECK_FALSE(first.line()["error"].contains("output"));
  Peer second(world);
  REQUIRE(second.ask("reload", R"({"services":["web"]})"));
  REQUIRE(world.until([&] { return world.backend.commanded.size() == 2; }));
  add(core::FactType::child_exited, 3, Time::max());
  add(core::FactType::reload_failed, 0, Time::max());
  world.server.answered(2, "generation 5: exited with status 1");
  const Json error = second.line()["error"];
  CHECK(error["message"] == "generation 5: exited with status 1");
  REQUIRE(error["output"].size() == 2);
  CHECK(error["output"][1]["text"] == "last");
  CHECK(world.backend.words_of == ChildKey{ServiceId{0}, 3, 5, 0});
}

TEST_CASE("who does not wait is answered at once, and only once") {
  World world;
  Peer peer(world);
  REQUIRE(peer.ask("reload", R"({"services":["web"],"wait":false})"));
  CHECK(peer.line()["ok"] == Json::object());
  world.server.answered(1, "too late to be told");
  REQUIRE(peer.ask("ping", "{}", 2));
  CHECK(peer.line()["id"] == 2);
}

TEST_CASE("an answer that comes before command returns is not lost") {
  World world;
  world.backend.on_command = [&](std::uint64_t request) { world.server.answered(request, ""); };
  Peer peer(world);
  REQUIRE(peer.ask("start"));
  CHECK(peer.line().contains("ok"));
}

TEST_CASE("wrong requests are answered with a code and change nothing") {
  struct Case {
    const char* verb;
    const char* args;
    const char* code;
    const char* hint;
  };
  const Case cases[] = {
      {"stauts", "{}", "unknown_verb", "did you mean \"status\"?"},
      {"start", R"({"services":["wbe"]})", "unknown_service", "did you mean \"web\"?"},
      {"start", R"({"services":["somethingelse"]})", "unknown_service", "known: web, db"},
      {"start", R"({"services":"web"})", "bad_request", ""},
      {"start", R"({"services":[1]})", "bad_request", ""},
      {"signal", R"({"services":["web"]})", "bad_request", ""},
      {"signal", R"({"services":["web"],"signal":65})", "bad_request", ""},
      {"signal", R"({"services":["web"],"signal":"TERM"})", "bad_request", ""},
      {"scale", R"({"services":["web"]})", "bad_request", ""},
      {"scale", R"({"services":["web"],"workers":0})", "bad_request", ""},
      {"scale", R"({"workers":2})", "bad_request", ""},
      {"scale", R"({"services":["wbe"],"workers":2})", "unknown_service", "did you mean \"web\"?"},
      {"reload", R"({"services":["web"],"canary":-1})", "bad_request", ""},
      {"reload", R"({"services":["web"],"doctor":"relative"})", "bad_request", ""},
      {"reload", R"({"services":["web","db"],"doctor":"/run/x"})", "bad_request", ""},
      {"reload", R"({"doctor":"/run/x"})", "bad_request", ""},
      {"why", "{}", "unknown_service", ""},
      {"why", R"({"service":"we"})", "unknown_service", "did you mean \"web\"?"},
      {"explain", "{}", "bad_request", ""},
      {"explain", "[]", "bad_request", ""},
      {"explain", R"({"paths":"/a"})", "bad_request", ""},
      {"explain", R"({"paths":["relative"]})", "bad_request", ""},
      {"explain", R"({"paths":[1]})", "bad_request", ""},
  };
  World world;
  for (const Case& c : cases) {
    Peer peer(world);
    REQUIRE(peer.ask(c.verb, c.args));
    const Json answer = peer.line();
    INFO(c.verb << c.args);
    CHECK(answer["error"]["code"] == c.code);
    if (c.hint[0] != '\0') CHECK(answer["error"]["hint"] == c.hint);
  }
  CHECK(world.backend.commanded.empty());
}

TEST_CASE("another version of the protocol is refused") {
  World world;
  Peer peer(world);
  REQUIRE(peer.send(R"({"v":2,"id":1,"verb":"status"})"
                    "\n"));
  CHECK(peer.line()["error"]["code"] == "bad_request");
}

TEST_CASE("requests that come at once are answered one after the other") {
  World world;
  Peer peer(world);
  REQUIRE(peer.send(R"({"v":1,"id":1,"verb":"start"})"
                    "\n"
                    R"({"v":1,"id":2,"verb":"ping"})"
                    "\n"));
  REQUIRE(world.until([&] { return !world.backend.commanded.empty(); }));
  CHECK_FALSE(peer.has_line());
  world.server.answered(1, "");
  CHECK(peer.line()["id"] == 1);
  CHECK(peer.line()["id"] == 2);
}

TEST_CASE("a client that closes its sending side still gets its answer, and is gone then") {
  World world;
  Peer peer(world);
  REQUIRE(peer.ask("restart"));
  shutdown(peer.fd(), SHUT_WR);
  REQUIRE(world.until([&] { return !world.backend.commanded.empty(); }));
  world.server.answered(1, "");
  CHECK(peer.line().contains("ok"));
  CHECK(peer.hung_up());
  CHECK(world.until([&] { return world.server.clients() == 0; }));
}

TEST_CASE("apply tells a fault of the configuration with its place") {
  World world;
  Peer peer(world);
  REQUIRE(peer.ask("apply"));
  CHECK(peer.line().contains("ok"));
  world.backend.apply_fault =
      Error{"unknown key \"wach\"", "/srv/supervisor.toml:3:1", "did you mean \"watch\"?"};
  REQUIRE(peer.ask("apply"));
  const Json error = peer.line()["error"];
  CHECK(error["code"] == "configuration");
  CHECK(error["at"] == "/srv/supervisor.toml:3:1");
}

TEST_CASE("ping tells who answers") {
  World world;
  Peer peer(world);
  REQUIRE(peer.ask("ping"));
  const Json ok = peer.line()["ok"];
  CHECK(ok["pid"] == 4242);
  CHECK(ok["head_pid"] == getpid());
  CHECK(ok["config"] == "/srv/supervisor.toml");
}

TEST_CASE("wait answers as the services settle") {
  struct Case {
    const char* what;
    std::vector<S> states;
    const char* expected;
  };
  const Case cases[] = {
      {"all ready", {S::ready, S::ready}, "ok"},
      {"ready and done", {S::ready, S::done}, "ok"},
      {"stopped by a person", {S::stopped, S::ready}, "ok"},
      {"one is starting", {S::starting, S::ready}, ""},
      {"one failed, one is trying", {S::failed, S::backoff}, ""},
      {"one failed", {S::failed, S::ready}, "error"},
      {"the other waits for the failed one", {S::failed, S::waiting}, "error"},
      {"one waits, none failed", {S::ready, S::waiting}, ""},
      {"reloading", {S::reloading, S::ready}, ""},
      {"building", {S::building, S::failed}, ""},
  };
  for (const Case& c : cases) {
    World world;
    world.backend.state.services = {service_view(0, "web", c.states[0], "no luck"),
                                    service_view(1, "db", c.states[1], "no luck")};
    Peer peer(world);
    REQUIRE(peer.ask("wait"));
    REQUIRE(peer.ask("ping", "{}", 2));
    INFO(c.what);
    if (std::string(c.expected).empty()) {
      Peer other(world);
      REQUIRE(other.ask("ping"));
      CHECK(other.line().contains("ok"));
      CHECK_FALSE(peer.has_line());
    } else {
      CHECK(peer.line().contains(c.expected));
    }
  }
}

TEST_CASE("wait answers at the change that settles, with the reasons of a failure") {
  World world;
  world.backend.state.services[0].state = S::starting;
  Peer peer(world);
  REQUIRE(peer.ask("wait"));
  REQUIRE(world.until([&] { return world.server.clients() == 1; }));
  world.server.changed();
  CHECK_FALSE(peer.has_line());
  world.backend.state.services[0].state = S::failed;
  world.backend.state.services[0].reason = "exited with status 3";
  world.server.changed();
  const Json answer = peer.line();
  CHECK(answer["error"]["code"] == "failed");
  CHECK(answer["error"]["message"] == "web: exited with status 3");
}

TEST_CASE("nobody waits for a service that fails again and again") {
  World world;
  world.backend.state.services[0].state = S::backoff;
  world.backend.state.services[0].unhealthy = 3;
  Peer peer(world);
  REQUIRE(peer.ask("wait"));
  REQUIRE(world.until([&] { return world.server.clients() == 1; }));
  world.server.changed();
  CHECK_FALSE(peer.has_line());
  world.backend.state.services[0].unhealthy = 8;
  world.server.changed();
  const Json answer = peer.line();
  CHECK(answer["error"]["code"] == "failed");
  CHECK(answer["error"]["message"] == "web: keeps failing, 8 times in a row");
}

TEST_CASE("wait ends at its own deadline") {
  World world;
  world.backend.state.services[0].state = S::starting;
  Peer peer(world);
  REQUIRE(peer.ask("wait", R"({"timeout_ms":30})"));
  CHECK(peer.line()["error"]["code"] == "timed_out");
  REQUIRE(peer.ask("ping"));
  CHECK(peer.line().contains("ok"));
}

TEST_CASE("wait fails when runmain shuts down") {
  World world;
  world.backend.state.shutting_down = true;
  Peer peer(world);
  REQUIRE(peer.ask("wait"));
  CHECK(peer.line()["error"]["code"] == "failed");
}

TEST_CASE("logs without follow sends the latest lines and ends") {
  World world;
  for (int i = 0; i < 10; ++i) world.backend.lines.push_back(log_line_of("line " + std::to_string(i)));
  Peer peer(world);
  REQUIRE(peer.ask("logs", R"({"lines":3})"));
  CHECK(peer.line()["item"]["text"] == "line 7");
  CHECK(peer.line()["item"]["text"] == "line 8");
  CHECK(peer.line()["item"]["text"] == "line 9");
  CHECK(peer.line()["ok"] == Json::object());
}

TEST_CASE("logs since a time leaves out what is older") {
  World world;
  for (int i = 0; i < 4; ++i) {
    world.backend.lines.push_back(log_line_of("line " + std::to_string(i)));
    world.backend.lines.back().time_ns = i * 1'000'000LL;
  }
  Peer peer(world);
  REQUIRE(peer.ask("logs", R"({"lines":100,"since":"1970-01-01T00:00:00.002"})"));
  CHECK(peer.line()["item"]["text"] == "line 2");
  CHECK(peer.line()["item"]["text"] == "line 3");
  CHECK(peer.line()["ok"] == Json::object());
}

TEST_CASE("logs of no service in particular asks for all of them") {
  World world;
  Peer peer(world);
  REQUIRE(peer.ask("logs"));
  REQUIRE(peer.line().contains("ok"));
  CHECK(world.backend.asked_for == std::vector<ServiceId>{ServiceId{0}, ServiceId{1}});
  REQUIRE(peer.ask("logs", R"({"services":["db"]})"));
  REQUIRE(peer.line().contains("ok"));
  CHECK(world.backend.asked_for == std::vector<ServiceId>{ServiceId{1}});
}

TEST_CASE("a line is labelled with its slot where the service has several workers") {
  World world;
  Peer one(world);
  world.backend.lines.push_back(log_line_of("hello"));
  REQUIRE(one.ask("logs"));
  CHECK(one.line()["item"]["label"] == "web");
  core::WorkerView second;
  second.key.slot = 1;
  world.backend.state.services[0].workers = {core::WorkerView{}, second};
  Peer two(world);
  REQUIRE(two.ask("logs"));
  CHECK(two.line()["item"]["label"] == "web.0");
}

TEST_CASE("logs with follow goes on with new lines of the services that were asked for") {
  World world;
  world.backend.lines.push_back(log_line_of("old"));
  Peer peer(world);
  REQUIRE(peer.ask("logs", R"({"services":["db"],"follow":true,"lines":1})"));
  CHECK(peer.line()["item"]["text"] == "old");
  world.server.log_line(log_line_of("of web", 0));
  world.server.log_line(log_line_of("of db", 1));
  CHECK(peer.line()["item"]["text"] == "of db");
  CHECK_FALSE(peer.has_line());
}

TEST_CASE("bytes that are not text cross the socket as text") {
  World world;
  world.backend.lines.push_back(log_line_of(std::string("a\xff\x00\x1b[2J\"b", 9)));
  Peer peer(world);
  REQUIRE(peer.ask("logs"));
  const Json item = peer.line()["item"];
  REQUIRE(item["text"].is_string());
  CHECK(item["text"].get<std::string>() == std::string("a\xef\xbf\xbd\x00\x1b[2J\"b", 11));
}

TEST_CASE("events are numbered and go to followers and to those who come later") {
  World world;
  Peer follower(world);
  REQUIRE(follower.ask("events", R"({"follow":true})"));
  REQUIRE(world.until([&] { return world.server.clients() == 1; }));
  Peer synced(world);
  REQUIRE(synced.ask("ping"));
  REQUIRE(synced.line().contains("ok"));
  core::Fact fact;
  fact.type = core::FactType::service_ready;
  fact.cause = 12;
  world.server.fact(fact, "web");
  CHECK_FALSE(follower.has_line());
  world.server.flush();
  CHECK(follower.has_line());  // before the loop has turned
  fact.type = core::FactType::child_exited;
  world.server.fact(fact, "web");
  const Json first = follower.line()["item"];
  CHECK(first["seq"] == 1);
  CHECK(first["type"] == "service.ready");
  CHECK(follower.line()["item"]["seq"] == 2);
  Peer later(world);
  REQUIRE(later.ask("events"));
  CHECK(later.line()["item"] == first);
  CHECK(later.line()["item"]["type"] == "child.exited");
  CHECK(later.line().contains("ok"));
}

TEST_CASE("of old events the latest are kept") {
  World world;
  core::Fact fact;
  for (std::size_t i = 0; i < kFactsKept + 10; ++i) world.server.fact(fact, "web");
  Peer peer(world);
  REQUIRE(peer.ask("events"));
  CHECK(peer.line()["item"]["seq"] == 11);
  for (std::size_t i = 1; i < kFactsKept; ++i) peer.line();
  CHECK(peer.line().contains("ok"));
}

TEST_CASE("explain asks for every path and every service") {
  World world;
  Peer peer(world);
  REQUIRE(peer.ask("explain", R"({"paths":["/a.py","/b.o"]})"));
  const Json paths = peer.line()["ok"]["paths"];
  REQUIRE(paths.size() == 2);
  CHECK(paths[0]["path"] == "/a.py");
  REQUIRE(paths[0]["services"].size() == world.backend.state.services.size());
  CHECK(paths[0]["services"][0]["service"] == "web");
  CHECK(paths[0]["services"][0]["reloads"] == true);
  CHECK(paths[1]["services"][1]["verdict"] == "ignored");
}

TEST_CASE("why tells the service and its history") {
  World world;
  core::Fact fact;
  fact.type = core::FactType::child_exited;
  fact.text = "exited with status 1";
  fact.cause = 5;
  world.backend.state.services[0].history = {fact};
  Peer peer(world);
  REQUIRE(peer.ask("why", R"({"service":"web"})"));
  const Json ok = peer.line()["ok"];
  CHECK(ok["service"]["name"] == "web");
  REQUIRE(ok["history"].size() == 1);
  CHECK(ok["history"][0]["data"]["text"] == "exited with status 1");
  CHECK(ok["history"][0]["seq"].is_null());
}

}  // namespace
}  // namespace runmain::control
