// What happens to a pool in the middle of something else: drains, edits, scaling, hanging workers, helpers.
#include "pool_scene.hpp"

using namespace runmain;
using namespace runmain::core;
using namespace std::chrono_literals;

namespace {

ServiceSpec with_env(ServiceSpec spec, const std::string& value) {
  spec.env.emplace_back("A", value);
  return spec;
}

std::string env_of(const Scene& s, const K& key) {
  const ServiceSpec& spec = *s.machine.spec_of(key);
  return spec.env.empty() ? "none" : spec.env.front().second;
}

}  // namespace

TEST_CASE("a drain rises by its steps, and a late Tick takes all that are due") {
  ServiceSpec spec = service("web");
  spec.stop.then = {{SIGINT, 2s}, {SIGQUIT, 4s}};
  Scene s = serving(spec);
  play(s, {{"stop 1 0", "ask_drain 0:0:1:1, kill 0:0:1:1 15"},
           {"due", "2000"},
           {"wait", "kill 0:0:1:1 2"},
           {"due", "2000"},
           {"wait", "kill 0:0:1:1 3"},
           {"due", "6000"},
           {"wait", "kill_tree 0:0:1:1"}});
  Scene late = serving(spec);
  late.command(CommandVerb::stop, {0}, 1);
  play(late, {{"tick 5000", "kill 0:0:1:1 2, kill 0:0:1:1 3"}, {"due", "5000"}});
}

TEST_CASE("the steps of a drain may be gone from the configuration when their time comes") {
  ServiceSpec spec = service("web");
  spec.stop.then = {{SIGINT, 2s}, {SIGQUIT, 4s}};
  Scene s = serving(spec);
  s.command(CommandVerb::stop, {0}, 1);
  s.tick(2s);
  spec.stop.then.clear();
  s.configure({spec}, Mode::prod);
  play(s, {{"tick 2000", ""}, {"due", "6000"}});
}

TEST_CASE("who has drained has the flush budget from then on, and gets no further signal") {
  ServiceSpec spec = service("web");
  spec.stop.then = {{SIGINT, 2s}};
  spec.stop.flush = 3s;
  Scene s = serving(spec);
  s.command(CommandVerb::stop, {0}, 1);
  s.tick(1s);
  s.handle(Drained{K{0, 0, 1, 1}, 0, {}});
  CHECK(s.told(FactType::child_drained) == 1);
  play(s, {{"due", "3000"}, {"wait", "kill_tree 0:0:1:1", "child.stop_timed_out"}});
}

TEST_CASE("a status that counts as success ends a job, one that is final ends its slot") {
  ServiceSpec job = service("job");
  job.restart = RestartPolicy::on_failure;
  job.success = {3, 1000 + SIGTERM};
  Scene s;
  s.configure({job});
  s.serve({0, 0, 1, 1});
  s.ends({0, 0, 1, 1}, 3 << 8);
  CHECK(s.state(0) == ServiceState::done);
  ServiceSpec web = service("web", 2);
  web.no_restart = {4};
  Scene two = serving(web);
  two.ends({0, 0, 1, 1}, 4 << 8);
  CHECK(two.spawned().empty());
  CHECK(two.told(FactType::slot_failed) == 1);
  CHECK(two.state(0) == ServiceState::backoff);
  CHECK(two.machine.next_deadline() == kNever);
  two.ends({0, 1, 1, 1}, 4 << 8);
  CHECK(two.state(0) == ServiceState::failed);
}

TEST_CASE("who waits for a pool with a slot that has failed for good is told so") {
  ServiceSpec web = service("web", 2);
  web.no_restart = {4};
  Scene s = serving(web);
  s.ends({0, 0, 1, 1}, 4 << 8);
  s.handle(Command{CommandVerb::scale, {ServiceId{0}}, 0, 1, 3});
  CHECK(s.effects() == "spawn 0:2:1:1 scale, answer 1 (web: worker 0 has failed for good)");
  // A reload tries it again.
  s.command(CommandVerb::reload, {0}, 2);
  CHECK(s.count<Answer>() == 0);
  s.serve({0, 0, 2, 1});
  s.ends({0, 0, 2, 1}, 4 << 8);
  CHECK(s.told(FactType::reload_failed) == 1);
}

TEST_CASE("a service that needs a pool with a slot that has failed for good is blocked, not forgotten") {
  ServiceSpec web = service("web", 2);
  web.no_restart = {4};
  ServiceSpec job = service("job");
  job.depends_on = {"web"};
  Scene s;
  s.configure({web, job});
  s.serve({0, 0, 1, 1});
  s.command(CommandVerb::start, {1}, 1);
  s.lives({0, 1, 1, 1});
  s.exits({0, 1, 1, 1}, 4 << 8);
  CHECK(s.effects() ==
        "stop_probe 0:1:1:1, kill_tree 0:1:1:1, answer 1 (job waits for web, of which worker 1 "
        "has failed for good)");
}

