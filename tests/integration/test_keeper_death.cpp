// The keeper is killed, which nothing replaces: with on_keeper_death = "keep" the workers live on and the
// next start takes them over; with "stop" nothing is left.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <functional>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "keeper/adoption.hpp"
#include "os/linux/process_tree.hpp"
#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"
#include "support/survivors.hpp"

using namespace runmain::test;
namespace keeper = runmain::keeper;
namespace os = runmain::os;

namespace {

bool answers(const std::string& address, pid_t by) {
  const Answered answered = get(address, "/");
  UNSCOPED_INFO(answered.fault << answered.body);
  return answered.ok && answered.body.starts_with(std::to_string(by) + " ");
}

// Every living process that carries the tag of one of these.
std::vector<pid_t> of_trees(const std::vector<std::uint64_t>& tags) {
  std::vector<pid_t> all;
  for (const std::uint64_t tag : tags) {
    for (const pid_t pid : os::tagged_processes(tag)) all.push_back(pid);
  }
  return all;
}
std::vector<std::uint64_t> tags_of(const std::vector<pid_t>& pids) {
  std::vector<std::uint64_t> tags;
  for (const pid_t pid : pids) tags.push_back(os::tag_of(pid));
  return tags;
}

// Of each worker: the numbers of its answers as they stand in the log, and the one at its end.
struct Told {
  std::vector<long> answers;
  long end = -1;
};
std::map<pid_t, Told> told_in(const std::string& log) {
  std::map<pid_t, Told> all;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t at = line.find("| ");
    std::istringstream words(at == std::string::npos ? "" : line.substr(at + 2));
    pid_t pid = 0;
    std::string what;
    long number = 0;
    if (!(words >> pid >> what >> number)) continue;
    if (what == "answer") all[pid].answers.push_back(number);
    if (what == "end") all[pid].end = number;
  }
  return all;
}

// Every line of every worker once, whole, in its order.
void check_log(const std::string& log, std::size_t workers) {
  const auto told = told_in(log);
  CHECK(told.size() == workers);
  for (const auto& [pid, one] : told) {
    INFO("worker " << pid);
    CHECK(one.end == static_cast<long>(one.answers.size()));
    for (std::size_t i = 0; i < one.answers.size(); ++i) {
      if (one.answers[i] != static_cast<long>(i) + 1) FAIL("answer " << i + 1 << " is " << one.answers[i]);
    }
  }
}

}  // namespace

namespace {

// The programs of the next version (tests/programs) take the places of those that run.
void become_next(Supervised& up) {
  Control(up.control_path()).request("upgrade", {{"folder", std::string(RUNMAIN_BIN_DIR) + "/next"}});
  Json ping;
  for (int n = 0; n < 3000; ++n) {
    ping = up.request("ping");
    if (ping.contains("ok") && !ping["ok"]["upgrading"].get<bool>()) break;
    up.wait_output("never", std::chrono::milliseconds(10));
  }
  INFO(ping.dump());
  REQUIRE(ping.contains("ok"));
  CHECK(ping["ok"]["upgrade_error"] == "");
  CHECK(ping["ok"]["upgrades"] == 1);
}

}  // namespace

TEST_CASE("keep: the keeper is killed again and again under load; the same workers serve, no request fails") {
  const std::string balance = GENERATE("", "balance = \"reuseport\"\n");
  std::mt19937 random(Catch::rngSeed());
  CAPTURE(Catch::rngSeed(), balance);
  Supervised up(pool("keep", 4, balance));
  up.start();
  REQUIRE(up.wait_ready());
  const auto workers = sorted(up.pids("web"));
  REQUIRE(workers.size() == 4);
  const std::string address = up.address("web");
  Orphans orphans(workers);
  HttpLoad load(address, 4);
  for (int i = 0; i < rounds(); ++i) {
    load.wait_more(random() % 200);
    kill_keeper(up);
    load.wait_more(random() % 2 == 0 ? 50 : 0);
    up.start();
    REQUIRE(up.wait_ready());
    CHECK(sorted(up.pids("web")) == workers);
    CHECK(up.address("web") == address);
    if (i % 2 == 1) become_next(up);  // so the next takeover is from a keeper that was executed anew
  }
  load.stop();
  INFO(up.output());
  for (const auto& [fault, count] : load.faults()) UNSCOPED_INFO(fault << ": " << count);
  CHECK(load.done() > 0);
  CHECK(load.failed() == 0);
  CHECK(up.wait_output("taken over: 4 workers of the run before live on (pid "));
  CHECK(up.stop() == 0);
  for (const pid_t pid : workers) CHECK_FALSE(alive(pid));
  orphans.forget();
  check_log(up.folder().read("web.log"), 4);
  CHECK(up.folder().read("state/adoption").empty());
  CHECK(can_bind(address));
}

