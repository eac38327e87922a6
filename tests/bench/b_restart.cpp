// SIGKILL of a child to main() of the next: runmain beside a bare loop of signalfd and vfork/exec, in turns.
//   b_restart [ROUNDS]
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.hpp"
#include "stamps.hpp"
#include "support/supervised.hpp"

using namespace runmain::bench;
using runmain::test::Supervised;

namespace {

const std::string kStamp = std::string(RUNMAIN_BIN_DIR) + "/b_stamp";

// The floor: a process that waits for SIGCHLD on a signalfd and starts its child again with vfork and exec.
[[noreturn]] void bare_loop(const std::string& file) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  const int fd = signalfd(-1, &set, SFD_CLOEXEC);
  for (;;) {
    const pid_t pid = vfork();
    if (pid == 0) {
      sigprocmask(SIG_UNBLOCK, &set, nullptr);
      execl(kStamp.c_str(), kStamp.c_str(), file.c_str(), nullptr);
      _exit(127);
    }
    signalfd_siginfo info{};
    (void)!read(fd, &info, sizeof info);
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
}

double kill_once(Stamps& stamps, pid_t& pid) {
  const long long before = now_ns();
  kill(pid, SIGKILL);
  const Stamps::Stamp s = stamps.next();
  pid = s.pid;
  return static_cast<double>(s.ns - before) / 1e6;
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 200;
  runmain::test::Folder folder;
  Supervised up("[service.a]\ncommand = [\"" + kStamp + "\", \"" + folder.file("ours") +
                "\"]\nready = { after = \"1ms\" }\n"
                "restart = { policy = \"always\", initial = \"1ms\", max = \"1ms\", reset = \"0ms\" }\n");
  Stamps ours(folder.file("ours"));
  Stamps bare(folder.file("bare"));
  up.start();
  const pid_t loop = fork();
  if (loop == 0) bare_loop(folder.file("bare"));
  pid_t our_child = ours.next().pid;
  pid_t bare_child = bare.next().pid;
  std::vector<double> a, b;
  for (int i = 0; i < rounds; ++i) {
    // The child must have been ready for the restart to count as the first one: a fact, told by an event.
    up.wait_event("child.ready", "a");
    a.push_back(kill_once(ours, our_child));
    b.push_back(kill_once(bare, bare_child));
  }
  kill(loop, SIGKILL);
  waitpid(loop, nullptr, 0);
  kill(bare_child, SIGKILL);
  row("SIGKILL of a child to main() of the next, median (p99) of " + std::to_string(rounds),
      number(percentile(a, 50), " ms") + " (" + number(percentile(a, 99), " ms") + "); bare loop " +
          number(percentile(b, 50), " ms") + " (" + number(percentile(b, 99), " ms") + "); ratio " +
          number(percentile(a, 50) / percentile(b, 50)),
      "ratio at most 2");
  return 0;
}
