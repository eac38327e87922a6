// runmain's own programs are replaced under load: by those of the next version and by the ones before, and
// not at all by programs that cannot take over.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>
#include <thread>

#include "support/job_shell.hpp"
#include "support/pools.hpp"
#include "support/span_counters.hpp"
#include "support/span_sink.hpp"

using namespace runmain::test;

namespace {

const std::string kBin = RUNMAIN_BIN_DIR;
const std::string kNext = kBin + "/next";  // tests/programs: the next version of the states
const std::vector<std::string> kPrograms{"runmain-keeper", "runmain-supervisor", "runmain-observer"};

int rounds() {
  const char* set = std::getenv("RUNMAIN_TEST_ROUNDS");
  return set == nullptr ? 6 : std::atoi(set);
}

std::string program_of(pid_t pid) {
  std::error_code none;
  return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe", none).string();
}

// What `runmain upgrade` of that folder would ask. The answer where it is refused, null where the head is
// replaced.
Json ask_upgrade(Supervised& up, const std::string& folder) {
  Control control(up.control_path());
  return control.request("upgrade", {{"folder", folder}});
}

// What runs, once no upgrade is under way.
Json settled(Supervised& up) {
  for (int n = 0; n < 3000; ++n) {
    const Json ping = up.request("ping");
    if (ping.contains("ok") && !ping["ok"]["upgrading"].get<bool>()) return ping["ok"];
    up.wait_output("never", std::chrono::milliseconds(10));
  }
  return nullptr;
}

// The next head.
pid_t upgrade(Supervised& up, const std::string& folder) {
  const Json refused = ask_upgrade(up, folder);
  INFO(refused.dump());
  CHECK(refused.is_null());
  const Json now = settled(up);
  INFO(now.dump());
  REQUIRE(now.is_object());
  CHECK(now["upgrade_error"] == "");
  CHECK(now["program"] == folder + "/runmain-supervisor");
  CHECK(program_of(up.keeper_pid()) == folder + "/runmain-keeper");
  return now["head_pid"];
}

bool observer_becomes(Supervised& up, const std::string& program) {
  for (int n = 0; n < 3000; ++n) {
    if (program_of(observer_of(up.keeper_pid())) == program) return true;
    up.wait_output("never", std::chrono::milliseconds(10));
  }
  return false;
}

// A folder with the programs, of which some are replaced afterwards.
class Programs {
 public:
  explicit Programs(const std::string& from = kBin) {
    for (const std::string& name : kPrograms) std::filesystem::copy_file(from + "/" + name, path(name));
  }
  std::string path(const std::string& name) const { return folder_.file(name); }
  const std::string& folder() const { return folder_.path(); }
  // An executable script in the place of a program.
  void script(const std::string& name, const std::string& text) const {
    std::filesystem::remove(path(name));
    std::ofstream(path(name)) << "#!/bin/sh\n" << text << '\n';
    std::filesystem::permissions(path(name), std::filesystem::perms::owner_all);
  }
  // The same program, but not byte by byte.
  void touch(const std::string& name) const { std::ofstream(path(name), std::ios::app) << 'x'; }

 private:
  Folder folder_;
};

}  // namespace

TEST_CASE("workers, sockets and the keeper's pid outlive upgrades forth and back under load") {
  Supervised up(pool(4, kNotify));
  up.start();
  REQUIRE(up.wait_ready());
  const auto workers = up.pids("web");
  const std::string address = up.address("web");
  pid_t head = up.head_pid();
  HttpLoad load(address, 2);
  for (int i = 0; i < rounds(); ++i) {
    const pid_t next = upgrade(up, i % 2 == 0 ? kNext : kBin);
    CHECK(next != head);
    head = next;
    load.wait_more(20);
    REQUIRE(up.pids("web") == workers);
  }
  no_request_lost(load);
  CHECK(up.address("web") == address);
  const Json status = up.status();
  CHECK(ready_generations(status) == std::vector<int>{1, 1, 1, 1});
  CHECK(up.stop() == 0);
  for (const pid_t pid : workers) CHECK_FALSE(alive(pid));
}

TEST_CASE("where the keeper is the same only the head is replaced") {
  Supervised up(pool(1, kNotify));
  up.start();
  REQUIRE(up.wait_ready());
  const Programs programs;
  const pid_t head = up.head_pid();
  ask_upgrade(up, programs.folder());
  CHECK(settled(up)["upgrade_error"] == "");
  CHECK(up.head_pid() != head);
  CHECK(program_of(up.head_pid()) == programs.path("runmain-supervisor"));
  CHECK(program_of(up.keeper_pid()) == kBin + "/runmain-keeper");
  CHECK(up.stop() == 0);
}

