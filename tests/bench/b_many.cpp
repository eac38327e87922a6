// Many trivial services: time until all are up, beside a bare loop of as many spawns; restart of one among
// them; private memory; context switches while nothing happens.
//   b_many [SERVICES] [IDLE_SECONDS]
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.hpp"
#include "support/supervised.hpp"

using namespace runmain::bench;
using namespace runmain::test;

namespace {

const std::string kStamp = std::string(RUNMAIN_BIN_DIR) + "/b_stamp";

// The floor: as many children by vfork and exec, each with a pipe, until the last one has said that it is
// there.
double bare(int count) {
  const auto begin = Clock::now();
  std::vector<pid_t> pids;
  std::vector<int> pipes;
  for (int i = 0; i < count; ++i) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) break;
    const pid_t pid = vfork();
    if (pid == 0) {
      dup2(ends[1], 1);
      execl(kStamp.c_str(), kStamp.c_str(), nullptr);
      _exit(127);
    }
    close(ends[1]);
    pids.push_back(pid);
    pipes.push_back(ends[0]);
  }
  for (const int fd : pipes) {
    char buffer[64];
    (void)!read(fd, buffer, sizeof buffer);
  }
  const double took = ms_since(begin);
  for (const pid_t pid : pids) kill(pid, SIGKILL);
  for (const pid_t pid : pids) waitpid(pid, nullptr, 0);
  for (const int fd : pipes) close(fd);
  return took;
}

std::string services(int count) {
  std::string toml;
  for (int i = 0; i < count; ++i) {
    toml +=
        "[service.s" + std::to_string(i) + "]\ncommand = [\"" + kStamp + "\"]\nready = { after = \"1ms\" }\n";
  }
  return toml;
}

void memory_of(Supervised& up, int count, const std::string& goal) {
  const double keeper = private_mib(up.keeper_pid());
  const double head = private_mib(up.head_pid());
  row("private memory of keeper and head with " + std::to_string(count) + " service" +
          (count == 1 ? "" : "s"),
      number(keeper, " MiB") + " + " + number(head, " MiB") + " = " + number(keeper + head, " MiB"), goal);
}

// From the start of `runmain up` until the last child's first line has been taken over by the head.
double all_up(Supervised& up, int count) {
  const auto begin = Clock::now();
  up.start();
  std::size_t at = 0;
  for (int seen = 0; seen < count;) {
    if (!up.wait_output_more()) break;
    const std::string& out = up.output();
    for (std::size_t end; (end = out.find('\n', at)) != std::string::npos; at = end + 1) {
      if (out.compare(at, 7, "runmain") != 0) ++seen;
    }
  }
  return ms_since(begin);
}

// All children die in the same moment: one SIGCHLD stands for many.
void kill_all(Supervised& up, int count) {
  const Json before = up.status();
  for (const Json& s : before["services"]) kill(s["workers"][0]["pid"].get<int>(), SIGKILL);
  const auto begin = Clock::now();
  const auto up_again = [&before](const Json& now) {
    for (std::size_t i = 0; i < before["services"].size(); ++i) {
      const Json& was = before["services"][i];
      const Json& is = now["services"][i];
      if (is["restarts"] != was["restarts"].get<int>() + 1 || is["state"] != "ready") return false;
    }
    return true;
  };
  const bool all = up.wait_status(up_again).is_object();
  const double took = ms_since(begin);
  int zombies = 0;
  for (const pid_t child : children_of(up.keeper_pid())) zombies += alive(child) ? 0 : 1;
  row(std::to_string(count) + " children killed in the same moment",
      (all ? "each told and restarted once" : "some were not restarted once") + std::string(" in ") +
          number(took, " ms", 0) + ", " + std::to_string(zombies) + " zombies",
      "all told, 0 zombies");
}

}  // namespace

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 1000;
  const int idle = argc > 2 ? std::atoi(argv[2]) : 60;
  {
    Supervised one(services(1));
    one.start();
    one.wait_ready();
    memory_of(one, 1, "at most 6 MiB");
  }
  std::vector<double> ours, floor;
  for (int round = 0; round < 5; ++round) {
    Supervised up(services(count));
    ours.push_back(all_up(up, count));
    floor.push_back(bare(count));
    if (round < 4) continue;
    up.wait_ready();
    memory_of(up, count, "at most 15 MiB");
    std::vector<double> restarts;
    for (int i = 0; i < 20; ++i) {
      const std::string name = "s" + std::to_string(i * count / 20);
      const pid_t old = up.pids(name).at(0);
      const auto begin = Clock::now();
      kill(old, SIGKILL);
      up.wait_event([&](const Json& e) {
        return e["type"] == "child.started" && e["service"] == name && e["data"]["attempt"] == 2;
      });
      restarts.push_back(ms_since(begin));
    }
    row("restart of a killed one among " + std::to_string(count),
        "median " + number(percentile(restarts, 50), " ms") + ", max " +
            number(percentile(restarts, 100), " ms") + " until the event is told",
        "within 5 ms");
    kill_all(up, count);
    up.close_events();
    const pid_t keeper = up.keeper_pid();
    const pid_t head = up.head_pid();
    poll(nullptr, 0, 3000);  // readiness timers and the client's last connection are over
    const long before = switches(keeper) + switches(head);
    poll(nullptr, 0, idle * 1000);
    row("context switches in " + std::to_string(idle) + " s of nothing, " + std::to_string(count) +
            " services",
        std::to_string(switches(keeper) + switches(head) - before), "0");
  }
  row(std::to_string(count) + " services up with output captured, median of 5",
      number(percentile(ours, 50), " ms", 0) + "; bare loop " + number(percentile(floor, 50), " ms", 0) +
          "; ratio " + number(percentile(ours, 50) / percentile(floor, 50)),
      "ratio at most 2");
  return 0;
}
