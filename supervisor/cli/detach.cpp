#include "cli/detach.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/text.hpp"
#include "cli/load.hpp"
#include "cli/session.hpp"
#include "control/client.hpp"

namespace runmain::cli {
namespace {

constexpr std::chrono::minutes kReadyLimit{5};  // where --timeout says nothing
constexpr std::chrono::seconds kPatience{2};    // then it is told what is waited for
constexpr std::size_t kTailBytes = 4096;
constexpr std::size_t kSurvivorBytes = 64U << 10U;
constexpr int kAfterFailureMs = 300;
constexpr int kEndGraceMs = 10'000;  // from the keeper's last closed socket to its end

// In the child: only calls that are safe after fork. On failure the reason goes to the log.
[[noreturn]] void run_child(Launch& launch, int log) {
  setsid();
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null >= 0) dup2(null, STDIN_FILENO);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  const Error error = become_keeper(launch);
  const std::string line = "runmain: " + error.text() + "\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
  _exit(kUsage);
}

// What the new keeper has said of a run before, in its log: in its own lines, which have no time, before all
// others.
void show_survivors(Terminal& terminal, int log, off_t from) {
  constexpr std::string_view kKeeper = "runmain: ";
  const auto bytes = os::pread_some(log, kSurvivorBytes, static_cast<std::uint64_t>(from));
  if (!bytes.ok()) return;
  for (std::size_t at = 0; at < bytes->size();) {
    const std::size_t end = std::min(bytes->find('\n', at), bytes->size());
    const std::string_view line = std::string_view(*bytes).substr(at, end - at);
    at = end + 1;
    if (!line.starts_with(kKeeper)) return;
    terminal.out << printable(line.substr(kKeeper.size()), false) << '\n';
  }
}

void show_tail(Terminal& terminal, int log, off_t from) {
  struct stat st {};
  if (fstat(log, &st) != 0 || st.st_size <= from) return;
  const off_t cut = st.st_size - static_cast<off_t>(kTailBytes);
  const auto bytes = os::pread_some(log, kTailBytes, static_cast<std::uint64_t>(std::max(from, cut)));
  if (!bytes.ok()) return;
  for (std::size_t at = 0; at < bytes->size();) {
    const std::size_t end = std::min(bytes->find('\n', at), bytes->size());
    terminal.err << "  " << printable(std::string_view(*bytes).substr(at, end - at), false) << '\n';
    at = end + 1;
  }
  terminal.err.flush();
}

// The keeper's wait status once it has ended, nothing while it lives.
std::optional<int> ended(pid_t pid, int grace_ms) {
  int status = 0;
  if (waitpid(pid, &status, WNOHANG) == pid) return status;
  const os::UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  pollfd p{pidfd.get(), POLLIN, 0};
  if (grace_ms == 0 || poll(&p, 1, grace_ms) != 1) return std::nullopt;
  return waitpid(pid, &status, WNOHANG) == pid ? std::optional<int>(status) : std::nullopt;
}

struct Outcome {
  std::optional<int> ended;  // the keeper's wait status
  Result<Answer> answer;
};

// "web (starting), api (backoff)".
std::string not_ready_yet(control::Client& client, Time deadline) {
  const auto status = client.call("status", Json::object(), deadline);
  std::string names;
  if (!status.ok() || !status->ok || !status->value.contains("services")) return names;
  for (const Json& service : status->value["services"]) {
    const std::string state = control::text_of(service, "state");
    if (state == "ready" || state == "done" || state == "stopped") continue;
    names += (names.empty() ? "" : ", ") + control::text_of(service, "name") + " (" + state + ")";
  }
  return names;
}

// Asks to be told when all is ready; again if the supervisor is replaced meanwhile. Nobody is left in the
// dark for longer than kPatience.
Outcome wait_until_ready(const std::string& control, pid_t keeper, Time deadline, Terminal& terminal) {
  const std::int64_t patience = std::chrono::milliseconds(kPatience).count();
  std::string told;
  for (;;) {
    auto client = control::Client::connect(control, deadline);
    if (!client.ok()) return {ended(keeper, kEndGraceMs), client.error()};
    for (;;) {
      auto answer = client->call("wait", Json{{"timeout_ms", patience}}, deadline);
      const bool replaced = !answer.ok() && answer.error().code == ECONNRESET;
      if (replaced) {
        const auto status = ended(keeper, 0);
        if (status) return {status, std::move(answer)};
        break;
      }
      if (!answer.ok() || answer->ok || answer->code != control::kTimedOut)
        return {std::nullopt, std::move(answer)};
      const std::string names = not_ready_yet(*client, deadline);
      if (names.empty() || names == std::exchange(told, names)) continue;
      terminal.out << "waiting for " << printable(names, false) << std::endl;
    }
  }
}

}  // namespace

int start_detached(Launch launch, const Options& options, std::size_t services, Terminal& terminal) {
  const std::string log_path = launch.folders.log();
  const os::UniqueFd log(open(log_path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  struct stat st {};
  if (!log || fstat(log.get(), &st) != 0) {
    complain(terminal, Error::from_errno("open " + log_path, errno));
    return kUsage;
  }
  const pid_t keeper = fork();
  if (keeper == 0) run_child(launch, log.get());
  if (keeper < 0) {
    complain(terminal, Error::from_errno("fork", errno));
    return kServiceFailed;
  }
  const std::string control = launch.folders.control();
  launch = Launch{};  // ours must not keep the sockets and the lock alive
  const Time deadline = options.timeout_s > 0 ? options.deadline() : control::deadline_after(kReadyLimit);
  const Outcome outcome = wait_until_ready(control, keeper, deadline, terminal);
  if (outcome.ended) {
    const int status = *outcome.ended;
    const std::string how = WIFSIGNALED(status) ? "killed by signal " + std::to_string(WTERMSIG(status))
                                                : "status " + std::to_string(WEXITSTATUS(status));
    complain(terminal, Error{"it ended while starting (" + how + ")", {}, "its log: " + log_path});
    show_tail(terminal, log.get(), st.st_size);
    return kUsage;
  }
  const int exit = exit_of(outcome.answer, terminal);
  show_survivors(terminal, log.get(), st.st_size);
  if (exit == kClean) {
    terminal.out << "up: " << count_of_services(services) << " ready, pid " << keeper << ", log " << log_path
                 << '\n';
  } else {
    // Where nothing is left to run, it ends by itself.
    const bool over = ended(keeper, kAfterFailureMs).has_value();
    terminal.err << (over ? "  it has ended"
                          : "  it goes on in the background, pid " + std::to_string(keeper))
                 << ", log " << log_path << '\n';
  }
  return exit;
}

}  // namespace runmain::cli
