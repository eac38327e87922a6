#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <sstream>

#include "os/linux/proc.hpp"
#include "os/linux/process_tree.hpp"
#include "os/linux/sockets.hpp"
#include "os/linux/spawn.hpp"
#include "os_help.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::os;
using namespace runmain::os::test;

namespace {

SpawnOutcome failure_of(const SpawnPlan& plan) {
  SpawnOutcome outcome = spawner().spawn(plan);
  if (outcome.pid > 0) Child unexpected(outcome.pid);
  CHECK(outcome.pid == 0);
  return outcome;
}

// "Name:\tvalue" lines of /proc/PID/status as the started program itself sees them.
std::map<std::string, std::string> status_of_cat(SpawnPlan plan) {
  plan.argv = {"cat", "/proc/self/status"};
  std::istringstream lines(output_of(std::move(plan)));
  std::map<std::string, std::string> out;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(":\t");
    if (colon != std::string::npos) out[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return out;
}

// A cat that has answered once, so that its loader has finished with its own fds.
struct RunningCat {
  Child child;
  Pipe in;
  Pipe out;
};

RunningCat start_cat(SpawnPlan plan, Spawner& by) {
  Pipe in = make_pipe();
  Pipe out = make_pipe();
  plan.argv = {"cat"};
  plan.stdio[0] = in.read.get();
  plan.stdio[1] = out.write.get();
  const SpawnOutcome outcome = by.spawn(plan);
  if (outcome.pid <= 0) return {Child(0), {}, {}};
  in.read.reset();
  out.write.reset();
  char c = 'x';
  const bool answered = ::write(in.write.get(), &c, 1) == 1 && ::read(out.read.get(), &c, 1) == 1;
  return {Child(answered ? outcome.pid : 0), std::move(in), std::move(out)};
}

std::map<int, std::string> fds_of(pid_t pid) {
  std::map<int, std::string> out;
  any_fd_of(pid, [&out](int fd, std::string_view link) {
    out[fd] = std::string(link);
    return false;
  });
  return out;
}

std::string socket_link(int fd) { return "socket:[" + std::to_string(inode_of(fd)) + "]"; }

// 1,000 fds that are not close-on-exec; fewer where the hard limit does not allow them.
std::vector<UniqueFd> many_fds() {
  struct rlimit limit {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 4096);
  ::setrlimit(RLIMIT_NOFILE, &limit);
  std::vector<UniqueFd> many;
  const rlim_t count = std::min<rlim_t>(1'000, limit.rlim_cur - 300);
  while (many.size() < count) many.emplace_back(::dup(1));
  return many;
}

// "ok", or what is wrong with the fds of a child that was given two sockets.
std::string audit_fds(Spawner& by) {
  auto pair = make_socketpair(SOCK_STREAM);
  if (!pair) return "socketpair";
  SpawnPlan plan = plan_for({});
  plan.fds = {pair->first.get(), pair->second.get()};
  const RunningCat cat = start_cat(plan, by);
  if (cat.child.pid() <= 0) return "not started";
  const auto fds = fds_of(cat.child.pid());
  if (fds.size() != 5) return std::to_string(fds.size()) + " fds";
  if (fds.at(3) != socket_link(pair->first.get())) return "fd 3 is " + fds.at(3);
  if (fds.at(4) != socket_link(pair->second.get())) return "fd 4 is " + fds.at(4);
  return fds.at(0).rfind("pipe:", 0) == 0 ? "ok" : "stdin is " + fds.at(0);
}

}  // namespace

TEST_CASE("a program that is not there is an exec failure with ENOENT, by path and by PATH") {
  SpawnOutcome by_path = failure_of(plan_for({"./no-such-program"}));
  CHECK(by_path.stage == SpawnStage::exec);
  CHECK(by_path.error == ENOENT);
  CHECK(by_path.detail == "exec ./no-such-program: No such file or directory");
  SpawnOutcome by_name = failure_of(plan_for({"no-such-program"}));
  CHECK(by_name.error == ENOENT);
  CHECK(lacks(by_name.detail, "not in PATH=/usr/local/bin:/usr/bin:/bin") == "");
}

TEST_CASE("a file that is not executable is EACCES with advice, also when found in PATH") {
  const TempFolder folder;
  const std::string path = folder.file("tool", "#!/bin/sh\n", 0644);
  const SpawnOutcome direct = failure_of(plan_for({path}));
  CHECK(direct.stage == SpawnStage::exec);
  CHECK(direct.error == EACCES);
  CHECK(lacks(direct.detail, "chmod +x") == "");
  SpawnPlan plan;
  plan.argv = {"tool"};
  plan.env = {"PATH=" + folder.path() + ":/no/such/folder"};
  CHECK(failure_of(plan).error == EACCES);
  CHECK(lacks(failure_of(plan_for({folder.path()})).detail, "it is a folder") == "");
}

TEST_CASE("a later folder of PATH is tried after a file that is not executable") {
  const TempFolder folder;
  folder.file("true", "", 0644);
  SpawnPlan plan;
  plan.argv = {"true"};
  plan.env = {"PATH=" + folder.path() + "::/usr/bin:/bin"};
  CHECK(output_of(plan).empty());
}

TEST_CASE("a file that is no program is ENOEXEC and is not given to a shell") {
  const TempFolder folder;
  const std::string path = folder.file("garbage", "echo hello\n", 0755);
  const SpawnOutcome outcome = failure_of(plan_for({path}));
  CHECK(outcome.stage == SpawnStage::exec);
  CHECK(outcome.error == ENOEXEC);
  CHECK(lacks(outcome.detail, "#!") == "");
}

TEST_CASE("a script with a missing interpreter names the interpreter") {
  const TempFolder folder;
  const std::string path = folder.file("run", "#! /usr/bin/pythn -u\nprint(1)\n", 0755);
  const SpawnOutcome outcome = failure_of(plan_for({path}));
  CHECK(outcome.stage == SpawnStage::exec);
  CHECK(outcome.error == ENOENT);
  CHECK(outcome.detail == "exec " + path + ": its interpreter /usr/bin/pythn does not exist");
  SpawnPlan relative = plan_for({"./run"});
  relative.cwd = folder.path();
  CHECK(lacks(failure_of(relative).detail, "its interpreter /usr/bin/pythn") == "");
  const std::string dos = folder.file("dos", "#!/bin/sh\r\necho\r\n", 0755);
  CHECK(lacks(failure_of(plan_for({dos})).detail, "its interpreter /bin/sh\\r does not exist") == "");
}

TEST_CASE("a program whose loader is missing names the loader") {
  const TempFolder folder;
  std::string program = *read_file("/proc/self/exe", 1U << 30U);
  const std::size_t at = program.find("/lib64/ld-linux");
  if (at == std::string::npos) return skip("this test program has another loader; nothing to patch");
  program.replace(at, 6, "/lib6X");
  const std::string path = folder.file("foreign", program, 0755);
  CHECK(lacks(failure_of(plan_for({path})).detail, "its interpreter /lib6X/ld-linux") == "");
}

TEST_CASE("a program that somebody writes to is ETXTBSY") {
  const TempFolder folder;
  const std::string path = folder.file("busy", *read_file("/bin/true", 1U << 24U), 0755);
  const UniqueFd writer(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  const SpawnOutcome outcome = failure_of(plan_for({path}));
  CHECK(outcome.stage == SpawnStage::exec);
  CHECK(outcome.error == ETXTBSY);
}

TEST_CASE("arguments beyond what the kernel takes are E2BIG") {
  const SpawnOutcome outcome = failure_of(plan_for({"true", std::string(1U << 20U, 'x')}));
  CHECK(outcome.stage == SpawnStage::exec);
  CHECK(outcome.error == E2BIG);
}

TEST_CASE("an unknown working folder is a failure of the stage cwd") {
  SpawnPlan plan = plan_for({"true"});
  plan.cwd = "/no/such/folder";
  const SpawnOutcome outcome = failure_of(plan);
  CHECK(outcome.stage == SpawnStage::cwd);
  CHECK(outcome.error == ENOENT);
  CHECK(outcome.detail == "chdir /no/such/folder: No such file or directory");
}

TEST_CASE("a limit that the kernel refuses is named") {
  SpawnPlan plan = plan_for({"true"});
  plan.limits = {{RLIMIT_NOFILE, {RLIM_INFINITY, RLIM_INFINITY}}};
  const SpawnOutcome outcome = failure_of(plan);
  CHECK(outcome.stage == SpawnStage::limits);
  CHECK(outcome.error == EPERM);
  CHECK(lacks(outcome.detail, "setrlimit nofile") == "");
}

TEST_CASE("a user that one may not become is a failure of the stage user") {
  spawner();
  const std::string said = in_child(true, [] {
    SpawnPlan plan = plan_for({"true"});
    plan.set_user = true;
    const SpawnOutcome outcome = spawner().spawn(plan);
    return std::to_string(static_cast<int>(outcome.stage)) + " " + std::to_string(outcome.error) + " " +
           outcome.detail;
  });
  CHECK(lacks(said, std::to_string(static_cast<int>(SpawnStage::user)) + " " + std::to_string(EPERM)) == "");
  CHECK(lacks(said, "user 0") == "");
}

TEST_CASE("without privileges one can still become oneself") {
  spawner();
  const std::string said = in_child(true, [] {
    SpawnPlan plan = plan_for({"true"});
    plan.set_user = true;
    plan.uid = ::getuid();
    plan.gid = ::getgid();
    std::vector<gid_t> groups(64);
    groups.resize(static_cast<std::size_t>(::getgroups(64, groups.data())));
    plan.groups = {groups.begin(), groups.end()};
    const SpawnOutcome outcome = spawner().spawn(plan);
    if (outcome.pid > 0) Child(outcome.pid).wait();
    return outcome.pid > 0 ? std::string("started") : outcome.detail;
  });
  CHECK(said == "started");
}

TEST_CASE("no process may be made: a failure of the stage fork with EAGAIN") {
  if (!is_root()) return skip("needs root to lower the limit of a user without processes");
  spawner();
  const std::string said = in_child(true, [] {
    const struct rlimit none {};
    if (::setrlimit(RLIMIT_NPROC, &none) != 0) return std::string("setrlimit");
    const SpawnOutcome outcome = spawner().spawn(plan_for({"true"}));
    return std::to_string(static_cast<int>(outcome.stage)) + " " + std::to_string(outcome.error);
  });
  CHECK(said == std::to_string(static_cast<int>(SpawnStage::fork)) + " " + std::to_string(EAGAIN));
}

TEST_CASE("a bad fd is a failure of the stage resources, before anything is started") {
  SpawnPlan plan = plan_for({"true"});
  plan.fds = {99'999};
  CHECK(failure_of(plan).stage == SpawnStage::resources);
  CHECK(failure_of(plan).error == EBADF);
  plan.fds.assign(kSpawnFdsMax + 1, 1);
  CHECK(failure_of(plan).stage == SpawnStage::resources);
  plan.fds.assign(kSpawnFdsMax, 1);
  CHECK(output_of(plan).empty());
  CHECK(failure_of(SpawnPlan{}).error == EINVAL);
}

TEST_CASE("a failed start leaves no child, no fd and no changed signal mask") {
  spawner();
  const std::size_t before = fds_of(::getpid()).size();
  sigset_t mask_before;
  ::sigprocmask(SIG_BLOCK, nullptr, &mask_before);
  failure_of(plan_for({"./no-such-program"}));
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
  CHECK(errno == ECHILD);
  CHECK(fds_of(::getpid()).size() == before);
  sigset_t mask_after;
  ::sigprocmask(SIG_BLOCK, nullptr, &mask_after);
  for (int signal = 1; signal < 32; ++signal) {
    CHECK(sigismember(&mask_before, signal) == sigismember(&mask_after, signal));
  }
}

TEST_CASE("a child has stdio and its listeners and nothing else, with 1,000 fds open here") {
  Spawner& by = spawner();
  const std::vector<UniqueFd> many = many_fds();
  REQUIRE(many.back());
  CHECK(audit_fds(by) == "ok");
}

TEST_CASE("the same where the kernel has no close_range") {
  const std::string said = in_child(false, [] {
    if (!forbid_call(SYS_close_range, ENOSYS)) return std::string("seccomp");
    auto by = Spawner::make();
    if (!by) return by.error().text();
    const std::vector<UniqueFd> many = many_fds();
    const std::string audit = audit_fds(*by);
    const SpawnOutcome failed = by->spawn(plan_for({"./no-such-program"}));
    return failed.error == ENOENT ? audit : "failure was not told: " + failed.detail;
  });
  CHECK(said == "ok");
}

TEST_CASE("stdio that the caller does not have itself is /dev/null in the child") {
  spawner();
  const std::string said = in_child(false, [] {
    ::close(0);
    Pipe pipe = make_pipe();  // takes number 0, which is then closed again
    SpawnPlan plan = plan_for({"readlink", "/proc/self/fd/0"});
    UniqueFd write(::fcntl(pipe.write.get(), F_DUPFD_CLOEXEC, 200));
    UniqueFd read(::fcntl(pipe.read.get(), F_DUPFD_CLOEXEC, 200));
    pipe = Pipe{};
    plan.stdio[1] = write.get();
    const SpawnOutcome outcome = spawner().spawn(plan);
    write.reset();
    std::string printed = *read_all(read.get(), 1000);
    if (outcome.pid > 0) Child(outcome.pid).wait();
    return outcome.detail + printed;
  });
  CHECK(said == "/dev/null\n");
}

TEST_CASE("a second Spawner is made on the same numbers, but not over an fd that is in use") {
  spawner();
  CHECK(Spawner::make().ok());
  const std::string said = in_child(false, [] {
    const Pipe pipe = make_pipe();
    if (::dup3(pipe.read.get(), 70, O_CLOEXEC) < 0) return std::string("dup3");
    const auto made = Spawner::make();
    return made ? std::string("made") : made.error().text();
  });
  CHECK(lacks(said, "fd 70") == "");
}

TEST_CASE("signal actions and the mask are clean in the child, and ours stay") {
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  struct sigaction pipe_before {};
  struct sigaction usr1_before {};
  struct sigaction real_time_before {};
  REQUIRE(::sigaction(SIGPIPE, &ignore, &pipe_before) == 0);
  REQUIRE(::sigaction(SIGUSR1, &ignore, &usr1_before) == 0);
  REQUIRE(::sigaction(SIGRTMAX, &ignore, &real_time_before) == 0);
  sigset_t block;
  sigset_t mask_before;
  sigemptyset(&block);
  sigaddset(&block, SIGTERM);
  sigaddset(&block, SIGUSR2);
  REQUIRE(::sigprocmask(SIG_BLOCK, &block, &mask_before) == 0);
  auto status = status_of_cat(plan_for({}));
  sigset_t mask_now;
  ::sigprocmask(SIG_SETMASK, &mask_before, &mask_now);
  struct sigaction pipe_now {};
  ::sigaction(SIGRTMAX, &real_time_before, nullptr);
  ::sigaction(SIGUSR1, &usr1_before, nullptr);
  ::sigaction(SIGPIPE, &pipe_before, &pipe_now);
  CHECK(status["SigBlk"] == "0000000000000000");
  CHECK(status["SigIgn"] == "0000000000000000");
  CHECK(sigismember(&mask_now, SIGTERM) == 1);
  CHECK(sigismember(&mask_now, SIGHUP) == 0);
  CHECK(pipe_now.sa_handler == SIG_IGN);
}

TEST_CASE("pid variables hold the child's own pid without leading zeros, others are left alone") {
  SpawnPlan plan = plan_for({"sh", "-c", "echo $$; env"});
  plan.env.insert(plan.env.end(), {"LISTEN_PID=0000000000", "RUNMAIN_TOKEN=1:web:0:1:abc:0000000000",
                                   "OTHER=0000000000", "SHORT=000"});
  plan.pid_variables = {"LISTEN_PID", "RUNMAIN_TOKEN", "SHORT", "ABSENT"};
  const std::string printed = output_of(plan);
  const std::string pid = printed.substr(0, printed.find('\n'));
  CHECK(lacks(printed, "LISTEN_PID=" + pid + "\n") == "");
  CHECK(lacks(printed, "RUNMAIN_TOKEN=1:web:0:1:abc:" + pid + "\n") == "");
  CHECK(lacks(printed, "OTHER=0000000000\n") == "");
  CHECK(lacks(printed, "SHORT=000\n") == "");
}

TEST_CASE("umask, limits and working folder are the child's own") {
  SpawnPlan plan = plan_for({"sh", "-c", "umask; ulimit -n; ulimit -c; pwd"});
  plan.umask = 027;
  plan.limits = {{RLIMIT_NOFILE, {20, 30}}, {RLIMIT_CORE, {0, 0}}};
  plan.cwd = "/proc";
  CHECK(output_of(plan) == "0027\n20\n0\n/proc\n");
}

TEST_CASE("user, group and supplementary groups are exactly the given ones") {
  if (!is_root()) return skip("needs root");
  SpawnPlan plan = plan_for({});
  plan.set_user = true;
  plan.uid = 65534;
  plan.gid = 65533;
  plan.groups = {65532, 65531};
  auto status = status_of_cat(plan);
  CHECK(status["Uid"] == "65534\t65534\t65534\t65534");
  CHECK(status["Gid"] == "65533\t65533\t65533\t65533");
  CHECK(lacks(status["Groups"], "65531 65532") == "");
  CHECK(status["CapEff"] == "0000000000000000");
}

TEST_CASE("a child leads its own session, or stays in the caller's") {
  SpawnPlan plan = plan_for({});
  auto status = status_of_cat(plan);
  CHECK(status["NSsid"] == status["Pid"]);
  CHECK(status["NSpgid"] == status["Pid"]);
  plan.new_session = false;
  status = status_of_cat(plan);
  CHECK(status["NSsid"] == std::to_string(::getsid(0)));
}

TEST_CASE("a child dies with its parent, also after a change of user") {
  spawner();
  Pipe life = make_pipe();
  Pipe ready = make_pipe();
  Child parent = fork_child([&] {
    ready.read.reset();
    life.read.reset();
    SpawnPlan plan = plan_for({"sleep", "1000"});
    plan.fds = {life.write.get()};
    plan.parent_death_signal = SIGKILL;
    plan.set_user = is_root();
    plan.uid = 65534;
    plan.gid = 65534;
    const SpawnOutcome outcome = spawner().spawn(plan);
    life.write.reset();
    if (outcome.pid <= 0 || !write_all(ready.write.get(), "r")) return 1;
    ::pause();
    return 0;
  });
  life.write.reset();
  ready.write.reset();
  REQUIRE(read_all(ready.read.get(), 0).error().code == EFBIG);  // one byte: the child runs
  CHECK_FALSE(at_end(life.read.get()));
  ::kill(parent.pid(), SIGKILL);
  CHECK(wait_readable(life.read.get()));
  CHECK(at_end(life.read.get()));
}

TEST_CASE("the tag is inherited through setsid, double fork and exec") {
  TagSource tags;
  SpawnPlan plan = plan_for({"sh", "-c",
                             "cat /proc/self/limits; setsid sh -c '(cat /proc/self/limits; "
                             "sh -c \"cat /proc/self/limits\" &) &'"});
  plan.tag = tags.next();
  const std::string printed = output_of(plan);
  std::size_t found = 0;
  for (std::size_t at = 0; (at = printed.find(std::to_string(plan.tag) + " ", at)) != std::string::npos; ++at)
    ++found;
  CHECK(found == 6);  // soft and hard, three times
}

TEST_CASE("300 starts in a row leave no fd and no mapping behind") {
  Spawner& by = spawner();
  const SpawnPlan plan = plan_for({"true"});
  const std::size_t before = fds_of(::getpid()).size();
  for (int i = 0; i < 300; ++i) {
    const SpawnOutcome outcome = by.spawn(plan);
    REQUIRE(outcome.pid > 0);
    REQUIRE(Child(outcome.pid).wait() == 0);
  }
  CHECK(fds_of(::getpid()).size() == before);
}
