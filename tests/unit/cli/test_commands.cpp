// Commands against a server with made-up data, in another thread; and `up` as far as it goes without a
// keeper.
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "../control/fake_backend.hpp"
#include "cli/launch.hpp"
#include "control/paths.hpp"
#include "core/machine.hpp"
#include "drive/journal.hpp"
#include "os/linux/sockets.hpp"
#include "run_cli.hpp"
#include "support/catch.hpp"

namespace runmain::cli {
namespace {

// A head without a keeper, for commands that name it with --runtime-dir.
class Head {
 public:
  explicit Head(const std::function<void(control::FakeBackend&)>& prepare = nullptr) {
    if (prepare) prepare(world_.backend);
    world_.backend.on_command = [this](std::uint64_t request) { world_.server.answered(request, fault_); };
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    stop_read_.reset(ends[0]);
    stop_write_.reset(ends[1]);
    thread_ = std::thread([this] {
      const auto stop =
          world_.loop.poll(stop_read_.get(), os::kReadable, [this](int) { world_.loop.stop(); });
      world_.loop.run();
    });
  }
  ~Head() { stop(); }
  Head(const Head&) = delete;
  Head& operator=(const Head&) = delete;

  void answer_with(const std::string& fault) { fault_ = fault; }
  Ran run(std::vector<std::string> args) {
    args.insert(args.end(),
                {"--runtime-dir", world_.folder.path(), "-c", world_.folder.path() + "/supervisor.toml"});
    return run_cli(args);
  }
  // Ends the thread; what the backend saw may be looked at afterwards.
  control::FakeBackend& stop() {
    stop_write_.reset();
    if (thread_.joinable()) thread_.join();
    return world_.backend;
  }

