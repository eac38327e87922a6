#include "keeper/upgrade.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "keeper/check_line.hpp"

namespace runmain::keeper {
namespace {

constexpr std::string_view kKeeperName = "runmain-keeper";

// Not a FIFO, on which open(2) would wait.
os::UniqueFd open_regular(const std::string& path) {
  os::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat st {};
  if (fd && (fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode))) fd.reset();
  return fd;
}

// Byte by byte: times and inodes of an installed file say nothing.
bool same_content(const std::string& path, const std::string& other) {
  const os::UniqueFd a = open_regular(path);
  const os::UniqueFd b = open_regular(other);
  if (!a || !b) return false;
  constexpr std::size_t kPiece = 1U << 20U;
  for (std::uint64_t at = 0;; at += kPiece) {
    const auto left = os::pread_some(a.get(), kPiece, at);
    const auto right = os::pread_some(b.get(), kPiece, at);
    if (!left || !right || *left != *right) return false;
    if (left->size() < kPiece) return true;
  }
}

// The line of what was said that begins with the name: a loader may have said something, too.
std::string line_of(const std::string& said, const std::string& name) {
  for (std::size_t at = 0; at < said.size();) {
    const std::size_t end = std::min(said.find('\n', at), said.size());
    if (said.compare(at, name.size() + 1, name + " ") == 0) return said.substr(at, end - at) + "\n";
    at = end + 1;
  }
  return {};
}

std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const std::size_t at = text.rfind('\n');
  return at == std::string::npos ? text : text.substr(at + 1);
}

}  // namespace

std::string Upgrade::name() const {
  return step_ == Step::supervisor ? "runmain-supervisor"
         : step_ == Step::observer ? "runmain-observer"
                                   : std::string(kKeeperName);
}

void Upgrade::begin(const std::string& folder, os::UniqueFd state, int log, Time now) {
  folder_ = folder;
  state_ = std::move(state);
  log_ = log;
  kind_.clear();
  keeper_changed_ = !same_content("/proc/self/exe", program(kKeeperName));
  if (!keeper_changed_) kind_ = check_line({});
  start(keeper_changed_ ? Step::keeper : Step::supervisor, now);
}

void Upgrade::start(Step step, Time now) {
  step_ = step;
  was_late_ = false;
  deadline_ = now + kCheckTimeout;
  auto spawned = spawn(name(), step == Step::keeper ? state_.get() : log_);
  if (!spawned) refuse(spawned.error().message);
}

Result<void> Upgrade::spawn(const std::string& name, int memory) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::from_errno("pipe2", errno);
  output_.reset(ends[0]);
  const os::UniqueFd write_end(ends[1]);
  (void)os::set_nonblocking(output_.get(), true);
  const os::UniqueFd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  os::SpawnPlan plan;
  plan.argv = {program(name), "--check"};
  for (char** e = environ; *e != nullptr; ++e) plan.env.emplace_back(*e);
  plan.stdio = {null.get(), write_end.get(), write_end.get()};
  plan.fds = {memory};
  plan.parent_death_signal = SIGKILL;
  const os::SpawnOutcome outcome = spawner_.spawn(plan);
  if (outcome.pid <= 0) return Error{outcome.detail};
  pid_ = outcome.pid;
  return {};
}

std::string Upgrade::output() {
  std::string text(kCheckOutputMax, '\0');
  const ssize_t n = read(output_.get(), text.data(), text.size());
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  output_.reset();
  return text;
}

Result<void> Upgrade::judge(int status) {
  const std::string said = output();
  if (was_late_) return Error{"it did not answer in time"};
  if (WIFSIGNALED(status)) return Error{"it ended by signal " + std::to_string(WTERMSIG(status))};
  if (WEXITSTATUS(status) != 0) {
    const std::string why = last_line(said);
    return Error{why.empty() ? "it ended with status " + std::to_string(WEXITSTATUS(status)) : why};
  }
  const std::string line = line_of(said, name());
  if (line.empty()) return Error{"it does not say what it is, as one that can be upgraded to does"};
  const std::string kind = line.substr(name().size());
  if (kind_.empty()) kind_ = kind;
  if (kind != kind_)
    return Error{"it is of another kind than the keeper beside it (" + last_line(kind) + "; " +
                 last_line(kind_) + ")"};
  return {};
}

void Upgrade::died(int status, Time now) {
  pid_ = 0;
  if (step_ == Step::idle) return;  // cancelled
  auto good = judge(status);
  if (!good) return refuse(good.error().message);
  next(now);
}

void Upgrade::next(Time now) {
  if (step_ == Step::keeper) return start(Step::supervisor, now);
  if (step_ == Step::supervisor) return start(Step::observer, now);
  step_ = Step::ready;
}

void Upgrade::late(Time now) {
  if (pid_ == 0 || now < deadline_) return;
  was_late_ = true;
  deadline_ = kNever;
  kill(-pid_, SIGKILL);  // with what it has started: it leads a session
}

void Upgrade::cancel() {
  if (pid_ != 0) kill(-pid_, SIGKILL);
  finish();
}

void Upgrade::refuse(const std::string& why) {
  refusal_ = program(name()) + ": " + why;
  finish();
}

void Upgrade::finish() {
  step_ = Step::idle;
  state_.reset();
  output_.reset();
}

// Nobody else waits for a child meanwhile, so that its status is ours.
Result<void> Upgrade::check_keeper_now(int state) {
  step_ = Step::keeper;
  struct stat asked {};
  if (stat(program(name()).c_str(), &asked) != 0) return Error::from_errno("stat", errno);
  if (auto spawned = spawn(name(), state); !spawned) return spawned;
  const os::UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  pollfd p{pidfd.get(), POLLIN, 0};
  was_late_ = poll(&p, 1, static_cast<int>(to_ms(kLastCheckTimeout))) != 1;
  if (was_late_) kill(-pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
  if (auto good = judge(status); !good) return good;
  struct stat now {};
  const bool same = stat(program(name()).c_str(), &now) == 0 && now.st_dev == asked.st_dev &&
                    now.st_ino == asked.st_ino && now.st_size == asked.st_size &&
                    now.st_mtim.tv_sec == asked.st_mtim.tv_sec &&
                    now.st_mtim.tv_nsec == asked.st_mtim.tv_nsec;
  if (!same) return Error{"it was replaced while it was asked; ask again"};
  return {};
}

}  // namespace runmain::keeper
