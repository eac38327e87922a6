// `runmain down`: stops all services and ends runmain. Returns when its keeper is gone.
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/left_behind.hpp"
#include "cli/session.hpp"
#include "control/instance.hpp"

namespace runmain::cli {
namespace {

// A head that does not answer for so long is not asked: the keeper then stops the children itself.
constexpr std::chrono::seconds kHeadSilentMax{5};

// 0: it is gone. Otherwise ETIMEDOUT or another errno.
int wait_for_end(int pidfd, Time deadline) {
  for (;;) {
    const long long left =
        deadline == kNever ? -1 : std::max(0LL, to_ms(deadline - control::deadline_after(Duration{})));
    pollfd p{pidfd, POLLIN, 0};
    const int n = poll(&p, 1, static_cast<int>(std::min<long long>(left, INT_MAX)));
    if (n > 0) return 0;
    if (n == 0) return ETIMEDOUT;
    if (errno != EINTR) return errno;
  }
}

// The keeper of the runmain in this folder, by the lock that it holds.
os::UniqueFd open_keeper(const std::string& runtime) {
  const pid_t pid = control::lock_holder(runtime + "/lock");
  return os::UniqueFd(pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1);
}

// Nobody answers for these any more.
int end_left(const LeftBehind& left, Terminal& terminal) {
  if (const auto ended = end_left_behind(left); !ended) {
    complain(terminal, ended.error());
    return kServiceFailed;
  }
  terminal.out << "down: its keeper was killed before; " << left.processes
               << (left.processes == 1 ? " process that lived on was ended\n"
                                       : " processes that lived on were ended\n");
  return kClean;
}

int run_down(const Options& options, Terminal& terminal) {
  int exit = kClean;
  if (const auto left = find_left_behind(options)) return end_left(*left, terminal);
  const Time deadline = options.deadline();
  auto session = Session::open(options, terminal, exit);
  if (!session) return exit;
  const os::UniqueFd keeper = open_keeper(session->runtime());
  const auto alive =
      session->ask("ping", Json::object(), std::min(deadline, control::deadline_after(kHeadSilentMax)), true);
  if (alive.ok()) {
    const auto answer = session->ask("down", Json::object(), deadline, true);
    // Its end may come before its answer.
    const bool ended = !answer.ok() && answer.error().code == ECONNRESET;
    if (!ended) exit = exit_of(answer, terminal);
    if (exit == kTimedOut) return exit;
  } else if (keeper) {
    syscall(SYS_pidfd_send_signal, keeper.get(), SIGTERM, nullptr, 0);
  } else {
    return exit_of(alive, terminal);
  }
  if (keeper && wait_for_end(keeper.get(), deadline) == ETIMEDOUT) {
    complain(terminal, Error{"not down in time", {}, "it goes on stopping; see `runmain status`"});
    return kTimedOut;
  }
  if (exit == kClean) terminal.out << "down\n";
  return exit;
}

}  // namespace

void add_down(CLI::App& app, Options& options) {
  CLI::App* command = add_command(app, options, "down", "Stop all services and end runmain",
                                  "  runmain down\n  runmain down --timeout 30s", run_down);
  add_timeout(command, options, "give up waiting after this (default: no limit)");
  add_place(command, options);
}

}  // namespace runmain::cli