 private:
  control::World world_;
  std::string fault_;
  os::UniqueFd stop_read_;
  os::UniqueFd stop_write_;
  std::thread thread_;
};

std::string write_file(const control::Folder& folder, const std::string& name, const std::string& text) {
  const std::string path = folder.path() + "/" + name;
  std::ofstream(path) << text;
  return path;
}

TEST_CASE("status shows a table, or JSON that programs read") {
  Head head;
  const Ran table = head.run({"status"});
  CHECK(table.exit == kClean);
  CHECK(table.out.find("NAME") == 0);
  CHECK(table.out.find("127.0.0.1:8000") != std::string::npos);
  const Ran json = head.run({"status", "--json"});
  CHECK(json.exit == kClean);
  CHECK(control::Json::parse(json.out)["services"].size() == 2);
}

TEST_CASE("where nothing runs every command that asks says so, exit 3") {
  const control::Folder folder;
  const std::vector<std::vector<std::string>> commands{
      {"status"},         {"down"},          {"start", "web"},         {"stop", "--all"},
      {"restart", "web"}, {"reload", "web"}, {"signal", "web", "HUP"}, {"logs"},
      {"events"},         {"why", "web"},    {"scale", "web=2"},       {"status", "--check"},
      {"traces"}};
  for (auto args : commands) {
    args.insert(args.end(), {"--runtime-dir", folder.path()});
    const Ran ran = run_cli(args);
    INFO(args.front());
    CHECK(ran.exit == kNothingRuns);
    CHECK(ran.err.find("nothing runs for ") != std::string::npos);
    CHECK(ran.out.empty());
  }
}

TEST_CASE("commands say what they did, and fail with the reason") {
  Head head;
  CHECK(head.run({"restart", "web", "db"}).out == "restarted: web\nrestarted: db\n");
  CHECK(head.run({"stop", "--all"}).out == "stopped: all services\n");
  CHECK(head.run({"signal", "web", "USR1"}).exit == kClean);
  const auto& seen = head.stop().commanded;
  REQUIRE(seen.size() == 3);
  CHECK(seen[0].services.size() == 2);
  CHECK(seen[1].services.empty());
  CHECK(seen[2].signal == SIGUSR1);
}

TEST_CASE("a command that fails exits 1, a name that is not known exits 2") {
  Head head;
  head.answer_with("web: exited with status 1");
  const Ran failed = head.run({"start", "web"});
  CHECK(failed.exit == kServiceFailed);
  CHECK(failed.err == "runmain: web: exited with status 1\n");
  const Ran unknown = head.run({"start", "wbe"});
  CHECK(unknown.exit == kUsage);
  CHECK(unknown.err == "runmain: no service \"wbe\"\n  hint: did you mean \"web\"?\n");
  const Ran no_name = head.run({"start"});
  CHECK(no_name.exit == kUsage);
  const Ran no_signal = head.run({"signal", "web", "TRM"});
  CHECK(no_signal.exit == kUsage);
  CHECK(no_signal.err.find("did you mean \"TERM\"?") != std::string::npos);
}

TEST_CASE("scale asks for each service, and for at least one worker") {
  Head head;
  CHECK(head.run({"scale", "web=4", "db=1"}).out == "scaled: web, 4 workers\nscaled: db, 1 worker\n");
  for (const char* wrong : {"web", "web=", "=4", "web=four", "web=4x", "web=0", "web=-1"}) {
    CAPTURE(wrong);
    const Ran ran = head.run({"scale", "db=2", wrong});
    CHECK(ran.exit == kUsage);
    CHECK(ran.err.find("hint: ") != std::string::npos);
  }
  CHECK(head.run({"scale", "wbe=2"}).exit == kUsage);
  const auto& seen = head.stop().commanded;
  REQUIRE(seen.size() == 2);  // nothing is done where a wish is wrong
  CHECK(seen[0].verb == core::CommandVerb::scale);
  CHECK(seen[0].services == std::vector<ServiceId>{ServiceId{0}});
  CHECK(seen[0].number == 4);
  CHECK(seen[1].number == 1);
}

TEST_CASE("a reload that fails shows the last lines of what failed") {
  Head head([](control::FakeBackend& backend) {
    core::Fact fact;
    fact.type = core::FactType::reload_failed;
    fact.service = ServiceId{0};
    fact.generation = 2;
    fact.time = Time::max();
    backend.state.services[0].history = {fact};
    backend.lines = {control::log_line_of("boom\x1b[2J")};
  });
  head.answer_with("web: exited with status 1");
  const Ran ran = head.run({"reload", "web", "--canary", "1"});
  CHECK(ran.exit == kServiceFailed);
  CHECK(ran.err.find("runmain: web: exited with status 1\n  web | boom") == 0);
  CHECK(ran.err.find('\x1b') == std::string::npos);
  const auto& seen = head.stop();
  CHECK(seen.commanded.at(0).number == 1);
  CHECK(seen.words_of == ChildKey{ServiceId{0}, kNoSlot, 2, 0});
}

TEST_CASE("status --check is silent when all is well, and says in a line what is not") {
  Head well([](control::FakeBackend& backend) {
    for (auto& service : backend.state.services) service.wanted_workers = service.serving_workers = 2;
    backend.state.services[1].state = core::ServiceState::stopped;
  });
  const Ran good = well.run({"status", "--check"});
  CHECK(good.exit == kClean);
  CHECK(good.out + good.err == "");
  const Ran named = well.run({"status", "--check", "web", "db"});
  CHECK(named.exit == kServiceFailed);
  CHECK(named.err == "runmain: db is stopped, 2 of 2 workers serve\n");
  CHECK(well.run({"status", "--check", "wbe"}).err == "runmain: no service \"wbe\"\n");
  CHECK(well.run({"status", "web"}).exit == kUsage);
  Head ill([](control::FakeBackend& backend) {
    backend.state.services[0].wanted_workers = 4;
    backend.state.services[0].serving_workers = 3;
    backend.state.services[1].wanted_workers = backend.state.services[1].serving_workers = 1;
  });
  const Ran bad = ill.run({"status", "--check"});
  CHECK(bad.exit == kServiceFailed);
  CHECK(bad.out.empty());
  CHECK(bad.err == "runmain: web is ready, 3 of 4 workers serve\n");
  CHECK(ill.run({"status", "--check", "db"}).exit == kClean);
  Head ended([](control::FakeBackend& backend) {
    backend.state.services[0].wanted_workers = 4;
    backend.state.services[0].serving_workers = 1;
    backend.state.services[0].done_workers = 3;
    backend.state.services[1].state = core::ServiceState::done;
    backend.state.services[1].wanted_workers = backend.state.services[1].done_workers = 2;
  });
  CHECK(ended.run({"status", "--check"}).err == "runmain: web is ready, 1 of 4 workers serve, 3 are done\n");
  CHECK(ended.run({"status"}).out.find("1 of 4 workers serve, 3 are done") != std::string::npos);
}

TEST_CASE("scale hands any number on: what is too many is for the supervisor to say") {
  Head head;
  CHECK(head.run({"scale", "web=3000000000"}).exit == kClean);
  CHECK(head.run({"scale", "web=99999999999999999999999"}).exit == kClean);
  for (const char* wrong : {"web=-1", "web=", "web=2x", "web=99999999999999999999999x"})
    CHECK(head.run({"scale", wrong}).exit == kUsage);
  const auto& seen = head.stop();
  REQUIRE(seen.commanded.size() == 2);
  CHECK(seen.commanded[0].number == 3000000000U);
  CHECK(seen.commanded[1].number == ~0U);
}

TEST_CASE("a port that is taken names who has it, before anything is started") {
  const control::Folder folder;
  const os::Address any{os::AddressKind::tcp, "127.0.0.1", 0, {}};
  const auto taken = os::open_listener(any);
  REQUIRE(taken);
  const std::string port = std::to_string(os::port_of(*taken));
  const Ran ran = run_cli({"serve", "--listen", "127.0.0.1:" + port, "--runtime-dir", folder.path() + "/r",
                           "--state-dir", folder.path() + "/s", "--", "true"});
  CHECK(ran.exit == kUsage);
  CHECK(ran.err.find("port " + port + " is in use by pid " + std::to_string(getpid())) != std::string::npos);
}

TEST_CASE("a command that takes too long exits 4") {
  const control::Folder folder;
  const auto silent = control::listen_at(folder.path() + "/control", 0600);
  REQUIRE(silent.ok());
  const Ran ran = run_cli({"restart", "web", "--timeout", "30ms", "--runtime-dir", folder.path()});
  CHECK(ran.exit == kTimedOut);
  CHECK(ran.err == "runmain: no answer in time\n");
}

TEST_CASE("logs and events are shown line by line") {
  Head head([](control::FakeBackend& backend) {
    backend.lines = {control::log_line_of("one"), control::log_line_of("two")};
  });
  CHECK(head.run({"logs"}).out == "web | one\nweb | two\n");
  CHECK(head.run({"logs", "-n", "1", "web"}).out == "web | two\n");
  const Ran json = head.run({"logs", "-n", "1", "--json"});
  CHECK(control::Json::parse(json.out)["text"] == "two");
  CHECK(head.run({"events"}).exit == kClean);
  CHECK(head.run({"logs", "wbe"}).exit == kUsage);
}

TEST_CASE("why knows its service") {
  Head head;
  const Ran ran = head.run({"why", "web"});
  CHECK(ran.exit == kClean);
  CHECK(ran.out.find("web: ready for ") == 0);
  CHECK(head.run({"why", "wbe"}).exit == kUsage);
}

TEST_CASE("check tells how many services there are, or every fault, exit 2") {
  const control::Folder folder;
  const std::string good = write_file(
      folder, "good.toml", "[service.web]\ncommand = \"true\"\n[service.db]\ncommand = \"true\"\n");
  const Ran ok = run_cli({"check", good});
  CHECK(ok.exit == kClean);
  CHECK(ok.out == "ok: 2 services\n");
  const std::string bad =
      write_file(folder, "bad.toml", "[service.web]\ncomand = \"true\"\nworkers = \"two\"\n");
  const Ran faults = run_cli({"check", "-c", bad});
  CHECK(faults.exit == kUsage);
  CHECK(faults.out.empty());
  CHECK(faults.err.find("bad.toml:2:1") != std::string::npos);
  CHECK(faults.err.find("bad.toml:3:") != std::string::npos);
  CHECK(run_cli({"check", folder.path() + "/none.toml"}).exit == kUsage);
}

TEST_CASE("up refuses what it cannot start before it starts anything") {
  const control::Folder folder;
  const std::string runtime = folder.path() + "/run";
  const std::string bad = write_file(folder, "bad.toml", "[service.web]\ncomand = \"true\"\n");
  CHECK(run_cli({"up", "-c", bad, "--runtime-dir", runtime}).exit == kUsage);
  const std::string good = write_file(folder, "good.toml", "[service.web]\ncommand = \"true\"\n");
  const Ran unknown = run_cli({"up", "-c", good, "--runtime-dir", runtime, "wbe"});
  CHECK(unknown.exit == kUsage);
  CHECK(unknown.err.find("did you mean \"web\"?") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(runtime));
}

TEST_CASE("a journal that is replayed reaches the same states, and a changed one does not") {
  const control::Folder folder;
  const std::string path = folder.path() + "/run.journal";
  core::Configured configured;
  core::ServiceSpec web;
  web.name = "web";
  web.command.argv = {"true"};
  configured.desired.services = {web};
  {
    const os::UniqueFd fd(open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
    drive::JournalWriter writer(fd.get());
    core::Machine machine(7);
    core::Output output;
    REQUIRE(writer.begin(7).ok());
    machine.handle(configured, Time(std::chrono::seconds(1)), output);
    REQUIRE(writer.append(1, Time(std::chrono::seconds(1)), 0, configured, machine.digest()).ok());
    REQUIRE(writer.append(2, Time(std::chrono::seconds(2)), 0, core::Signalled{SIGTERM}, 0x1234).ok());
  }
  const Ran differs = run_cli({"replay", path});
  CHECK(differs.exit == kServiceFailed);
  CHECK(differs.err.find(path + ":3: signal.received leads to state ") != std::string::npos);
  CHECK(differs.err.find("the journal has 0000000000001234") != std::string::npos);
  CHECK(differs.err.find("\"type\":\"signal.received\"") != std::string::npos);
  std::string lines;
  {
    std::ifstream file(path);
    std::getline(file, lines, static_cast<char>(0));
  }
  const std::string without_last = lines.substr(0, lines.find('\n', lines.find('\n') + 1) + 1);
  std::ofstream(path) << without_last;
  const Ran same = run_cli({"replay", path});
  CHECK(same.exit == kClean);
  CHECK(same.out == "ok: 1 events, 1 states compared\n");
  CHECK(run_cli({"replay", folder.path() + "/none"}).exit == kUsage);
}

}  // namespace
}  // namespace runmain::cli
