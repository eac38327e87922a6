// Many processes at once, commands that overtake each other, pid 1, a terminal that is closed.
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <thread>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

std::string many(int count) {
  std::string toml;
  for (int i = 0; i < count; ++i) {
    toml += "[service.s" + std::to_string(i) +
            "]\ncommand = [\"@BIN@/t_child\", \"pause\"]\nready = { after = \"1ms\" }\n";
  }
  return toml;
}

std::size_t zombies_of(pid_t parent) {
  std::size_t count = 0;
  for (const pid_t child : children_of(parent)) count += alive(child) ? 0 : 1;
  return count;
}

// Reads a terminal until `text` was there or it is closed.
bool read_until(int fd, std::string& all, const std::string& text) {
  while (all.find(text) == std::string::npos) {
    pollfd p{fd, POLLIN, 0};
    char buffer[4096];
    if (poll(&p, 1, 20'000) <= 0) return false;
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n <= 0) return false;
    all.append(buffer, static_cast<std::size_t>(n));
  }
  return true;
}

// `runmain up` on a terminal of its own. Under nohup(1): SIGHUP is ignored, and `output` is where it prints.
struct OnTerminal {
  Folder folder;
  int terminal = -1;
  int output = -1;
  pid_t pid = -1;
  std::string shown;

  explicit OnTerminal(const std::string& toml, bool nohup = false) {
    folder.write("supervisor.toml", toml);
    int ends[2] = {-1, -1};
    if (nohup && pipe2(ends, O_CLOEXEC) != 0) FAIL("pipe2");
    pid = forkpty(&terminal, nullptr, nullptr, nullptr);
    if (pid != 0) {
      output = ends[0];
      if (nohup) close(ends[1]);
      return;
    }
    if (nohup) {
      signal(SIGHUP, SIG_IGN);
      for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) dup2(ends[1], fd);
    }
    const std::string program = std::string(RUNMAIN_BIN_DIR) + "/runmain";
    execl(program.c_str(), program.c_str(), "up", "-c", folder.file("supervisor.toml").c_str(),
          "--runtime-dir", folder.file("run").c_str(), "--state-dir", folder.file("state").c_str(), nullptr);
    _exit(127);
  }
  ~OnTerminal() {
    if (terminal >= 0) close(terminal);
    if (output >= 0) close(output);
    if (pid > 0) kill(pid, SIGKILL);
    if (pid > 0) waitpid(pid, nullptr, 0);
  }
  int wait_exit() {
    const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    pollfd both[2] = {{fd, POLLIN, 0}, {terminal, POLLIN, 0}};
    char buffer[4096];
    while (poll(both, terminal >= 0 ? 2 : 1, 30'000) > 0 && (both[0].revents & POLLIN) == 0) {
      if (read(terminal, buffer, sizeof buffer) <= 0) both[1].fd = -1;
    }
    close(fd);
    int status = 0;
    if (waitpid(pid, &status, WNOHANG) != pid) return -1;
    pid = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
};

}  // namespace

TEST_CASE("200 children that die in the same moment are all told and all restarted, and none is a zombie") {
  Supervised up(many(200));
  up.start();
  REQUIRE(up.wait_ready());
  std::vector<pid_t> pids;
  const Json before = up.status();
  for (const Json& s : before["services"]) pids.push_back(s["workers"][0]["pid"].get<int>());
  REQUIRE(pids.size() == 200);
  for (const pid_t pid : pids) kill(pid, SIGKILL);
  const Json after = up.wait_status([](const Json& status) {
    for (const Json& s : status["services"]) {
      if (s["restarts"] != 1 || s["state"] != "ready") return false;
    }
    return true;
  });
  REQUIRE(after.is_object());
  CHECK(zombies_of(up.keeper_pid()) == 0);
  CHECK(up.stop() == 0);
}

TEST_CASE("a hundred commands in parallel end in the state of the last one, with one child") {
  Supervised up("[service.a]\ncommand = [\"@BIN@/t_child\", \"pause\"]\nready = { after = \"1ms\" }\n");
  up.start();
  REQUIRE(up.wait_ready());
  std::vector<std::thread> clients;
  for (int i = 0; i < 100; ++i) {
    clients.emplace_back([&up, i] {
      Control control(up.control_path());
      control.request(i % 4 == 0   ? "stop"
                      : i % 4 == 1 ? "start"
                      : i % 4 == 2 ? "restart"
                                   : "reload",
                      {{"services", {"a"}}});
    });
  }
  for (std::thread& client : clients) client.join();
  CHECK(up.cli({"start", "a"}).status == 0);
  const Json a = up.service("a");
  REQUIRE(a.is_object());
  CHECK(a["state"] == "ready");
  CHECK(a["workers"].size() == 1);
  // The keeper's children are the head, the observer and this one.
  CHECK(children_of(up.keeper_pid()).size() == 3);
}

TEST_CASE("SIGTERM while everything is starting ends it with 0 and leaves nothing") {
  Supervised up(many(100));
  up.start();
  REQUIRE(up.wait_event("child.started").is_object());
  CHECK(up.stop(SIGTERM) == 0);
}

TEST_CASE("Ctrl-C at a terminal reaches each child exactly once, by us, and ends with 0") {
  OnTerminal up(
      "[service.a]\nshell = true\nstop = { signal = \"INT\" }\nrestart = \"never\"\n"
      "command = \"trap 'echo got one; exit 0' INT; echo set; while :; do read x < /dev/null; done\"\n");
  REQUIRE(read_until(up.terminal, up.shown, "set"));
  REQUIRE(write(up.terminal, "\x03", 1) == 1);
  REQUIRE(read_until(up.terminal, up.shown, "nothing is left"));
  CHECK(up.wait_exit() == 0);
  const std::size_t first = up.shown.find("got one");
  CHECK(first != std::string::npos);
  CHECK(up.shown.find("got one", first + 1) == std::string::npos);
}

TEST_CASE("a terminal that is closed ends everything") {
  OnTerminal up(std::string("[service.a]\ncommand = [\"") + RUNMAIN_BIN_DIR +
                "/t_child\", \"print\", \"here\", \"pause\"]\n");
  REQUIRE(read_until(up.terminal, up.shown, "ready"));
  const std::vector<pid_t> children = children_of(up.pid);
  REQUIRE(children.size() == 3);
  close(up.terminal);
  up.terminal = -1;
  CHECK(up.wait_exit() != -1);
  for (const pid_t child : children) CHECK(wait_gone(child));
}

TEST_CASE("under nohup a terminal that is closed ends nothing, and SIGHUP still means: read again") {
  OnTerminal up(std::string("[service.a]\ncommand = [\"") + RUNMAIN_BIN_DIR +
                    "/t_child\", \"print\", \"here\", \"pause\"]\n",
                true);
  REQUIRE(read_until(up.output, up.shown, "ready"));
  close(up.terminal);  // the kernel sends SIGHUP before this returns
  up.terminal = -1;
  const Ran asked =
      run({std::string(RUNMAIN_BIN_DIR) + "/runmain", "status", "-c", up.folder.file("supervisor.toml"),
           "--runtime-dir", up.folder.file("run"), "--state-dir", up.folder.file("state")});
  CHECK(asked.status == 0);
  CHECK(asked.out.find("ready") != std::string::npos);
  up.shown.clear();
  kill(up.pid, SIGHUP);
  CHECK(read_until(up.output, up.shown, "here"));
  kill(up.pid, SIGTERM);
  CHECK(up.wait_exit() == 0);
}

TEST_CASE("as pid 1 it reaps strangers and ends the namespace cleanly") {
  if (geteuid() != 0) FAIL("this test makes a pid namespace: run it as root");
  Folder folder;
  folder.write("supervisor.toml",
               std::string("[service.a]\ncommand = [\"") + RUNMAIN_BIN_DIR +
                   "/t_child\", \"double-fork-grandchild\", \"print\", \"born\", \"pause\"]\n");
  const std::string runmain = std::string(RUNMAIN_BIN_DIR) + "/runmain";
  const std::string files = " -c " + folder.file("supervisor.toml") + " --runtime-dir " + folder.file("run") +
                            " --state-dir " + folder.file("state");
  // A stranger: an orphan of a process that entered the namespace beside us; it exits with 3, which means
  // nothing.
  const std::string script = "(" + runmain + " status" + files + " >/dev/null; until " + runmain + " status" +
                             files + " 2>/dev/null | grep -q ready; do :; done; (sh -c 'exit 3' &); " +
                             runmain + " status" + files + "; " + runmain + " down" + files + ") & exec " +
                             runmain + " up" + files;
  const Ran ran = run({"/usr/bin/unshare", "--pid", "--fork", "--mount-proc", "/bin/sh", "-c", script});
  CAPTURE(ran.out);
  CHECK(ran.status == 0);
  CHECK(ran.out.find("born") != std::string::npos);
  CHECK(ran.out.find("nothing is left") != std::string::npos);
}

// The kernel is told which pid to give next, so the stranger surely has the dead child's.
TEST_CASE("a stranger that got the pid of a dead child is never signalled, by no command and no head") {
  if (geteuid() != 0) FAIL("this test makes a pid namespace: run it as root");
  Folder folder;
  folder.write("supervisor.toml", std::string("[service.a]\ncommand = [\"") + RUNMAIN_BIN_DIR +
                                      "/t_child\", \"pause\"]\nready = { after = \"1ms\" }\n");
  folder.write("script", "R=" + std::string(RUNMAIN_BIN_DIR) + "/runmain; F='-c " +
                             folder.file("supervisor.toml") + " --runtime-dir " + folder.file("run") +
                             " --state-dir " + folder.file("state") + R"RUN('
$R up $F & up=$!
wait_for() { until $R status --json $F 2>/dev/null | tr -d ' ' | grep -q "$1"; do :; done; }
wait_for '"state":"ready"'
old=$($R status --json $F | tr -d ' ' | grep -o '"pid":[0-9]*' | tail -1 | cut -d: -f2)
kill -9 $old
wait_for '"restarts":1'
wait_for '"state":"ready"'
echo $((old - 1)) > /proc/sys/kernel/ns_last_pid; sleep 1000 & stranger=$!
[ $stranger = $old ] && echo the pid came again
$R signal a HUP $F; $R restart a $F; $R stop a $F; $R start a $F
for p in /proc/[0-9]*; do [ "$(cat $p/comm 2>/dev/null)" = runmain-supervi ] && kill -9 ${p#/proc/}; done
wait_for '"state":"ready"'
$R restart a $F; $R down $F; wait $up
kill $stranger && echo the stranger lived to the end
)RUN");
  const Ran ran =
      run({"/usr/bin/unshare", "--pid", "--fork", "--mount-proc", "/bin/sh", folder.file("script")});
  CAPTURE(ran.out);
  CHECK(ran.out.find("the pid came again") != std::string::npos);
  CHECK(ran.out.find("nothing is left") != std::string::npos);
  CHECK(ran.out.find("the stranger lived to the end") != std::string::npos);
}

TEST_CASE("notify: READY counts, a stranger's message does not, and BARRIER is closed after it was handled") {
  Supervised up(R"(
[service.a]
command = ["@BIN@/t_child", "env", "NOTIFY_SOCKET", "print", "waiting", "pause"]
ready = { notify = true, timeout = "60s" }
[service.b]
command = ["@BIN@/t_child", "ready", "pause"]
ready = { notify = true }
)");
  up.start();
  REQUIRE(up.wait_output("waiting"));
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][1]["state"] == "ready"; }).is_object());
  const std::size_t at = up.output().find("NOTIFY_SOCKET=@");
  REQUIRE(at != std::string::npos);
  const std::string name = up.output().substr(at + 15, up.output().find('\n', at) - at - 15);
  const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + 1, name.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  for (const std::string& text : {std::string("READY=1"), std::string(), std::string(60000, 'x')}) {
    sendto(fd, text.data(), text.size(), 0, reinterpret_cast<const sockaddr*>(&address), length);
  }
  close(fd);
  CHECK(up.wait_output("ignoring"));
  CHECK(up.service("a")["state"] == "starting");
}