TEST_CASE("an upgrade in the middle of a roll goes on with the roll") {
  Supervised up(pool(3, kNotify + "watch = [\"code.txt\"]\nroll = { batch = 1, hold_last = \"0s\" }\n"));
  up.folder().write("code.txt", "1");
  up.start();
  REQUIRE(up.wait_ready());
  HttpLoad load(up.address("web"), 2);
  for (int i = 0; i < 4; ++i) {
    up.folder().write("code.txt", std::string(static_cast<std::size_t>(i) + 2, 'x'));
    REQUIRE(up.wait_event("reload.step", "web").is_object());
    upgrade(up, i % 2 == 0 ? kNext : kBin);
    const Json through = up.wait_status([&](const Json& status) { return all_ready(status, 3, i + 2); });
    REQUIRE(through.is_object());
  }
  no_request_lost(load);
  CHECK(up.stop() == 0);
}

TEST_CASE("what a worker prints and how it ends is told once, whoever is replaced meanwhile") {
  Supervised up(
      "[service.a]\ncommand = [\"@BIN@/t_child\", \"count\", \"30000\"]\nrestart = \"never\"\n"
      "[service.b]\ncommand = [\"@BIN@/t_child\", \"pause\"]\n");
  up.start();
  REQUIRE(up.wait_ready());
  Ran follower;
  std::thread follow([&] { follower = up.cli({"logs", "-f", "-n", "5000", "a"}); });
  std::mt19937 random(std::random_device{}());
  for (int i = 0; i < rounds(); ++i) {
    kill(up.head_pid(), SIGKILL);  // one that has lived for any time dies in between
    up.wait_output("never", std::chrono::milliseconds(random() % 50));
    upgrade(up, i % 2 == 0 ? kNext : kBin);
  }
  const pid_t b = up.pids("b")[0];
  kill(b, SIGKILL);
  const Json died =
      up.wait_event([&](const Json& e) { return e["type"] == "child.exited" && e["pid"] == b; });
  REQUIRE(died.is_object());
  CHECK(died["data"]["status"] == 9);
  CHECK(up.stop() == 0);
  follow.join();
  std::istringstream lines(follower.out);
  std::size_t expected = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t at = line.find("count ");
    if (at == std::string::npos) continue;
    const auto number = static_cast<std::size_t>(std::stoul(line.substr(at + 6)));
    if (expected != 0 && number != expected) FAIL("after " << expected - 1 << " came " << number);
    expected = number + 1;
  }
  CHECK(expected > 20);
}

TEST_CASE("programs that cannot take over are refused with the reason, and nothing changes") {
  Supervised up(pool(1, kNotify));
  up.start();
  REQUIRE(up.wait_ready());
  const auto workers = up.pids("web");
  const pid_t head = up.head_pid();
  struct Bad {
    const char* what;
    std::function<void(const Programs&)> make;
    const char* reason;
  };
  const std::vector<Bad> all{
      {"a keeper that is not there", [](const Programs& p) { unlink(p.path("runmain-keeper").c_str()); },
       "No such file"},
      {"a supervisor that is not there",
       [](const Programs& p) { unlink(p.path("runmain-supervisor").c_str()); }, "No such file"},
      {"an observer that may not be executed",
       [](const Programs& p) { chmod(p.path("runmain-observer").c_str(), 0644); }, "Permission denied"},
      {"another machine's",
       [](const Programs& p) {
         std::fstream file(p.path("runmain-keeper"), std::ios::in | std::ios::out | std::ios::binary);
         file.seekp(18).write("\xf3\x00", 2);  // e_machine: RISC-V
       },
       "Exec format error"},
      {"no program at all",
       [](const Programs& p) {
         std::ofstream(p.path("runmain-keeper"), std::ios::trunc) << std::string(100, '\0');
       },
       "Exec format error"},
      {"one that crashes", [](const Programs& p) { p.script("runmain-supervisor", "kill -SEGV $$"); },
       "it ended by signal 11"},
      {"one that says nothing", [](const Programs& p) { p.script("runmain-supervisor", "exit 0"); },
       "does not say what it is"},
      {"one that cannot read the state",
       [](const Programs& p) { p.script("runmain-keeper", "echo the state is too old >&2; exit 1"); },
       "the state is too old"},
      {"one of another kind",
       [](const Programs& p) { p.script("runmain-observer", "echo runmain-observer 0.0.1 protocol 1"); },
       "another kind"},
      {"a FIFO",
       [](const Programs& p) {
         unlink(p.path("runmain-keeper").c_str());
         mkfifo(p.path("runmain-keeper").c_str(), 0755);
       },
       "Permission denied"},
      {"one that hangs", [](const Programs& p) { p.script("runmain-keeper", "exec sleep 1000"); },
       "did not answer in time"},
  };
  for (const Bad& bad : all) {
    INFO(bad.what);
    const Programs programs;
    bad.make(programs);
    const Json refused = ask_upgrade(up, programs.folder());
    INFO(refused.dump());
    REQUIRE(refused.contains("error"));
    CHECK(refused["error"]["message"].get<std::string>().find(bad.reason) != std::string::npos);
    CHECK(up.head_pid() == head);
  }
  const std::string refused_at_once = ask_upgrade(up, "/" + std::string(5000, 'x')).dump();
  CHECK(refused_at_once.find("an absolute path of at most") != std::string::npos);
  const Json far = ask_upgrade(up, kBin + "/far");
  REQUIRE(far.contains("error"));
  CHECK(far["error"]["message"].get<std::string>().find("state is of version") != std::string::npos);
  CHECK(up.head_pid() == head);
  CHECK(up.pids("web") == workers);
  CHECK(up.stop() == 0);
}

