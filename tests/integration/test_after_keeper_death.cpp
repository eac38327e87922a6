// What a killed keeper has left is found by who comes next: by its table, or without one; what was known of
// it stays known.
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "keeper/adoption.hpp"
#include "os/linux/other_process.hpp"
#include "os/linux/proc.hpp"
#include "os/linux/process_tree.hpp"
#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"
#include "support/survivors.hpp"

using namespace runmain::test;
namespace keeper = runmain::keeper;
namespace os = runmain::os;

namespace {

// Every process of a service of this runmain, of whichever run.
std::vector<pid_t> of_channel(const Supervised& up) {
  const std::string control = up.control_path();
  const std::string told = "RUNMAIN_CHANNEL=" + control.substr(0, control.rfind('/')) + "/channel";
  std::vector<pid_t> all;
  os::any_process([&](pid_t pid) {
    const auto state = os::process_state(pid);
    if (os::tag_of(pid) != 0 && state && state->living() && os::was_given(pid, told)) all.push_back(pid);
    return false;
  });
  return sorted(all);
}

}  // namespace

TEST_CASE("keep: killed while it starts for the first time, the next start has every worker, and no other") {
  std::mt19937 random(Catch::rngSeed());
  CAPTURE(Catch::rngSeed());
  for (int i = 0; i < rounds(); ++i) {
    Supervised up(pool("keep", 3));
    up.start();
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 80'000));
    kill_keeper(up);
    Orphans orphans(of_channel(up));
    up.start();
    REQUIRE(up.wait_ready());
    Orphans fresh(up.pids("web"));
    CHECK(of_channel(up) == sorted(up.pids("web")));
    CHECK(up.pids("web").size() == 3);
    CHECK(up.stop() == 0);
    CHECK(of_channel(up).empty());
    orphans.forget();
    fresh.forget();
  }
}

TEST_CASE("keep: without a table, what is left is known by its channel, told, and ended") {
  const bool by_down = GENERATE(true, false);
  Supervised up(pool("keep", 2));
  up.start();
  REQUIRE(up.wait_ready());
  const std::string address = up.address("web");
  const auto workers = up.pids("web");
  REQUIRE(workers.size() == 2);
  Orphans orphans(workers);
  const pid_t head = up.head_pid();
  kill_keeper(up);
  REQUIRE(wait_gone(head));
  REQUIRE(unlink(up.folder().file("state/adoption").c_str()) == 0);
  CHECK(up.cli({"status"}).out.find("2 processes of it live on (pid ") != std::string::npos);
  if (by_down) {
    const Ran down = up.cli({"down"});
    CHECK(down.status == 0);
    CHECK(down.out.find("2 processes that lived on were ended") != std::string::npos);
  } else {
    up.start();
    REQUIRE(up.wait_ready());
    CHECK(up.wait_output("2 process trees of the run before were ended"));
    CHECK(up.address("web") == address);
    CHECK(up.stop() == 0);
  }
  for (const pid_t pid : workers) CHECK(wait_gone(pid));
  CHECK(can_bind(address));
}

