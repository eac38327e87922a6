#include "cli/programs.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>

#include "os/linux/fd.hpp"

extern char** environ;

namespace runmain::cli {
namespace {

constexpr std::size_t kAnswerMax = 64U << 20U;
constexpr std::size_t kWidthMost = 110;  // sentences longer than that are hard to read

volatile std::sig_atomic_t running = 0;  // the program that we wait for

void pass_on(int number) {
  if (running > 0) kill(static_cast<pid_t>(running), number);
}

}  // namespace

Result<std::string> find_program(const std::string& name) {
  char self[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self);
  if (n <= 0) return Error::from_errno("read /proc/self/exe", errno);
  const std::string path(self, static_cast<std::size_t>(n));
  const std::string folder = path.substr(0, path.rfind('/'));
  const std::string above = folder.substr(0, folder.rfind('/'));
  const std::string beside = folder + "/" + name;
  const std::string installed = above + "/libexec/runmain/" + name;
  if (access(beside.c_str(), X_OK) == 0) return beside;
  if (access(installed.c_str(), X_OK) == 0) return installed;
  return Error{name + " is missing", {}, "looked for " + beside + " and " + installed, ENOENT};
}

Result<ProgramAnswer> run_program(const std::string& program, const std::vector<std::string>& args) {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::from_errno("pipe2", errno);
  const os::UniqueFd in(ends[0]);
  os::UniqueFd out(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out.get(), STDOUT_FILENO);
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int failed = posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return Error::from_errno("run " + program, failed);
  // It ends what it has started, and then itself; Ctrl-C may reach it twice.
  running = pid;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) std::signal(number, pass_on);
  out.reset();
  auto text = os::read_all(in.get(), kAnswerMax);
  ProgramAnswer answer;
  while (waitpid(pid, &answer.status, 0) < 0 && errno == EINTR) {
  }
  if (!text) return text.error();
  answer.text = std::move(*text);
  return answer;
}

int show_report(const Options& options, Terminal& terminal, const std::string& program,
                const ProgramAnswer& answer,
                const std::function<std::string(const control::Json&, std::size_t width)>& text) {
  const control::Json report = control::Json::parse(answer.text, nullptr, false);
  if (!report.is_object()) {
    complain(terminal, Error{program + " ended without a report"});
    return kServiceFailed;
  }
  const std::size_t width = terminal.width == 0 ? 0 : std::min(terminal.width, kWidthMost);
  terminal.out << (options.json ? answer.text : text(report, width));
  if (const auto fault = report.find("fault"); fault != report.end()) {
    terminal.out.flush();
    complain(terminal, Error{control::text_of(*fault, "message"), {}, control::text_of(*fault, "hint")});
  }
  return WIFEXITED(answer.status) ? WEXITSTATUS(answer.status) : kSignalled + WTERMSIG(answer.status);
}

}  // namespace runmain::cli
