#include "app/doctor_guard.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <utility>

#include "os/linux/process_tree.hpp"
#include "os/loop/loop.hpp"

namespace runmain::app {
namespace {

constexpr Duration kKillMax = std::chrono::seconds(5);

[[noreturn]] void guard(int end, std::uint64_t tag, const std::string& folder) {
  // Ctrl-C is for the doctor; it reaches its whole group.
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGPIPE}) std::signal(number, SIG_IGN);
  // Whoever reads what the doctor writes must not wait for us.
  const os::UniqueFd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(nothing.get(), fd);
  char byte = 0;
  while (read(end, &byte, 1) < 0 && errno == EINTR) {
  }
  if (tag != 0) kill_tree(tag, nullptr, nullptr);
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  _exit(0);
}

}  // namespace

void kill_tree(std::uint64_t tag, void (*between)(void*), void* argument) {
  os::TreeKiller killer;
  killer.add(tag, os::Loop::now() + kKillMax);
  while (!killer.idle()) {
    if (between != nullptr) between(argument);
    (void)killer.step(os::Loop::now());
    (void)poll(nullptr, 0, 1);
  }
}

Result<DoctorGuard> DoctorGuard::start(std::uint64_t tag, const std::string& folder) {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::from_errno("pipe2", errno);
  const os::UniqueFd theirs(ends[0]);
  DoctorGuard made;
  made.alive_.reset(ends[1]);
  made.pid_ = fork();
  if (made.pid_ < 0) return Error::from_errno("fork", errno);
  if (made.pid_ == 0) {
    made.alive_.reset();
    guard(theirs.get(), tag, folder);
  }
  return made;
}

DoctorGuard::~DoctorGuard() {
  alive_.reset();
  if (pid_ <= 0) return;
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

DoctorGuard::DoctorGuard(DoctorGuard&& other) noexcept
    : alive_(std::move(other.alive_)), pid_(std::exchange(other.pid_, 0)) {}

DoctorGuard& DoctorGuard::operator=(DoctorGuard&& other) noexcept {
  std::swap(alive_, other.alive_);
  std::swap(pid_, other.pid_);
  return *this;
}

}  // namespace runmain::app