TEST_CASE("a head that ends at once gives its place back to the one before") {
  Supervised up(pool(1, kNotify));
  up.start();
  REQUIRE(up.wait_ready());
  const Programs programs;
  const std::string real = kBin + "/runmain-supervisor";
  programs.script("runmain-supervisor", "[ \"$1\" = --check ] && exec " + real + " --check; exit 7");
  ask_upgrade(up, programs.folder());
  CHECK(settled(up)["upgrade_error"].get<std::string>().find("status 7") != std::string::npos);
  CHECK(program_of(up.head_pid()) == real);
  CHECK(get(up.address("web"), "/").ok);
  CHECK(up.stop() == 0);
}

TEST_CASE("spans go on through upgrades: what has ended arrives, once, and nothing is taken for cut") {
  Folder counters_folder;
  const std::string file = counters_folder.file("counters");
  spans::Counters* counters = spans::map_counters(file.c_str());
  REQUIRE(counters != nullptr);
  SpanSink sink;
  {
    Supervised up("[telemetry]\nendpoint = \"" + sink.endpoint() + "\"\n" +
                  pool(1, "", "exec @BIN@/t_spans " + file + " 4 1000"));
    up.start();
    REQUIRE(up.wait_ready());
    for (int i = 0; i < rounds(); ++i) {
      upgrade(up, i % 2 == 0 ? kNext : kBin);
      CHECK(observer_becomes(up, (i % 2 == 0 ? kNext : kBin) + "/runmain-observer"));
      const std::uint64_t ended = counters->rows[0].ended[0];
      while (counters->rows[0].ended[0] < ended + 20) up.wait_output("never", std::chrono::milliseconds(10));
    }
    CHECK(counters->used == 1);  // the same worker
    CHECK(up.stop() == 0);
  }
  for (unsigned t = 0; t < 4; ++t) {
    const auto streams = sink.streams();
    const auto found = streams.find({counters->rows[0].instance, t});
    REQUIRE(found != streams.end());
    CHECK(found->second.highest == counters->rows[0].ended[t]);
    CHECK(found->second.spans == found->second.highest);
  }
  CHECK(sink.bad() == 0);
}

TEST_CASE("SIGUSR2 is an upgrade to what is installed now") {
  const Programs programs;
  std::filesystem::copy_file(kBin + "/runmain", programs.path("runmain"));
  Supervised up(pool(1, kNotify));
  up.start(programs.folder());
  REQUIRE(up.wait_ready());
  const pid_t head = up.head_pid();
  for (const std::string& name : kPrograms) {
    std::filesystem::rename(programs.path(name), programs.path(name + ".old"));
    std::filesystem::copy_file(kNext + "/" + name, programs.path(name));
  }
  up.signal(SIGUSR2);
  CHECK(wait_gone(head));
  CHECK(settled(up)["upgrade_error"] == "");
  CHECK(up.head_pid() != head);
  CHECK(program_of(up.keeper_pid()) == programs.path("runmain-keeper"));
  CHECK(up.stop() == 0);
}

TEST_CASE("the terminal, its foreground and what is typed stay as they are through an upgrade") {
  JobShell shell(
      "[service.a]\ncommand = [\"@BIN@/t_child\", \"prompt\", \"? \", \"read-tty\", \"pause\"]\npty = true\n"
      "ready = { after = \"1ms\" }\n");
  REQUIRE(shell.shows("? "));
  const pid_t head = shell.head_pid();
  Control(shell.control_path()).request("upgrade", {{"folder", kNext}});
  REQUIRE(wait_gone(head));
  REQUIRE(shell.shows("upgraded to"));
  CHECK(program_of(shell.keeper_pid()) == kNext + "/runmain-keeper");
  shell.type("bob\r");
  CHECK(shell.shows("read: bob"));
  shell.type("\x1a");  // Ctrl-Z, and back
  REQUIRE(shell.shows("[stopped]"));
  CHECK(shell.comes_to_lines(true));
  shell.type("fg\n");
  REQUIRE(shell.comes_to_lines(false));
  shell.type("q");
  CHECK(shell.wait_end() == 0);
  CHECK(shell.comes_to_lines(true));
}

TEST_CASE("runmain upgrade says what became of it") {
  Supervised up(pool(1, kNotify));
  up.start();
  REQUIRE(up.wait_ready());
  const Ran done = up.cli({"upgrade"});
  INFO(done.out);
  CHECK(done.status == 0);
  CHECK(done.out.starts_with("upgraded: "));
  CHECK(done.out.find("keeper " + std::to_string(up.keeper_pid()) + " as before") != std::string::npos);
  CHECK(up.stop() == 0);
}
