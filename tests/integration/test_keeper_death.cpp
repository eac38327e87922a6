// The keeper is killed, which nothing replaces: what becomes of a pool with on_keeper_death = "keep", and
// what the next `runmain up` does about it.
#include <csignal>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

// Nobody else ends these, however the test goes.
class Orphans {
 public:
  explicit Orphans(std::vector<pid_t> pids) : pids_(std::move(pids)) {}
  ~Orphans() { end(); }
  Orphans(const Orphans&) = delete;
  Orphans& operator=(const Orphans&) = delete;
  // False: one of them is still there.
  bool end() {
    bool gone = true;
    for (const pid_t pid : pids_) kill(pid, SIGKILL);
    for (const pid_t pid : pids_) gone &= wait_gone(pid);
    pids_.clear();
    return gone;
  }

 private:
  std::vector<pid_t> pids_;
};

bool answers(const std::string& address, pid_t by) {
  const Answered answered = get(address, "/");
  UNSCOPED_INFO(answered.fault << answered.body);
  return answered.ok && answered.body.starts_with(std::to_string(by) + " ");
}

}  // namespace

TEST_CASE(
    "a pool that outlives its keeper serves on, and the next runmain is refused its port until it goes") {
  const bool head_first = GENERATE(true, false);
  INFO((head_first ? "the head, then the keeper" : "the keeper alone"));
  Supervised up(
      "[runmain]\nmode = \"prod\"\n[service.web]\ncommand = [\"@BIN@/t_http\", \"--fd\", \"{fd}\"]\n"
      "listen = \"127.0.0.1:" +
      std::to_string(free_port()) +
      "\"\nworkers = 2\nready = { notify = true }\non_keeper_death = \"keep\"\n");
  up.start();
  REQUIRE(up.wait_ready());
  const std::string address = up.address("web");
  const auto workers = up.pids("web");
  REQUIRE(workers.size() == 2);
  Orphans orphans(workers);
  const pid_t head = up.head_pid();
  const pid_t observer = observer_of(up.keeper_pid());
  REQUIRE(head > 0);
  if (head_first) {
    REQUIRE(freeze(up.keeper_pid()));  // or it would start the next head
    REQUIRE(kill(head, SIGKILL) == 0);
    REQUIRE(wait_gone(head));
  }
  up.signal(SIGKILL);
  CHECK(up.wait_exit() == 128 + SIGKILL);
  REQUIRE(wait_gone(head));
  CHECK((observer == 0 || wait_gone(observer)));
  if (!head_first) CHECK(up.wait_output("2 of its children live on, as on_keeper_death says"));
  // One socket for both: the other one stands still, so that it is known who answers.
  for (int n = 0; n < 2; ++n) {
    REQUIRE(freeze(workers.at(1 - n)));
    CHECK(answers(address, workers.at(n)));
    kill(workers.at(1 - n), SIGCONT);
  }
  up.start();
  CHECK(up.wait_exit() == 2);
  INFO(up.output());
  CHECK(up.output().find("cannot listen: bind " + address + ": Address already in use") != std::string::npos);
  for (const pid_t pid : workers) CHECK(alive(pid));
  CHECK(get(address, "/").ok);
  REQUIRE(orphans.end());
  up.start();
  REQUIRE(up.wait_ready());
  const auto after = up.pids("web");
  CHECK(after.size() == 2);
  CHECK(up.address("web") == address);
  CHECK(get(address, "/").ok);
  CHECK(up.stop() == 0);
  for (const pid_t pid : after) CHECK_FALSE(alive(pid));
}