TEST_CASE("keep: also without a head the workers serve on, and are taken over") {
  Supervised up(pool("keep", 2));
  up.start();
  REQUIRE(up.wait_ready());
  const std::string address = up.address("web");
  const auto workers = sorted(up.pids("web"));
  REQUIRE(workers.size() == 2);
  Orphans orphans(workers);
  const pid_t head = up.head_pid();
  REQUIRE(freeze(up.keeper_pid()));  // or it would start the next head
  REQUIRE(kill(head, SIGKILL) == 0);
  REQUIRE(wait_gone(head));
  kill_keeper(up);
  // One socket for both: the other one stands still, so that it is known who answers.
  for (int n = 0; n < 2; ++n) {
    REQUIRE(freeze(workers.at(1 - n)));
    CHECK(answers(address, workers.at(n)));
    kill(workers.at(1 - n), SIGCONT);
  }
  up.start();
  REQUIRE(up.wait_ready());
  CHECK(sorted(up.pids("web")) == workers);
  CHECK(up.stop() == 0);
  for (const pid_t pid : workers) CHECK_FALSE(alive(pid));
  check_log(up.folder().read("web.log"), 2);
}

TEST_CASE("keep: a worker that ends while nobody is there is told with an unknown status, and replaced") {
  Supervised up(pool("keep", 3));
  up.start();
  REQUIRE(up.wait_ready());
  const auto workers = sorted(up.pids("web"));
  REQUIRE(workers.size() == 3);
  Orphans orphans(workers);
  kill_keeper(up);
  REQUIRE(kill(workers[1], SIGKILL) == 0);
  REQUIRE(wait_gone(workers[1]));
  up.start();
  REQUIRE(up.wait_ready());
  REQUIRE(up.wait_status([&](const Json& s) {
              const Json& web = s["services"][0];
              return web["state"] == "ready" && web["workers"].size() == 3 && web["restarts"] == 1;
            }).is_object());
  auto now = up.pids("web");
  CHECK(std::count(now.begin(), now.end(), workers[0]) == 1);
  CHECK(std::count(now.begin(), now.end(), workers[2]) == 1);
  CHECK(up.wait_output("1 worker of the run before ended meanwhile, with a status that nobody knows"));
  CHECK(up.wait_output("ended with an unknown status (pid " + std::to_string(workers[1])));
  // One that was taken over and ends later: nobody is its parent, either.
  REQUIRE(kill(workers[0], SIGKILL) == 0);
  CHECK(up.wait_output("ended with an unknown status (pid " + std::to_string(workers[0])));
  REQUIRE(up.wait_status([&](const Json& s) {
              const Json& web = s["services"][0];
              return web["state"] == "ready" && web["workers"].size() == 3 && web["restarts"] == 2;
            }).is_object());
  CHECK(up.stop() == 0);
}

TEST_CASE("keep: what was taken over can be reloaded, and down ends what nobody has taken over") {
  Supervised up(pool("keep", 2));
  up.start();
  REQUIRE(up.wait_ready());
  const auto first = sorted(up.pids("web"));
  Orphans orphans(first);
  const std::string address = up.address("web");
  HttpLoad load(address, 2);
  kill_keeper(up);
  up.start();
  REQUIRE(up.wait_ready());
  CHECK(up.cli({"reload", "web"}).status == 0);
  for (const pid_t pid : first) CHECK(wait_gone(pid));
  load.stop();
  CHECK(load.failed() == 0);
  const auto second = sorted(up.pids("web"));
  CHECK(second.size() == 2);
  Orphans more(second);
  const pid_t head = up.head_pid();
  kill_keeper(up);
  REQUIRE(wait_gone(head));  // it answers as long as it is there
  const Ran status = up.cli({"status"});
  INFO(status.out);
  CHECK(status.status == 3);
  CHECK(status.out.find("was killed; 2 processes of it live on (pid ") != std::string::npos);
  CHECK(status.out.find("runmain down") != std::string::npos);
  const Ran down = up.cli({"down"});
  INFO(down.out);
  CHECK(down.status == 0);
  CHECK(down.out.find("2 processes that lived on were ended") != std::string::npos);
  for (const pid_t pid : second) CHECK(wait_gone(pid));
  CHECK(can_bind(address));
  CHECK(up.cli({"down"}).status == 3);
}