TEST_CASE("keep: what nobody has taken over is asked to end by SIGTERM, and its unix socket is removed") {
  Supervised up(
      "[runmain]\nmode = \"prod\"\n[service.web]\ncommand = [\"sh\", \"-c\", \"trap 'echo bye > @DIR@/bye; "
      "exit "
      "0' TERM; echo > @DIR@/there; while :; do sleep 0.05; done\"]\nlisten = "
      "\"unix:@DIR@/web.sock\"\non_keeper_death = \"keep\"\n");
  up.start();
  REQUIRE(up.wait_ready());
  const auto workers = up.pids("web");
  Orphans orphans(workers);
  for (int i = 0; i < 1000 && up.folder().read("there").empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const std::string socket = up.folder().file("web.sock");
  REQUIRE(access(socket.c_str(), F_OK) == 0);
  kill_keeper(up);
  CHECK(up.cli({"down"}).status == 0);
  for (const pid_t pid : workers) CHECK(wait_gone(pid));
  CHECK(up.folder().read("bye") == "bye\n");
  CHECK(access(socket.c_str(), F_OK) != 0);
}

TEST_CASE("keep: a port that was chosen stays the service's, also for workers that come later") {
  Supervised up(
      "[runmain]\nmode = \"prod\"\n[service.web]\ncommand = [\"@BIN@/t_http\", \"--port\", \"{port}\"]\nport "
      "= "
      "\"auto\"\nready = { notify = true }\non_keeper_death = \"keep\"\n");
  const auto port_of = [](pid_t pid) {
    const std::string path = "/proc/" + std::to_string(pid) + "/environ";
    const std::string all = os::proc_text(path.c_str(), 1U << 20U);
    const std::size_t at = all.find(std::string("\0PORT=", 6));
    return at == std::string::npos ? "" : std::string(all.c_str() + at + 6);
  };
  up.start();
  REQUIRE(up.wait_ready());
  const auto first = up.pids("web");
  REQUIRE(first.size() == 1);
  Orphans orphans(first);
  const std::string port = port_of(first[0]);
  REQUIRE_FALSE(port.empty());
  for (int i = 0; i < 2; ++i) {  // the keeper after the next one knows it, too
    kill_keeper(up);
    up.start();
    REQUIRE(up.wait_ready());
    REQUIRE(up.pids("web") == first);
  }
  REQUIRE(kill(first[0], SIGKILL) == 0);
  REQUIRE(up.wait_status([&](const Json& s) {
              const Json& web = s["services"][0];
              return web["state"] == "ready" && web["restarts"] == 1;
            }).is_object());
  const auto second = up.pids("web");
  REQUIRE(second.size() == 1);
  CHECK(port_of(second[0]) == port);
  CHECK(up.stop() == 0);
}

TEST_CASE("keep: a wrapper that was taken over dies of the stop, and its server ends its answers") {
  Supervised up(
      "[runmain]\nmode = \"prod\"\n[service.web]\ncommand = [\"sh\", \"-c\", \"@BIN@/t_http --fd "
      "{fd} --slow-ms 1500; true\"]\nlisten = \"127.0.0.1:" +
      std::to_string(free_port()) + "\"\nready = { notify = true }\non_keeper_death = \"keep\"\n");
  up.start();
  REQUIRE(up.wait_ready());
  const std::string address = up.address("web");
  Orphans orphans(up.pids("web"));
  kill_keeper(up);
  up.start();
  REQUIRE(up.wait_ready());
  Answered answered;
  std::thread client([&] { answered = get(address, "/"); });
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // a third of the time that the answer takes
  CHECK(up.stop() == 0);
  client.join();
  CHECK(answered.ok);
  UNSCOPED_INFO(answered.fault);
}

TEST_CASE(
    "keep: what the old supervisor has left of a worker that died in the gap comes into the log, once") {
  Supervised up(pool("keep", 2));
  up.start();
  REQUIRE(up.wait_ready());
  const auto workers = up.pids("web");
  REQUIRE(workers.size() == 2);
  Orphans orphans(workers);
  const pid_t head = up.head_pid();
  kill_keeper(up);
  REQUIRE(wait_gone(head));
  const auto table = keeper::read_adoption(up.folder().file("state/adoption"));
  REQUIRE(table);
  REQUIRE(kill(workers[0], SIGKILL) == 0);
  REQUIRE(wait_gone(workers[0]));
  keeper::UnreadOutput unread{table->keeper, {}};
  for (const auto& child : table->children) {
    if (child.main.pid == workers[0]) unread.streams.push_back({child.key, false, "my last words\n"});
  }
  REQUIRE(unread.streams.size() == 1);
  up.folder().write("state/adoption.unread", keeper::to_record(unread));
  REQUIRE(chmod(up.folder().file("state/adoption.unread").c_str(), 0600) == 0);
  up.start();
  REQUIRE(up.wait_ready());
  CHECK(up.wait_output("ended with an unknown status (pid " + std::to_string(workers[0])));
  CHECK(up.stop() == 0);
  const std::string log = up.folder().read("web.log");
  const std::size_t at = log.find("my last words");
  CHECK(at != std::string::npos);
  CHECK(log.find("my last words", at + 1) == std::string::npos);
  CHECK(up.folder().read("state/adoption.unread").empty());
}

TEST_CASE("keep: a table that cannot be written is told, tried again, and told when it can be") {
  Supervised up(pool("keep", 1));
  const std::string in_the_way = up.folder().file("state/adoption.new");
  REQUIRE(mkdir(up.folder().file("state").c_str(), 0700) == 0);
  REQUIRE(mkdir(in_the_way.c_str(), 0700) == 0);
  up.start();
  REQUIRE(up.wait_ready());
  CHECK(up.wait_output("the workers could not be taken over if the keeper was killed, retrying"));
  CHECK(up.folder().read("state/adoption").empty());
  REQUIRE(rmdir(in_the_way.c_str()) == 0);
  CHECK(up.wait_output("is written again: the workers can be taken over"));
  CHECK(keeper::read_adoption(up.folder().file("state/adoption")));
  CHECK(up.stop() == 0);
}
