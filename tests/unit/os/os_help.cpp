#include "os_help.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>

#include "support/catch.hpp"

namespace runmain::os::test {

namespace {

constexpr int kGuardMs = 10'000;
constexpr unsigned kNobody = 65534;

}  // namespace

Spawner& spawner() {
  static Result<Spawner> made = Spawner::make();
  if (!made) FAIL(made.error().text());
  return *made;
}

Time now() {
  return Time(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
}

Pipe make_pipe() {
  std::array<int, 2> fds{};
  REQUIRE(::pipe2(fds.data(), O_CLOEXEC) == 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

Child::~Child() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  wait();
}

int Child::wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
  return status;
}

Child fork_child(const std::function<int()>& body) {
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) ::_exit(body());
  return Child(pid);
}

std::string in_child(bool drop_privileges, const std::function<std::string()>& body) {
  Pipe pipe = make_pipe();
  Child child = fork_child([&] {
    pipe.read.reset();
    if (drop_privileges && is_root() &&
        (::setgroups(0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)) {
      return 3;
    }
    const std::string said = body();
    return write_all(pipe.write.get(), said) ? 0 : 4;
  });
  pipe.write.reset();
  const auto said = read_all(pipe.read.get(), 1U << 20U);
  REQUIRE(said.ok());
  CHECK(child.wait() == 0);
  return *said;
}

std::string output_of(SpawnPlan plan) {
  Pipe pipe = make_pipe();
  plan.stdio[1] = pipe.write.get();
  const SpawnOutcome outcome = spawner().spawn(plan);
  INFO(outcome.detail);
  REQUIRE(outcome.pid > 0);
  Child child(outcome.pid);
  pipe.write.reset();
  const auto printed = read_all(pipe.read.get(), 1U << 20U);
  REQUIRE(printed.ok());
  child.wait();
  return *printed;
}

SpawnPlan plan_for(std::vector<std::string> argv) {
  SpawnPlan plan;
  plan.argv = std::move(argv);
  plan.env = {"PATH=/usr/local/bin:/usr/bin:/bin"};
  return plan;
}

bool wait_readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, kGuardMs) == 1;
}

bool at_end(int pipe) {
  pollfd p{pipe, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1 && (p.revents & (POLLIN | POLLHUP)) == POLLHUP;
}

TempFolder::TempFolder() {
  std::string name = "/tmp/runmain-test-XXXXXX";
  REQUIRE(::mkdtemp(name.data()) != nullptr);
  REQUIRE(::chmod(name.c_str(), 0755) == 0);
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempFolder::file(const std::string& name, const std::string& bytes, unsigned mode) const {
  const std::string at = path(name);
  const UniqueFd fd(::open(at.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  REQUIRE(fd);
  REQUIRE(write_all(fd.get(), bytes).ok());
  REQUIRE(::fchmod(fd.get(), mode) == 0);
  return at;
}

bool forbid_call(long number, int error, long first_argument) {
  const auto nr = static_cast<unsigned>(number);
  const auto first = static_cast<unsigned>(first_argument);
  const unsigned char any = first_argument < 0 ? 1 : 0;
  // Jumps count the instructions that are left out.
  std::array<sock_filter, 6> code = {{
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)},
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 3, nr},
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, args)},
      {BPF_JMP | BPF_JEQ | BPF_K, 0, static_cast<unsigned char>(any != 0 ? 0 : 1), first},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
  }};
  sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

void skip(const char* why) { WARN("skipped: " << why); }

std::string lacks(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos ? "" : "\"" + part + "\" in \"" + text + "\"";
}

bool is_root() { return ::geteuid() == 0; }

}  // namespace runmain::os::test