TEST_CASE("keep: killed again while it takes over, nothing is lost, and no request fails") {
  std::mt19937 random(Catch::rngSeed());
  CAPTURE(Catch::rngSeed());
  Supervised up(pool("keep", 3));
  up.start();
  REQUIRE(up.wait_ready());
  const auto workers = sorted(up.pids("web"));
  REQUIRE(workers.size() == 3);
  Orphans orphans(workers);
  HttpLoad load(up.address("web"), 3);
  for (int i = 0; i < rounds(); ++i) {
    load.wait_more(50);
    kill_keeper(up);
    for (int n = 0; n < 2; ++n) {
      up.start();
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 60'000));
      kill_keeper(up);
    }
    up.start();
    REQUIRE(up.wait_ready());
    CHECK(sorted(up.pids("web")) == workers);
  }
  load.stop();
  INFO(up.output());
  CHECK(load.failed() == 0);
  CHECK(up.stop() == 0);
  for (const pid_t pid : workers) CHECK_FALSE(alive(pid));
  orphans.forget();
  check_log(up.folder().read("web.log"), 3);
}

TEST_CASE("stop: nothing is left when the keeper is killed, and the port is free at once") {
  for (int i = 0; i < rounds(); ++i) {
    Supervised up(pool("stop", 2,
                       "[service.tree]\ncommand = [\"@BIN@/t_child\", \"setsid-grandchild\", "
                       "\"double-fork-grandchild\", \"ready\", \"pause\"]\nready = { notify = true "
                       "}\non_keeper_death = \"stop\"\n"));
    up.start();
    REQUIRE(up.wait_ready());
    auto all = up.pids("web");
    for (const pid_t pid : up.pids("tree")) all.push_back(pid);
    const auto tags = tags_of(all);
    REQUIRE(of_trees(tags).size() == 5);
    const std::string address = up.address("web");
    const pid_t head = up.head_pid();
    const bool head_dead = i % 2 == 1;
    if (head_dead) {
      REQUIRE(freeze(up.keeper_pid()));
      REQUIRE(kill(head, SIGKILL) == 0);
      REQUIRE(wait_gone(head));
    }
    kill_keeper(up);
    for (const pid_t pid : all) CHECK(wait_gone(pid));
    CHECK(can_bind(address));
    if (!head_dead) {
      REQUIRE(wait_gone(head));
      CHECK(of_trees(tags).empty());
      continue;
    }
    // The head was the one who would have ended the rest: the next start does.
    CHECK(of_trees(tags).size() == 2);
    up.start();
    REQUIRE(up.wait_ready());
    CHECK(of_trees(tags).empty());
    CHECK(up.wait_output("1 process tree of the run before was ended"));
    CHECK(up.stop() == 0);
  }
}

TEST_CASE("a table of survivors that cannot be used: it is told, what is left is ended, all starts afresh") {
  Supervised up(pool("keep", 2));
  up.start();
  REQUIRE(up.wait_ready());
  const std::string address = up.address("web");
  const std::string file = up.folder().file("state/adoption");
  const auto change = [&](const std::function<void(keeper::AdoptionTable&)>& how) {
    auto table = keeper::read_adoption(up.folder().file("state/adoption"));
    REQUIRE(table);
    how(*table);
    return keeper::to_record(*table);
  };
  for (const auto& [name, damage, told] : std::vector<std::array<std::string, 3>>{
           {"torn", "torn", "it is torn"},
           {"empty", "empty", "it is empty"},
           {"garbage", "garbage", "it is torn, or no file of runmain"},
           {"of another boot", "boot", "it is from before the machine was started"},
           {"of another configuration", "config", "it is of another configuration, /else"}}) {
    INFO(name);
    const auto workers = up.pids("web");
    REQUIRE(workers.size() == 2);
    Orphans orphans(workers);
    kill_keeper(up);
    const std::string now = change([](keeper::AdoptionTable&) {});
    std::string bad = now.substr(0, now.size() / 2);
    if (damage == "empty") bad.clear();
    if (damage == "garbage") bad = std::string(500, 'x');
    if (damage == "boot") bad = change([](keeper::AdoptionTable& t) { t.boot = "another"; });
    if (damage == "config") bad = change([](keeper::AdoptionTable& t) { t.config = "/else"; });
    up.folder().write("state/adoption", bad);
    up.start();
    REQUIRE(up.wait_ready());
    CHECK(up.wait_output("nothing of the run before is taken over: " + file + ": " + told));
    for (const pid_t pid : workers) CHECK_FALSE(alive(pid));
    const auto fresh = up.pids("web");
    CHECK(fresh.size() == 2);
    CHECK(up.address("web") == address);
    CHECK(get(address, "/").ok);
  }
  // Every entry is proved by the process itself: another start time, and it is not the same process.
  const auto workers = up.pids("web");
  Orphans orphans(workers);
  kill_keeper(up);
  up.folder().write("state/adoption", change([](keeper::AdoptionTable& t) {
                      for (auto& child : t.children) child.main.started += 1;
                    }));
  up.start();
  REQUIRE(up.wait_ready());
  for (const pid_t pid : workers) CHECK_FALSE(alive(pid));
  CHECK(up.wait_output("2 workers of the run before ended meanwhile"));
  CHECK(up.stop() == 0);
  orphans.forget();
}
