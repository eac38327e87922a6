#include "job_shell.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace runmain::test {
namespace {

void say(const std::string& text) { (void)!write(1, text.data(), text.size()); }

std::string read_line() {
  std::string line;
  for (char byte = 0; read(0, &byte, 1) == 1 && byte != '\n';) line.push_back(byte);
  return line;
}

// As `… | cat`: what is written to stdout from here on goes there. It is nobody's child, and Ctrl-C does not
// end it.
void pipe_through_cat() {
  int ends[2];
  if (pipe(ends) != 0) _exit(126);
  const pid_t between = fork();
  if (between == 0) {
    if (fork() != 0) _exit(0);
    signal(SIGINT, SIG_IGN);
    dup2(ends[0], 0);
    close(ends[0]);
    close(ends[1]);
    execlp("cat", "cat", nullptr);
    _exit(127);
  }
  waitpid(between, nullptr, 0);
  dup2(ends[1], 1);
  close(ends[0]);
  close(ends[1]);
}

}  // namespace

JobShell::JobShell(std::string toml, Start start) {
  for (const auto& [what, by] : {std::pair<std::string, std::string>{"@BIN@", RUNMAIN_BIN_DIR},
                                 std::pair<std::string, std::string>{"@DIR@", folder_.path()}}) {
    for (std::size_t at = 0; (at = toml.find(what, at)) != std::string::npos; at += by.size())
      toml.replace(at, what.size(), by);
  }
  folder_.write("supervisor.toml", toml);
  folder_.write("src/one", "1");
  winsize size{};
  size.ws_col = 100;
  size.ws_row = 30;
  shell_ = forkpty(&terminal_, nullptr, nullptr, &size);
  if (shell_ == 0) be_shell(start);
  if (!shows("[job ")) return;
  if (!shows("]")) return;
  const std::size_t at = screen_.find("[job ") + 5;
  keeper_ = std::atoi(screen_.c_str() + at);
}

// A session leader that gives its terminal away and takes it back (tcsetpgrp(3)), as shells do.
void JobShell::be_shell(Start start) const {
  signal(SIGTTOU, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  termios own{};
  tcgetattr(0, &own);
  const pid_t job = fork();
  if (job == 0) {
    setpgid(0, 0);
    signal(SIGINT, SIG_DFL);
    while (start != Start::background && tcgetpgrp(1) != getpid()) tcsetpgrp(1, getpid());
    signal(SIGTTOU, SIG_DFL);
    if (start == Start::piped) pipe_through_cat();
    if (start == Start::without_stdin) dup2(open("/dev/null", O_RDONLY), 0);
    const std::string program = std::string(RUNMAIN_BIN_DIR) + "/runmain";
    execl(program.c_str(), program.c_str(), "up", "-c", folder_.file("supervisor.toml").c_str(),
          "--runtime-dir", folder_.file("run").c_str(), "--state-dir", folder_.file("state").c_str(),
          nullptr);
    _exit(127);
  }
  setpgid(job, job);
  say("[job " + std::to_string(job) + "]\n");
  for (int status = 0; waitpid(job, &status, WUNTRACED) == job;) {
    tcsetpgrp(1, getpid());
    if (!WIFSTOPPED(status)) {
      say("[ended " + std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)) +
          "]\n");
      pause();
    }
    say("[stopped]\n");
    while (read_line() != "fg") say("[what?]\n");
    tcsetpgrp(1, job);
    kill(-job, SIGCONT);
  }
  _exit(1);
}

JobShell::~JobShell() {
  if (keeper_ > 0 && alive(keeper_)) {
    kill(keeper_, SIGCONT);
    kill(keeper_, SIGTERM);
    wait_gone(keeper_);
  }
  if (terminal_ >= 0) close(terminal_);
  if (shell_ <= 0) return;
  kill(shell_, SIGKILL);
  waitpid(shell_, nullptr, 0);
}

pid_t JobShell::head_pid() const {
  for (const pid_t child : children_of(keeper_)) {
    std::ifstream in("/proc/" + std::to_string(child) + "/comm");
    std::string name;
    if (in >> name && name == "runmain-supervi") return child;
  }
  return -1;
}

void JobShell::type(const std::string& bytes) const { (void)!write(terminal_, bytes.data(), bytes.size()); }

bool JobShell::shows(const std::string& text) {
  for (;;) {
    const std::size_t at = screen_.find(text, seen_);
    if (at != std::string::npos) {
      seen_ = at + text.size();
      return true;
    }
    pollfd p{terminal_, POLLIN, 0};
    char buffer[4096];
    if (poll(&p, 1, static_cast<int>(std::chrono::milliseconds(kGuard).count())) <= 0) return false;
    const ssize_t n = read(terminal_, buffer, sizeof buffer);
    if (n <= 0) return false;
    screen_.append(buffer, static_cast<std::size_t>(n));
  }
}

termios JobShell::modes() const {
  termios now{};
  tcgetattr(terminal_, &now);
  return now;
}

bool JobShell::comes_to_lines(bool lines) const {
  const auto end = std::chrono::steady_clock::now() + kGuard;
  while (((modes().c_lflag & ICANON) != 0) != lines) {
    if (std::chrono::steady_clock::now() > end) return false;
    poll(nullptr, 0, 1);
  }
  return true;
}

int JobShell::wait_end() {
  if (!shows("[ended ")) return -1;
  const std::size_t from = seen_;
  return shows("]") ? std::atoi(screen_.c_str() + from) : -1;
}

void JobShell::hang_up() {
  close(terminal_);
  terminal_ = -1;
}

void JobShell::resize(unsigned short columns, unsigned short rows) const {
  winsize size{};
  size.ws_col = columns;
  size.ws_row = rows;
  ioctl(terminal_, TIOCSWINSZ, &size);
}

bool JobShell::reaches_control() const {
  const auto end = std::chrono::steady_clock::now() + kGuard;
  while (!Control(control_path()).connected()) {
    if (std::chrono::steady_clock::now() > end) return false;
    poll(nullptr, 0, 1);
  }
  return true;
}

Json JobShell::request(const std::string& verb, Json args) const {
  Control control(control_path());
  return control.request(verb, std::move(args));
}

Ran JobShell::cli(std::vector<std::string> arguments) const {
  std::vector<std::string> argv = {std::string(RUNMAIN_BIN_DIR) + "/runmain", arguments[0]};
  for (const char* more : {"-c", "supervisor.toml", "--runtime-dir", "run", "--state-dir", "state"})
    argv.emplace_back(more);
  argv.insert(argv.end(), arguments.begin() + 1, arguments.end());
  return run(argv, folder_.path());
}

}  // namespace runmain::test
