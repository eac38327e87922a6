#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/identity.hpp"
#include "child_runtime/protocol.h"
#include "drive/channel.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;
using nlohmann::json;

namespace {

const std::string kSecret = "0123456789abcdef";
const ChildKey kKey{ServiceId{1}, 0, 2, 0};
constexpr std::int32_t kPid = 4711;

keeper::Line line(std::string text) {
  keeper::Line l;
  l.conn = 9;
  l.pid = kPid;
  l.has_key = true;
  l.key = kKey;
  l.text = std::move(text);
  return l;
}

keeper::Line bound_line(std::string text) {
  keeper::Line l = line(std::move(text));
  l.bound = true;
  return l;
}

std::string claim(const std::string& nonce_text, const std::string& pid = std::to_string(kPid)) {
  return R"({"v":1,"claim":{"nonce":")" + nonce_text + R"(","pid":)" + pid +
         R"(,"runtime":"cpp","explicit":true}})";
}

}  // namespace

TEST_CASE("a claim with the nonce of its start, from the process and tree that it names, becomes an event") {
  Channel channel(kSecret);
  const LineOutcome out = channel.receive(line(claim(nonce(kSecret, kKey))));
  CHECK(out.claim);
  CHECK(out.refusal.empty());
  REQUIRE(out.events.size() == 1);
  const auto& claimed = std::get<core::Claimed>(out.events[0]);
  CHECK(claimed.key == kKey);
  CHECK(claimed.conn == 9);
  CHECK(claimed.pid == kPid);
  CHECK(claimed.explicit_call);
  CHECK(claimed.runtime == "cpp");
}

TEST_CASE("a claim says whether it wants the mailbox by its path") {
  Channel channel(kSecret);
  const auto wants = [&](const std::string& more) {
    const LineOutcome out = channel.receive(line(R"({"v":1,"claim":{"nonce":")" + nonce(kSecret, kKey) +
                                                 R"(","pid":)" + std::to_string(kPid) + more + "}}"));
    REQUIRE(out.events.size() == 1);
    return std::get<core::Claimed>(out.events[0]).by_path;
  };
  CHECK(wants(R"(,"mailbox":"path")"));
  CHECK_FALSE(wants(""));
  CHECK_FALSE(wants(R"(,"mailbox":true)"));
  CHECK_FALSE(wants(R"(,"runtime":"\"mailbox\":\"path\"")"));
}

TEST_CASE("a forged claim is refused, says why, and never quotes the nonce") {
  const std::string good = nonce(kSecret, kKey);
  const ChildKey older{kKey.service, kKey.slot, kKey.generation - 1, 0};
  const ChildKey sibling{kKey.service, 1, kKey.generation, 0};
  const struct {
    const char* what;
    std::string text;
    const char* why;
  } rows[] = {
      {"of the old generation", claim(nonce(kSecret, older)), "nonce"},
      {"of another worker", claim(nonce(kSecret, sibling)), "nonce"},
      {"of another keeper", claim(nonce("another keeper's", kKey)), "nonce"},
      {"of the instance id", claim(instance_id(kSecret, kKey)), "nonce"},
      {"no nonce", R"({"v":1,"claim":{"pid":4711}})", "nonce"},
      {"an empty nonce", claim(""), "nonce"},
      {"a prefix of the nonce", claim(good.substr(0, 31)), "nonce"},
      {"a nonce with more", claim(good + "0"), "nonce"},
      {"a nonce in a list", R"({"v":1,"claim":{"nonce":[")" + good + R"("],"pid":4711}})", "nonce"},
      {"another pid", claim(good, "4712"), "another process"},
      {"a pid as text", claim(good, "\"4711\""), "another process"},
      {"a negative pid", claim(good, "-4711"), "another process"},
      {"a pid plus 2^32", claim(good, "4294972007"), "another process"},
      {"a pid as a fraction", claim(good, "4711.0"), "another process"},
      {"no pid", R"({"v":1,"claim":{"nonce":")" + good + R"("}})", "another process"},
      {"a claim that is no object", R"({"v":1,"claim":true})", "object"},
      {"another version", R"({"v":2,"claim":{}})", "version"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.what);
    Channel channel(kSecret);
    const LineOutcome out = channel.receive(line(row.text));
    CHECK(out.events.empty());
    CHECK(out.refusal.find(row.why) != std::string::npos);
    CHECK(out.refusal.find(good) == std::string::npos);
    CHECK(channel.refused() == 1);
  }
}

