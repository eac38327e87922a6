// Gradual rolls of real workers, and what may come in the middle of one: never more away than a batch,
// nothing lost, the newest code everywhere at the end. Workers that are recycled go by the same batch.
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <optional>
#include <set>
#include <tuple>

#include "support/pools.hpp"

using namespace runmain::test;

namespace {

// What one slot's worker of one generation is doing; "" if there is none.
std::string state_of(const Json& status, int slot, int generation) {
  for (const Json& w : status["services"][0]["workers"]) {
    if (w["slot"] == slot && w["generation"] == generation) return w["state"];
  }
  return "";
}

pid_t pid_of(const Json& status, int slot, int generation) {
  for (const Json& w : status["services"][0]["workers"]) {
    if (w["slot"] == slot && w["generation"] == generation) return w["pid"];
  }
  return -1;
}

bool wants(const Json& status, int workers) { return status["services"][0]["wanted_workers"] == workers; }

// Every wanted worker is ready in this generation, and no other one is left.
bool through(const Json& status, std::size_t workers, int generation) {
  return all_ready(status, workers, generation) && status["services"][0]["workers"].size() == workers;
}

// As wait_status(), where 30 s may not be enough.
bool waits_long(Supervised& up, const std::function<bool(const Json&)>& holds) {
  for (int n = 0; n < 4; ++n) {
    if (up.wait_status(holds).is_object()) return true;
  }
  return false;
}

// The least slots that had a ready worker from now until it is over, as seen after each event; nothing when
// it does not come to that. `over` is given each event and the status after it.
using Over = std::function<bool(const Json& event, const Json& status)>;
std::optional<int> least_serving(Supervised& up, const Over& over) {
  Control events(up.control_path());
  Control questions(up.control_path());
  events.send("events", {{"follow", true}});
  int least = 1 << 20;
  for (;;) {
    const Json line = events.next();
    if (line.is_null() || !line.contains("item")) return std::nullopt;
    const Json answer = questions.request("status");
    if (!answer.contains("ok")) return std::nullopt;
    least = std::min(least, answer["ok"]["services"][0]["serving_workers"].get<int>());
    if (over(line["item"], answer["ok"])) return least;
  }
}

// A memory group of its own for what is started between enter() and leave(). Version 1 or 2; not usable where
// none can be made.
class MemoryGroup {
 public:
  explicit MemoryGroup(const std::string& bytes) {
    const std::string name = "/runmain-test-" + std::to_string(getpid());
    for (const auto& [mount, kind, limit] :
         {std::tuple{"/sys/fs/cgroup/memory", ":memory:", "limit_in_bytes"},
          std::tuple{"/sys/fs/cgroup", "0::", "max"}}) {
      home_ = mount + own(kind);
      const std::string made = home_ + (home_.ends_with('/') ? name.substr(1) : name);
      if (mkdir(made.c_str(), 0755) != 0) continue;
      path_ = made;
      if (write(path_ + "/memory." + limit, bytes)) return;
      rmdir(path_.c_str());
      path_.clear();
    }
  }
  ~MemoryGroup() {
    leave();
    if (usable()) rmdir(path_.c_str());
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;
  bool usable() const { return !path_.empty(); }
  bool enter() const { return write(path_ + "/cgroup.procs", "0"); }
  void leave() const {
    if (usable()) write(home_ + "/cgroup.procs", "0");
  }

 private:
  static bool write(const std::string& file, const std::string& text) {
    std::ofstream out(file);
    out << text << std::flush;
    return out.good();
  }
  // The path of our group, as the line of this kind says.
  static std::string own(const std::string& kind) {
    std::ifstream in("/proc/self/cgroup");
    for (std::string line; std::getline(in, line);) {
      const std::size_t at = line.find(kind);
      if (at != std::string::npos) return line.substr(at + kind.size());
    }
    return "/";
  }
  std::string home_;
  std::string path_;
};

}  // namespace

TEST_CASE("64 workers roll by a tenth, old ones first: never more than 6 are away, no request is lost") {
  Supervised up(
      "[runmain]\nmode = \"prod\"\n[service.web]\ncommand = [\"@BIN@/pool\"]\nlisten = \"127.0.0.1:0\"\n"
      "workers = 64\non_keeper_death = \"stop\"\nready = { notify = true, timeout = \"2m\" }\n"
      "roll = { order = \"old-first\", batch = \"10%\" }\n");
  up.start();
  REQUIRE(waits_long(up, [](const Json& s) { return through(s, 64, 1); }));
  const auto before = up.pids("web");
  HttpLoad load(up.address("web"), 2);
  load.wait_more(20);
  REQUIRE(up.cli({"reload", "web", "--no-wait"}).status == 0);
  const auto least = least_serving(
      up, [](const Json& event, const Json&) { return event.value("type", "") == "reload.done"; });
  REQUIRE(least);
  CHECK(*least >= 58);
  CHECK(*least < 64);
  REQUIRE(waits_long(up, [](const Json& s) { return through(s, 64, 2); }));
  no_request_lost(load);
  std::set<pid_t> after;
  for (const pid_t pid : up.pids("web")) after.insert(pid);
  CHECK(after.size() == 64);
  for (const pid_t pid : before) CHECK(after.count(pid) == 0);
  CHECK(up.stop() == 0);
}

TEST_CASE("workers whose lifetime is over are replaced by the batch, and no request is lost") {
  const auto [order, batch, away] =
      GENERATE(table<std::string, int, int>({{"new-first", 1, 0}, {"old-first", 1, 1}, {"old-first", 2, 2}}));
  INFO(order << ", " << batch << " at once");
  // A start that takes a while, so that several would be on their way at once if nobody counted.
  Supervised up(pool(3,
                     kNotify + "recycle = { lifetime = \"1s\" }\nroll = { order = \"" + order +
                         "\", batch = " + std::to_string(batch) + " }\n",
                     "exec @BIN@/t_http --fd {fd} --boot-ms 200"));
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("web");
  REQUIRE_FALSE(before.empty());
  HttpLoad load(up.address("web"), 3);
  long most_coming = 0;
  const auto least = least_serving(up, [&](const Json&, const Json& now) {
    const Json& workers = now["services"][0]["workers"];
    most_coming =
        std::max<long>(most_coming, std::count_if(workers.begin(), workers.end(), [](const Json& w) {
                         return w["state"] == "spawning" || w["state"] == "starting";
                       }));
    return std::none_of(workers.begin(), workers.end(), [&](const Json& w) {
      return std::count(before.begin(), before.end(), w["pid"].get<pid_t>()) != 0;
    });
  });
  REQUIRE(least);
  CHECK(*least >= 3 - away);
  CHECK((*least == 3) == (away == 0));  // those that go first were seen to be away
  CHECK(most_coming >= 1);
  CHECK(most_coming <= batch);
  const Json recycled = up.wait_event("child.recycled", "web");
  REQUIRE(recycled.is_object());
  CHECK(recycled["data"]["reason"].get<std::string>().starts_with("lifetime "));
  load.wait_more(20);
  no_request_lost(load);
  CHECK(up.service("web")["restarts"] == 0);
  CHECK(up.stop() == 0);
}

TEST_CASE("scaled, reloaded anew and killed in the middle of a roll: all end with the newest code") {
  const std::string order = GENERATE(as<std::string>{}, "new-first", "old-first");
  INFO(order);
  // The second slot's worker of generation 2 never gets ready, so that the roll stays where it is.
  Supervised up(pool(4, kNotify + "hang = { stopped = \"0s\" }\nroll = { order = \"" + order + "\" }\n",
                     "test $RUNMAIN_WORKER$RUNMAIN_GENERATION = 12 && boot=60000; "
                     "exec @BIN@/t_http --fd {fd} --boot-ms ${boot:-0}"));
  up.start();
  REQUIRE(up.wait_ready());
  HttpLoad before(up.address("web"), 2);
  REQUIRE(up.cli({"reload", "web", "--no-wait"}).status == 0);
  REQUIRE(up.wait_status([](const Json& s) {
              return state_of(s, 0, 2) == "ready" && state_of(s, 1, 2) == "starting";
            }).is_object());
  for (const auto& [signal, workers] : {std::pair{SIGTTIN, 5}, {SIGTTIN, 6}, {SIGTTOU, 5}}) {
    up.signal(signal);
    REQUIRE(up.wait_status([n = workers](const Json& s) { return wants(s, n); }).is_object());
  }
  up.signal(SIGHUP);
  REQUIRE(up.wait_event("reload.queued", "web").is_object());
  before.wait_more(20);
  no_request_lost(before);  // it has come to rest: nobody is in the middle of an answer
  const Json middle = up.status();
  const pid_t fresh = pid_of(middle, 0, 2);
  const pid_t old = pid_of(middle, 3, 1);
  REQUIRE(freeze(fresh));
  REQUIRE(freeze(old));
  HttpLoad load(up.address("web"), 2);
  load.wait_more(20);
  kill(old, SIGKILL);
  kill(fresh, SIGKILL);
  REQUIRE(up.wait_status([](const Json& s) { return through(s, 5, 3); }).is_object());
  load.wait_more(20);
  no_request_lost(load);
  const Json failed = up.wait_event("reload.failed", "web");
  REQUIRE(failed.is_object());
  CHECK(failed["generation"] == 2);
  REQUIRE(up.wait_event("reload.done", "web").is_object());
  CHECK(up.stop() == 0);
}

TEST_CASE("a new worker for which memory is not enough: the report says so, every slot is given back") {
  const MemoryGroup group(std::to_string(1U << 30U));
  if (!group.usable()) return skip("needs a memory group of its own");
  Supervised up(pool(3, kNotify,
                     "test $RUNMAIN_WORKER$RUNMAIN_GENERATION = 12 && exec @BIN@/t_child eat 3000 pause; "
                     "exec @BIN@/t_http --fd {fd}"));
  REQUIRE(group.enter());
  up.start();
  group.leave();
  REQUIRE(up.wait_ready());
  HttpLoad load(up.address("web"), 2);
  const Ran reload = up.cli({"reload", "web"});
  CHECK(reload.status == 1);
  INFO(reload.out);
  CHECK(reload.out.find("out of memory") != std::string::npos);
  CHECK(reload.out.find("generation 1 gets every slot back") != std::string::npos);
  REQUIRE(up.wait_event("reload.restored", "web").is_object());
  REQUIRE(up.wait_status([](const Json& s) { return through(s, 3, 1); }).is_object());
  no_request_lost(load);
  CHECK(up.stop() == 0);
}