TEST_CASE("out of memory is told as such") {
  Scene s = serving(service("web"));
  s.handle(Exited{K{0, 0, 1, 1}, Scene::pid(K{0, 0, 1, 1}), SIGKILL, true, true});
  CHECK(s.out.facts.front().text == "killed by SIGKILL: out of memory");
}

TEST_CASE("a configuration that fails in the middle of its roll: each generation keeps its own") {
  ServiceSpec a = with_env(pool(2), "a");
  Scene s = serving(a);
  s.configure({with_env(pool(2), "b")}, Mode::prod);
  CHECK(s.spawned() == Keys{{0, 0, 2, 1}});
  s.serve({0, 0, 2, 1});
  s.ends({0, 0, 1, 1}, 0);
  // A second edit in the middle.
  s.configure({with_env(pool(2), "c")}, Mode::prod);
  CHECK(env_of(s, {0, 0, 1, 2}) == "a");
  CHECK(env_of(s, {0, 1, 2, 1}) == "b");
  CHECK(env_of(s, {0, 0, 3, 1}) == "c");
  s.lives({0, 1, 2, 1});
  s.ready({0, 1, 2, 1});
  // The first roll is through, and the second begins; it fails.
  CHECK(s.spawned() == Keys{{0, 0, 3, 1}});
  s.ends({0, 1, 1, 1}, 0);
  s.serve({0, 0, 3, 1});
  s.ends({0, 0, 2, 1}, 0);
  s.lives({0, 1, 3, 1});
  s.exits({0, 1, 3, 1}, 256);
  CHECK(s.spawned() == Keys{{0, 0, 2, 2}});
  CHECK(env_of(s, {0, 0, 2, 2}) == "b");
  Machine copy;
  REQUIRE(copy.restore(s.machine.save()));
  CHECK(copy.spec_of(K{0, 0, 2, 2})->env.front().second == "b");
}

TEST_CASE("after a gradual roll the new generation is the one that has proved itself") {
  ServiceSpec spec = pool(1);
  spec.watch.emplace();
  spec.await_change = true;
  Scene s = serving(spec);
  s.command(CommandVerb::reload, {0}, 1);
  s.serve({0, 0, 2, 1});
  s.ends({0, 0, 1, 1}, 0);
  CHECK(s.view(0).generation == 2);
  s.exits({0, 0, 2, 1}, 256);
  CHECK(s.spawned() == Keys{{0, 0, 2, 2}});
}

TEST_CASE("a new worker that ends as it has announced is replaced within the roll, whose hold goes on") {
  ServiceSpec spec = pool(2);
  spec.roll.canary = 1;
  Scene s = serving(spec);
  s.command(CommandVerb::reload, {0}, 1);
  s.serve({0, 0, 2, 1});
  s.ends({0, 0, 1, 1}, 0);
  play(s, {{"due", "10000"},
           {"tick 1000", ""},
           {"stopping 0:0:2:1", "spawn 0:0:2:2 recycle"},
           {"exits 0:0:2:1 0", "kill_tree 0:0:2:1"},
           {"swept 0:0:2:1", "forget 0:0:2:1"},
           {"lives 0:0:2:2", "probe 0:0:2:2"},
           {"ready 0:0:2:2", "", "child.ready, services.all_ready"},
           {"due", "9000"},
           {"wait", "spawn 0:1:2:1 change"}});
}

TEST_CASE("TTIN and TTOU in the middle of a roll: it is through when all that are wanted have it") {
  Scene s = serving(pool(2));
  s.command(CommandVerb::reload, {0}, 1);
  s.serve({0, 0, 2, 1});
  s.handle(Signalled{SIGTTIN});
  CHECK(s.effects() == "spawn 0:2:1:1 scale");
  s.serve({0, 2, 1, 1});
  s.handle(Signalled{SIGTTOU});
  CHECK(s.effects() == "ask_drain 0:2:1:1, kill 0:2:1:1 15");
  s.serve({0, 1, 2, 1});
  CHECK(s.count<Answer>() == 1);
  s.ends({0, 0, 1, 1}, 0);
  s.ends({0, 1, 1, 1}, 0);
  s.ends({0, 2, 1, 1}, 0);
  CHECK(s.view(0).workers.size() == 2);
  CHECK(s.state(0) == ServiceState::ready);
}