TEST_CASE("a claim from a foreign tree or a build step is refused even with the right nonce") {
  Channel channel(kSecret);
  keeper::Line foreign = line(claim(nonce(kSecret, kKey)));
  foreign.has_key = false;
  CHECK(channel.receive(foreign).refusal == "process 4711 is not of a tree that runmain started");
  keeper::Line build = line({});
  build.key.slot = kBuildSlot;
  build.text = claim(nonce(kSecret, build.key));
  CHECK(channel.receive(build).refusal == "a build step cannot claim");
  CHECK(channel.refused() == 2);
  build.key.slot = kHookSlot;
  build.text = claim(nonce(kSecret, build.key));
  CHECK(channel.receive(build).refusal == "a hook cannot claim");
}

TEST_CASE("before the grant nothing but a claim counts") {
  Channel channel(kSecret);
  for (const char* text : {R"({"v":1,"ready":true})", R"({"v":1,"drained":true})", R"({"v":1,"status":"x"})",
                           R"({"v":1,"requests":{"done":1}})"}) {
    const LineOutcome out = channel.receive(line(text));
    CHECK(out.events.empty());
    CHECK(out.refusal == "nothing has been granted on this connection");
    CHECK_FALSE(out.claim);
  }
  CHECK(channel.requests(kKey).done == 0);
}

TEST_CASE("what a granted child says becomes its events") {
  const struct {
    const char* text;
    std::string type;
    std::uint64_t ignored;
  } rows[] = {
      {R"({"v":1,"ready":true})", "child.ready", 0},
      {R"({"v":1,"ready":false})", "", 1},
      {R"({"v":1,"ready":1})", "", 1},
      {R"({"v":1,"drained":true})", "child.stopping child.drained", 0},
      {R"({"v":1,"stopping":true})", "child.stopping", 0},
      {R"({"v":1,"stopping":true,"drained":true})", "child.stopping child.drained", 0},
      {R"({"v":1,"status":"warm"})", "child.status", 0},
      {R"({"v":1,"status":7})", "", 1},
      {R"({"v":1,"unheard_of":{"a":[1]}})", "", 1},
      {R"({"v":1})", "", 1},
  };
  for (const auto& row : rows) {
    CAPTURE(row.text);
    Channel channel(kSecret);
    const LineOutcome out = channel.receive(bound_line(row.text));
    CHECK(out.refusal.empty());
    std::string types;
    for (const core::Event& event : out.events)
      types += (types.empty() ? "" : " ") + std::string(core::type_name(event));
    CHECK(types == row.type);
    CHECK(channel.ignored() == row.ignored);
  }
  Channel channel(kSecret);
  const LineOutcome ready = channel.receive(bound_line(R"({"v":1,"ready":true})"));
  CHECK(std::get<core::Ready>(ready.events.at(0)).proof == core::Proof::claim);
}

TEST_CASE("lines that are not of the protocol are refused and never throw") {
  const std::string deep_list = R"({"v":1,"status":)" + std::string(2000, '[');
  std::string deep_object = R"({"v":1,"x":)";
  for (int i = 0; i < 500; ++i) deep_object += R"({"a":)";
  const std::string rows[] = {"",
                              " ",
                              "null",
                              "1",
                              "[]",
                              "\"claim\"",
                              "{",
                              "{}",
                              R"({"v":1)",
                              R"({"v":"1","ready":true})",
                              R"({"v":1.0,"ready":true})",
                              R"({"v":1e999,"ready":true})",
                              R"({"v":99999999999999999999999999,"ready":true})",
                              R"({"ready":true})",
                              std::string("{\"v\":1,\"status\":\"\xff\xfe\"}"),
                              std::string("{\"v\":1,\"status\":\"\xed\xa0\x80\"}"),
                              R"({"v":1,"status":"\ud800"})",
                              std::string("{\"v\":1}\0garbage", 15),
                              R"({"v":1}{"v":1})",
                              deep_list,
                              deep_object,
                              std::string(4096, '['),
                              "{\"v\":1,\"status\":\"" + std::string(5000, 'x') + "\"}",
                              "{\"v\":1,\"status\":\"never closed"};
  Channel channel(kSecret);
  std::uint64_t refused = 0;
  for (const std::string& text : rows) {
    CAPTURE(text.substr(0, 60));
    const LineOutcome out = channel.receive(bound_line(text));
    CHECK(out.events.empty());
    CHECK_FALSE(out.refusal.empty());
    CHECK(channel.refused() == ++refused);
  }
}

