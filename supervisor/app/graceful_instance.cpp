#include "app/graceful_instance.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "base/text.hpp"
#include "os/linux/proc.hpp"
#include "os/linux/spawn.hpp"
#include "os/loop/loop.hpp"

extern char** environ;

namespace runmain::app {
namespace {

constexpr std::size_t kLinesKept = 40;
constexpr std::size_t kLineMax = 2000;
constexpr int kLookMs = 5;
constexpr Duration kKillMax = std::chrono::seconds(10);

constexpr std::size_t kPlaceMax = 60;  // bytes: a socket's path below it has room for 107

std::vector<pid_t> children() {
  const std::string self = std::to_string(getpid());
  const std::string text = os::proc_text(("/proc/self/task/" + self + "/children").c_str(), 1U << 16U);
  std::vector<pid_t> pids;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    if (const auto pid = os::parse_number(std::string_view(text).substr(at, end - at)))
      pids.push_back(static_cast<pid_t>(*pid));
    at = end + 1;
  }
  return pids;
}

void pause_ms(int ms) { (void)poll(nullptr, 0, ms); }

}  // namespace

GracefulInstance::~GracefulInstance() {
  if (pid_ != 0) stop(std::chrono::seconds(3));
  output_.reset();
}

Result<void> GracefulInstance::start(const std::string& runmain, const std::vector<std::string>& args) {
  auto spawner = os::Spawner::make();
  if (!spawner) return spawner.error();
  auto folder = os::TemporaryFolder::make("runmain-graceful", {}, kPlaceMax);
  if (!folder) return folder.error();
  folder_ = std::move(*folder);
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::from_errno("pipe2", errno);
  output_.reset(ends[0]);
  const os::UniqueFd out(ends[1]);
  const os::UniqueFd nothing(open("/dev/null", O_RDONLY | O_CLOEXEC));
  os::SpawnPlan child;
  child.argv = {runmain, "serve", "--runtime-dir", runtime(), "--state-dir", folder_.path() + "/state"};
  child.argv.insert(child.argv.end(), args.begin(), args.end());
  for (char** entry = environ; *entry != nullptr; ++entry) child.env.emplace_back(*entry);
  child.stdio = {nothing.get(), out.get(), out.get()};
  child.parent_death_signal = SIGTERM;
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  const os::SpawnOutcome outcome = spawner->spawn(child);
  if (outcome.pid <= 0) return Error{outcome.detail, {}, {}, outcome.error};
  pid_ = outcome.pid;
  reader_ = std::thread([this] { read_output(); });
  return {};
}

void GracefulInstance::read_output() {
  std::string pending;
  char bytes[16384];
  for (;;) {
    const ssize_t n = read(output_.get(), bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    pending.append(bytes, static_cast<std::size_t>(n));
    for (std::size_t end = pending.find('\n'); end != std::string::npos; end = pending.find('\n')) {
      take_line(pending.substr(0, end));
      pending.erase(0, end + 1);
    }
    if (pending.size() > kLineMax) pending.resize(kLineMax);
  }
  if (!pending.empty()) take_line(pending);
}

void GracefulInstance::take_line(std::string line) {
  line.resize(std::min(line.size(), kLineMax));
  // Python, Node, and what strerror(3) says.
  if (line.find("ddress already in use") != std::string::npos || line.find("EADDRINUSE") != std::string::npos)
    says_in_use_ = true;
  const std::lock_guard lock(mutex_);
  lines_.push_back(printable(line, false));
  if (lines_.size() > kLinesKept) lines_.pop_front();
}

std::vector<std::string> GracefulInstance::last_lines() {
  const std::lock_guard lock(mutex_);
  return {lines_.begin(), lines_.end()};
}

bool GracefulInstance::lives() {
  for (;;) {
    const pid_t pid = waitpid(-1, nullptr, WNOHANG);
    if (pid <= 0) return !ended_ && pid_ != 0;
    ended_ = ended_ || pid == pid_;
  }
}

bool GracefulInstance::kill_orphans() {
  bool killed = false;
  const Time deadline = os::Loop::now() + kKillMax;
  while (os::Loop::now() < deadline) {
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    const auto left = children();
    if (left.empty()) return killed;
    // Children of ours that we have not waited for: no pid of them can be somebody else's by now.
    for (const pid_t pid : left) kill(pid, SIGKILL);
    killed = true;
    pause_ms(kLookMs);
  }
  return killed;
}

bool GracefulInstance::stop(Duration limit) {
  if (pid_ == 0) return true;
  const Time deadline = os::Loop::now() + limit;
  if (lives()) kill(pid_, SIGTERM);
  while (lives() && os::Loop::now() < deadline) pause_ms(kLookMs);
  const bool killed = kill_orphans();
  pid_ = 0;
  if (reader_.joinable()) reader_.join();
  return !killed;
}

}  // namespace runmain::app