TEST_CASE("one that dies or hangs while another one drains is replaced at once") {
  ServiceSpec spec = pool(3);
  spec.health.kind = HealthKind::http;
  spec.health.failures = 1;
  Scene s = serving(spec);
  s.handle(Command{CommandVerb::scale, {ServiceId{0}}, 0, 1, 2});
  CHECK(s.effects() == "unwatch 0:2:1:1, ask_drain 0:2:1:1, kill 0:2:1:1 15, answer 1");
  s.exits({0, 0, 1, 1}, SIGSEGV);
  CHECK(s.spawned() == Keys{{0, 0, 1, 2}});
  s.handle(Looked{K{0, 1, 1, 1}, false, Stall::unknown, "no answer"});
  CHECK(s.effects() == "unwatch 0:1:1:1, kill_tree 0:1:1:1, spawn 0:1:1:2 crash");
}

TEST_CASE("one that hangs counts as one failure, also where its successor waits for its end") {
  ServiceSpec spec = service("web");
  spec.overlap = false;
  spec.health.kind = HealthKind::http;
  spec.health.failures = 1;
  Scene s = serving(spec);
  s.handle(Looked{K{0, 0, 1, 1}, false, Stall::unknown, "no answer"});
  CHECK(s.effects() == "unwatch 0:0:1:1, kill_tree 0:0:1:1");
  s.exits({0, 0, 1, 1}, SIGKILL);
  s.swept({0, 0, 1, 1});
  CHECK(s.spawned() == Keys{{0, 0, 1, 2}});  // at once: it is the first
}

TEST_CASE("a hook looks at one that hangs; it ends or is ended, and the worker is killed all the same") {
  ServiceSpec spec = service("web");
  spec.hang.stopped = 1s;
  spec.hang.hook = CommandSpec{{"gcore"}, false};
  spec.hang.hook_timeout = 5s;
  Scene s = serving(spec);
  s.handle(Frozen{K{0, 0, 1, 1}, true});
  play(s, {{"wait", "spawn 0:65534:1:1 start, spawn 0:0:1:2 crash"},
           {"extend 0:0:1:1 3600000", ""},
           {"due", "5000"},
           {"fails 0:65534:1:1 ENOENT", "forget 0:65534:1:1, kill_tree 0:0:1:1"}});
  Scene slow = serving(spec);
  slow.handle(Frozen{K{0, 0, 1, 1}, true});
  play(slow, {{"wait", "spawn 0:65534:1:1 start, spawn 0:0:1:2 crash"},
              {"pass 1000", ""},
              {"lives 0:65534:1:1", ""},
              {"due", "4000"},
              {"wait", "kill_tree 0:0:1:1, kill 0:65534:1:1 15"}});
}

TEST_CASE("looks by command go round; one that fails counts, one that could not be had does not") {
  ServiceSpec spec = service("web", 2);
  spec.health.kind = HealthKind::exec;
  spec.health.interval = 10s;
  spec.health.failures = 2;
  Scene s = serving(spec);
  play(s, {{"wait", "spawn 0:65533:1:1 start"},
           {"fails 0:65533:1:1 EAGAIN", "forget 0:65533:1:1"},
           {"due", "5000"},
           {"wait", "spawn 0:65533:1:2 start"},
           {"lives 0:65533:1:2", ""},
           {"exits 0:65533:1:2 256", "examine 0:1:1:1, kill_tree 0:65533:1:2", ""},
           {"stuck 0:1:1:1", "", "child.unwell"},
           {"swept 0:65533:1:2", "forget 0:65533:1:2"},
           {"wait", "spawn 0:65533:1:3 start"},
           {"lives 0:65533:1:3", ""},
           {"due", "2000"},
           {"wait", "examine 0:65533:1:3"},
           {"stuck 0:65533:1:3", "kill_tree 0:65533:1:3"}});
  s.exits({0, kLookSlot, 1, 3}, SIGKILL);
  Script(s, "stuck 0:0:1:1").run();
  CHECK(s.facts.back().text == "the look took too long");
  CHECK(s.view(0).workers.front().unwell == 1);
}

TEST_CASE("what a new configuration says of health and age counts for those that serve already") {
  ServiceSpec spec = service("web");
  Scene s = serving(spec);
  spec.health.kind = HealthKind::tcp;
  spec.recycle.requests = 10;
  spec.recycle.jitter_percent = 0;
  s.configure({spec}, Mode::prod);
  CHECK(s.effects() == "watch 0:0:1:1");
  s.handle(Requests{K{0, 0, 1, 1}, 10, 0});
  CHECK(s.spawned() == Keys{{0, 0, 1, 2}});
  spec.health.kind = HealthKind::none;
  s.configure({spec}, Mode::prod);
  CHECK(s.effects() == "unwatch 0:0:1:1");
}