TEST_CASE("a line nested to the limit is read, one level more is refused; brackets in strings do not count") {
  const auto nested = [](std::size_t levels) {
    return R"({"v":1,"ready":true,"x":)" + std::string(levels - 1, '[') + std::string(levels - 1, ']') + "}";
  };
  Channel channel(kSecret);
  CHECK(channel.receive(bound_line(nested(kChannelNestingMax))).events.size() == 1);
  CHECK(channel.receive(bound_line(nested(kChannelNestingMax + 1))).refusal ==
        "the line is nested too deeply, or holds a NUL byte");
  CHECK(channel.receive(bound_line(R"({"v":1,"status":"[[[[[[[[[[[[{{{{\"[[["})")).events.size() == 1);
}

TEST_CASE(
    "requests are summed over a child's connections; a closed one leaves what it did, not what it had") {
  Channel channel(kSecret);
  const auto say = [&](std::uint64_t conn, const char* text) {
    keeper::Line l = bound_line(text);
    l.conn = conn;
    return channel.receive(l);
  };
  CHECK(say(1, R"({"v":1,"requests":{"done":10,"in_flight":2}})").refusal.empty());
  say(2, R"({"v":1,"requests":{"done":5,"in_flight":1}})");
  say(1, R"({"v":1,"requests":{"done":11,"in_flight":3}})");
  CHECK(channel.requests(kKey).done == 16);
  CHECK(channel.requests(kKey).in_flight == 4);
  channel.closed(1);
  channel.closed(1);
  channel.closed(77);
  CHECK(channel.requests(kKey).done == 16);
  CHECK(channel.requests(kKey).in_flight == 1);
  CHECK(channel.requests(ChildKey{ServiceId{2}, 0, 0, 0}).done == 0);
  say(2, R"({"v":1,"requests":{"done":-5,"in_flight":"many"}})");
  CHECK(channel.requests(kKey).done == 11);
  channel.forget(kKey);
  CHECK(channel.requests(kKey).done == 0);
}

TEST_CASE("counts are kept for a limited number of connections, the rest is counted as dropped") {
  Channel channel(kSecret);
  keeper::Line l = bound_line(R"({"v":1,"requests":{"done":1,"in_flight":0}})");
  for (l.conn = 1; l.conn <= kRequestEntriesMax; ++l.conn) channel.receive(l);
  CHECK(channel.counts_dropped() == 0);
  channel.receive(l);
  CHECK(channel.counts_dropped() == 1);
  CHECK(channel.requests(kKey).done == kRequestEntriesMax);
}

TEST_CASE("a claim says which holders of the role have ended") {
  const pid_t ended = fork();
  if (ended == 0) _exit(0);
  REQUIRE(ended > 0);
  siginfo_t info{};
  REQUIRE(waitid(P_PID, static_cast<id_t>(ended), &info, WEXITED | WNOWAIT) == 0);  // a zombie has ended, too
  Channel channel(kSecret);
  channel.watch_holders([&](const ChildKey& key) {
    return key == kKey ? std::vector<std::int32_t>{getpid(), ended} : std::vector<std::int32_t>{};
  });
  const auto ended_holders = [&] {
    const LineOutcome out = channel.receive(line(claim(nonce(kSecret, kKey))));
    REQUIRE(out.events.size() == 1);
    return std::get<core::Claimed>(out.events[0]).ended;
  };
  CHECK(ended_holders() == std::vector<std::int32_t>{ended});
  REQUIRE(waitpid(ended, nullptr, 0) == ended);
  CHECK(ended_holders() == std::vector<std::int32_t>{ended});
}

TEST_CASE("counts near the limit of a service are told, and again after each hundredth") {
  core::RecycleSpec recycle;
  recycle.requests = 1000;
  recycle.jitter_percent = 10;
  Channel channel(kSecret);
  channel.watch_requests([&](ServiceId id) { return id == kKey.service ? &recycle : nullptr; });
  const auto told = [&](std::uint64_t done) -> std::uint64_t {
    const LineOutcome out = channel.receive(
        bound_line(R"({"v":1,"requests":{"done":)" + std::to_string(done) + R"(,"in_flight":2}})"));
    if (out.events.empty()) return 0;
    CHECK(std::get<core::Requests>(out.events.at(0)).in_flight == 2);
    return std::get<core::Requests>(out.events.at(0)).done;
  };
  CHECK(told(899) == 0);
  CHECK(told(900) == 900);
  CHECK(told(909) == 0);
  CHECK(told(910) == 910);
  CHECK(told(2000) == 2000);
  CHECK(told(5) == 0);  // it counts anew: what it says is taken as it is
  channel.forget(kKey);
  CHECK(told(950) == 950);
  recycle.requests = 0;
  CHECK(told(960) == 0);
}

TEST_CASE("counts that come by notify are summed over the processes that say them") {
  core::RecycleSpec recycle;
  recycle.requests = 100;
  recycle.jitter_percent = 0;
  Channel channel(kSecret);
  channel.watch_requests([&](ServiceId) { return &recycle; });
  CHECK_FALSE(channel.notified(kKey, 4711, {60, 1}));
  CHECK_FALSE(channel.notified(kKey, 4712, {39, 1}));
  const auto told = channel.notified(kKey, 4712, {40, 0});
  REQUIRE(told);
  CHECK(told->done == 100);
  CHECK(told->in_flight == 1);
  CHECK(channel.requests(kKey).done == 100);
}

TEST_CASE("our lines are one line each, of the protocol's form") {
  const Role role{"web",
                  kKey,
                  "11111111-2222-8333-9444-555555555555",
                  {{"http", "127.0.0.1:8000"}, {"admin", "unix:/run/a.sock"}, {"dns", "udp:127.0.0.1:53"}}};
  const std::string text = role_line(role);
  CHECK(text.find('\n') == text.size() - 1);
  CHECK(json::parse(text) == json::parse(R"({"v":1,"role":{"service":"web","slot":0,"generation":2,
    "instance_id":"11111111-2222-8333-9444-555555555555","listeners":[
    {"name":"http","address":"127.0.0.1:8000","kind":"tcp"},
    {"name":"admin","address":"unix:/run/a.sock","kind":"unix"},
    {"name":"dns","address":"udp:127.0.0.1:53","kind":"udp"}]}})"));
  CHECK(json::parse(refused_line("no")) == json::parse(R"({"v":1,"refused":{"why":"no"}})"));
  CHECK(json::parse(drain_line(std::chrono::seconds(10))) ==
        json::parse(R"({"v":1,"drain":{"budget_ms":10000}})"));
}

TEST_CASE("a role says that a mailbox comes only where one may") {
  Role role{"web", kKey, "id", {}};
  CHECK_FALSE(json::parse(role_line(role))["role"].contains("mailbox"));
  role.mailbox = true;
  CHECK(json::parse(role_line(role))["role"]["mailbox"] == true);
}

TEST_CASE("our lines never exceed the limit of the protocol, and hostile bytes stay JSON") {
  Role role{"web", kKey, "id", {}, true};
  for (std::size_t i = 0; i < keeper::kListenersMax; ++i) {
    role.listeners.push_back({std::string(255, 'n'), "unix:/" + std::string(100, 'p')});
  }
  const std::string text = role_line(role);
  CHECK(text.size() <= RUNMAIN_CHANNEL_LINE_MAX);
  CHECK(json::parse(text)["role"]["listeners"].size() == keeper::kListenersMax);
  CHECK(json::parse(text)["role"]["mailbox"] == true);
  const std::string refused = refused_line(std::string(9000, '\x01') + "\xff");
  CHECK(refused.size() <= RUNMAIN_CHANNEL_LINE_MAX);
  CHECK(json::parse(refused).is_object());
  CHECK(json::parse(refused_line("a\nb\xff")).is_object());
  CHECK(refused_line("a\nb").find('\n') == refused_line("a\nb").size() - 1);
}

TEST_CASE("who asks for the sockets alone needs the same proof as a claim, and gets no role") {
  Channel channel(kSecret);
  const auto ask = [&](const std::string& nonce_text, std::int32_t pid) {
    return channel.receive(
        line(R"({"v":1,"sockets":{"nonce":")" + nonce_text + R"(","pid":)" + std::to_string(pid) + "}}"));
  };
  const LineOutcome good = ask(nonce(kSecret, kKey), kPid);
  CHECK(good.sockets);
  CHECK_FALSE(good.claim);
  CHECK(good.refusal.empty());
  CHECK(good.events.empty());
  CHECK(ask("another", kPid).refusal == "the nonce is not the one of this start");
  CHECK_FALSE(ask(nonce(kSecret, kKey), kPid + 1).refusal.empty());
  keeper::Line stranger = line(R"({"v":1,"sockets":{"nonce":")" + nonce(kSecret, kKey) + R"(","pid":4711}})");
  stranger.has_key = false;
  const LineOutcome refused = channel.receive(stranger);
  CHECK(refused.sockets);
  CHECK_FALSE(refused.refusal.empty());
  CHECK(channel.refused() == 3);
}

TEST_CASE("the sockets' line names each, and only their kinds where it would be too long") {
  const json told = json::parse(sockets_line({{"http", "127.0.0.1:8000"}, {"dns", "udp:127.0.0.1:53"}}));
  CHECK(told["v"] == RUNMAIN_CHANNEL_VERSION);
  REQUIRE(told["sockets"].size() == 2);
  CHECK(told["sockets"][0] == json({{"name", "http"}, {"address", "127.0.0.1:8000"}, {"kind", "tcp"}}));
  CHECK(told["sockets"][1]["kind"] == "udp");
  const std::vector<RoleListener> many(48, RoleListener{std::string(64, 'n'), std::string(100, '1')});
  const std::string cut = sockets_line(many);
  CHECK(cut.size() <= RUNMAIN_CHANNEL_LINE_MAX);
  CHECK(json::parse(cut)["sockets"].size() == 48);
}