TEST_CASE("one that is being recycled serves on when an edit comes") {
  ServiceSpec spec = watched("web");
  spec.recycle.requests = 10;
  Scene s = serving(spec);
  s.handle(Requests{K{0, 0, 1, 1}, 10, 0});
  s.lives({0, 0, 1, 2});
  play(s, {{"changed 0", "spawn 0:0:2:1 change"},
           {"lives 0:0:2:1", "probe 0:0:2:1"},
           {"ready 0:0:2:1",
            "ask_drain 0:0:1:1, kill 0:0:1:1 15, stop_probe 0:0:1:2, ask_drain 0:0:1:2, "
            "kill 0:0:1:2 15"}});
}

TEST_CASE("64 workers roll by a tenth: never more than that are away") {
  ServiceSpec spec = pool(64);
  spec.roll.batch = Share{0, 10};
  Scene s = serving(spec);
  s.command(CommandVerb::reload, {0}, 1);
  std::size_t steps = 0;
  std::vector<ChildKey> batch = s.spawned();
  for (; !batch.empty(); ++steps) {
    CHECK(batch.size() <= 6);
    std::vector<ChildKey> next;
    for (const ChildKey& k : batch) {
      s.serve({0, k.slot, 2, 1});
      for (const ChildKey& more : s.spawned()) next.push_back(more);
      s.ends({0, k.slot, 1, 1}, 0);
    }
    batch = next;
  }
  CHECK(steps == 11);
  CHECK(s.state(0) == ServiceState::ready);
  CHECK(s.view(0).workers.size() == 64);
}

TEST_CASE("a failed roll of workers that cannot be side by side: the new one goes before the old one comes") {
  ServiceSpec spec = pool(2);
  spec.port = 8000;
  Scene s = serving(spec);
  s.command(CommandVerb::reload, {0}, 1);
  s.ends({0, 0, 1, 1}, 0);
  s.serve({0, 0, 2, 1});
  s.ends({0, 1, 1, 1}, 0);
  s.lives({0, 1, 2, 1});
  s.exits({0, 1, 2, 1}, 256);
  CHECK(s.effects().find("ask_drain 0:0:2:1") != std::string::npos);
  CHECK(s.spawned().empty());
  s.swept({0, 1, 2, 1});
  CHECK(s.spawned() == Keys{{0, 1, 1, 2}});
  s.exits({0, 0, 2, 1}, 0);
  CHECK(s.spawned().empty());
  s.swept({0, 0, 2, 1});
  CHECK(s.spawned() == Keys{{0, 0, 1, 2}});
}

TEST_CASE("a canary that a command has asked for is not kept for another reload when the build fails") {
  Scene s;
  s.configure({built("web", 2)});
  s.lives({0, kBuildSlot, 1, 1});
  s.exits({0, kBuildSlot, 1, 1}, 0);
  s.swept({0, kBuildSlot, 1, 1});
  s.serve({0, 0, 1, 1});
  s.serve({0, 1, 1, 1});
  Command canary{CommandVerb::reload, {ServiceId{0}}, 0, 1, 1};
  s.handle(canary);
  CHECK(s.spawned().size() == 1);
  const K build{0, kBuildSlot, 2, s.spawned().front().attempt};
  s.lives(build);
  s.ends(build, 256);
  CHECK(s.told(FactType::reload_build_failed) == 1);
  s.tick(10s);
  s.changed(0);
  const K again{0, kBuildSlot, 2, s.spawned().front().attempt};
  s.lives(again);
  s.exits(again, 0);
  CHECK(s.spawned() == Keys{{0, 0, 2, 1}, {0, 1, 2, 1}});
}

TEST_CASE("the next roll begins with the slots that a failed one has left empty") {
  ServiceSpec spec = pool(3);
  spec.roll.order = RollOrder::old_first;
  Scene s = serving(spec);
  s.command(CommandVerb::reload, {0}, 1);
  s.ends({0, 0, 1, 1}, 0);
  s.serve({0, 0, 2, 1});
  s.ends({0, 1, 1, 1}, 0);
  s.lives({0, 1, 2, 1});
  s.command(CommandVerb::reload, {0}, 2);
  s.exits({0, 1, 2, 1}, 256);
  CHECK(s.effects().find("ask_drain") == std::string::npos);
  CHECK(s.spawned() == Keys{{0, 0, 1, 2}, {0, 1, 3, 1}});
}
