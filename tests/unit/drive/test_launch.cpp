#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>

#include "base/archive.hpp"
#include "base/env_file.hpp"
#include "base/identity.hpp"
#include "drive/account.hpp"
#include "drive/launch.hpp"
#include "os/linux/fd.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;

namespace {

const std::string kSecret = "0123456789abcdef";

struct Fixture {
  core::ServiceSpec spec;
  LaunchInput in;

  Fixture() {
    spec.name = "web";
    spec.command.argv = {"./server"};
    spec.cwd = "/srv";
    in.spec = &spec;
    in.key = {ServiceId{1}, 1, 4, 2};
    in.environment = {"PATH=/bin:/usr/bin", "HOME=/home/me"};
    in.secret = kSecret;
    in.channel = "@channel";
  }
  keeper::SpawnChild good() {
    Launch launch = plan(in);
    if (const auto* refused = std::get_if<keeper::RefuseSpawn>(&launch)) FAIL(refused->detail);
    return std::get<keeper::SpawnChild>(launch);
  }
  keeper::RefuseSpawn bad() {
    Launch launch = plan(in);
    REQUIRE(std::holds_alternative<keeper::RefuseSpawn>(launch));
    return std::get<keeper::RefuseSpawn>(launch);
  }
};

std::map<std::string, std::string> environment_of(const keeper::SpawnChild& child) {
  std::map<std::string, std::string> out;
  for (const std::string& line : child.env) {
    const std::size_t equals = line.find('=');
    INFO(line);
    CHECK(out.emplace(line.substr(0, equals), line.substr(equals + 1)).second);  // no name twice
  }
  return out;
}

// A file that lives as long as this.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) {
    char path[] = "/tmp/runmain-test-launch-XXXXXX";
    os::UniqueFd fd(mkstemp(path));
    REQUIRE(fd);
    REQUIRE(os::write_all(fd.get(), text));
    path_ = path;
  }
  ~TemporaryFile() { unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

TEST_CASE("a worker gets the whole contract in its environment") {
  Fixture f;
  f.in.reason = core::Reason::crash;
  f.in.changed_file = "/run/changed";
  f.in.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const keeper::SpawnChild child = f.good();
  const auto env = environment_of(child);
  CHECK(env == std::map<std::string, std::string>{
                   {"PATH", "/bin:/usr/bin"},
                   {"HOME", "/home/me"},
                   {"RUNMAIN_TOKEN", "1:web:1:4:" + nonce(kSecret, f.in.key) + ":0000000000"},
                   {"RUNMAIN_CHANNEL", "@channel"},
                   {"RUNMAIN_SERVICE", "web"},
                   {"RUNMAIN_WORKER", "1"},
                   {"NODE_APP_INSTANCE", "1"},
                   {"RUNMAIN_GENERATION", "4"},
                   {"RUNMAIN_INSTANCE_ID", instance_id(kSecret, f.in.key)},
                   {"RUNMAIN_REASON", "crash"},
                   {"RUNMAIN_CHANGED", "/run/changed"},
                   {"TRACEPARENT", f.in.traceparent}});
  CHECK(child.key == f.in.key);
  CHECK(child.argv == std::vector<std::string>{"./server"});
  CHECK(child.cwd == "/srv");
  CHECK(child.listeners.empty());
  CHECK(child.notify);
  CHECK(child.capture);
  CHECK_FALSE(child.set_user);
  CHECK(child.umask == -1);
  CHECK(child.limits.empty());
}

TEST_CASE("the same start is planned twice the same") {
  Fixture f;
  f.in.listeners = {{"web|:80", "http", "[::]:80"}};
  CHECK(to_binary(f.good()) == to_binary(f.good()));
}

TEST_CASE("every reason has its word") {
  const std::pair<core::Reason, const char*> rows[] = {{core::Reason::start, "start"},
                                                       {core::Reason::change, "change"},
                                                       {core::Reason::crash, "crash"},
                                                       {core::Reason::scale, "scale"},
                                                       {core::Reason::recycle, "recycle"}};
  for (const auto& [reason, word] : rows) {
    Fixture f;
    f.in.reason = reason;
    CHECK(environment_of(f.good())["RUNMAIN_REASON"] == word);
  }
}

TEST_CASE("variables that speak about runmain itself are not inherited, others of a similar name are") {
  Fixture f;
  f.in.environment = {"RUNMAIN_TOKEN=1:outer:0:0:secret:1",
                      "RUNMAIN_ANYTHING=x",
                      "LISTEN_FDS=2",
                      "LISTEN_PID=7",
                      "LISTEN_FDNAMES=a:b",
                      "LISTEN_PIDFDID=9",
                      "NOTIFY_SOCKET=/run/systemd/notify",
                      "WATCHDOG_USEC=1",
                      "WATCHDOG_PID=1",
                      "WERKZEUG_RUN_MAIN=true",
                      "WERKZEUG_SERVER_FD=3",
                      "RUN_MAIN=true",
                      "LISTEN_ADDR=0.0.0.0",
                      "WERKZEUG_DEBUG_PIN=off",
                      "RUNMAIN=1",
                      "RUN_MAINTENANCE=1",
                      "EMPTY=",
                      "no equals sign",
                      "=no name",
                      "A=1",
                      "A=2"};
  auto env = environment_of(f.good());
  for (const char* gone : {"RUNMAIN_ANYTHING", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID",
                           "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "WERKZEUG_RUN_MAIN",
                           "WERKZEUG_SERVER_FD", "RUN_MAIN", "", "no equals sign"}) {
    CAPTURE(gone);
    CHECK(env.count(gone) == 0);
  }
  for (const char* kept : {"LISTEN_ADDR", "WERKZEUG_DEBUG_PIN", "RUNMAIN", "RUN_MAINTENANCE", "EMPTY"}) {
    CAPTURE(kept);
    CHECK(env.count(kept) == 1);
  }
  CHECK(env["A"] == "2");
  CHECK(env["RUNMAIN_TOKEN"].rfind("1:web:", 0) == 0);
}

TEST_CASE("a later layer of the environment wins: inherited, env_file, env, ours") {
  const TemporaryFile first("A=first\nB=first\nC=first\n");
  const TemporaryFile second("B=second\nC=second\n");
  Fixture f;
  f.in.environment = {"A=inherited", "B=inherited", "C=inherited", "D=inherited"};
  f.spec.env_files = {first.path(), second.path()};
  f.spec.env = {{"C", "table"}, {"RUNMAIN_WORKER", "99"}, {"RUN_MAIN", "true"}};
  auto env = environment_of(f.good());
  CHECK(env["A"] == "first");
  CHECK(env["B"] == "second");
  CHECK(env["C"] == "table");
  CHECK(env["D"] == "inherited");
  CHECK(env["RUNMAIN_WORKER"] == "1");
  CHECK(env["RUN_MAIN"] == "true");  // the user may say what they like to their own program
}

TEST_CASE("an env_file that cannot be read or understood fails the start, without quoting what is in it") {
  Fixture f;
  f.spec.env_files = {"/nonexistent/secrets.env"};
  keeper::RefuseSpawn refused = f.bad();
  CHECK(refused.stage == static_cast<std::uint8_t>(core::SpawnStage::resources));
  CHECK(refused.error == ENOENT);
  CHECK(refused.detail.find("/nonexistent/secrets.env") != std::string::npos);

  const TemporaryFile broken("GOOD=1\nPASSWORD=\"hunter2 never closed\n!!hunter2\n");
  f.spec.env_files = {broken.path()};
  refused = f.bad();
  CHECK(refused.stage == static_cast<std::uint8_t>(core::SpawnStage::resources));
  CHECK(refused.error == EINVAL);
  CHECK(refused.detail.find(broken.path() + ":2") != std::string::npos);
  CHECK(refused.detail.find("hunter2") == std::string::npos);

  const TemporaryFile large("A=" + std::string(kEnvFileMax, 'x'));
  f.spec.env_files = {large.path()};
  CHECK(f.bad().stage == static_cast<std::uint8_t>(core::SpawnStage::resources));
}

TEST_CASE("listeners come as LISTEN_FDS from fd 3 on, in order and with clean names") {
  Fixture f;
  f.in.listeners = {{"web|:80", "http", "[::]:80"},
                    {"web|x", "a:b c\xc3\xa9", "unix:/x"},
                    {"web|y", "", "udp:127.0.0.1:5"},
                    {"web|z", std::string(300, 'n'), "unix:@z"}};
  const keeper::SpawnChild child = f.good();
  auto env = environment_of(child);
  CHECK(child.listeners == std::vector<std::string>{"web|:80", "web|x", "web|y", "web|z"});
  CHECK(env["LISTEN_FDS"] == "4");
  CHECK(env["LISTEN_PID"] == "0000000000");
  CHECK(env["LISTEN_FDNAMES"] == "http:a_b_c__:unknown:" + std::string(255, 'n'));
  CHECK(env.count("WERKZEUG_SERVER_FD") == 0);
}

TEST_CASE("a child takes as many listeners as the protocol has room for, one more is refused") {
  Fixture f;
  f.in.listeners.assign(keeper::kListenersMax, {"web|a", "a", "unix:@a"});
  CHECK(f.good().listeners.size() == keeper::kListenersMax);
  f.in.listeners.push_back({"web|a", "a", "unix:@a"});
  CHECK(f.bad().error == E2BIG);
}

TEST_CASE("placeholders are replaced, everything else in braces stays") {
  const std::vector<LaunchListener> listeners = {
      {"1", "http", ""}, {"2", "admin", ""}, {"3", "with:colon", ""}};
  Substitution with{&listeners, 8080, 2, 7};
  const std::pair<const char*, const char*> rows[] = {
      {"", ""},
      {"plain", "plain"},
      {"{fd}", "3"},
      {"--fd={fd}", "--fd=3"},
      {"{fd}{fd}", "33"},
      {"fd://{fd:http},{fd:admin}", "fd://3,4"},
      {"{fd:with:colon}", "5"},
      {"{fd:none}", "{fd:none}"},
      {"{fd:}", "{fd:}"},
      {"{port} {worker} {generation}", "8080 2 7"},
      {"{{fd}", "{fd}"},
      {"{{fd}}", "{fd}}"},
      {"{{{fd}}}", "{{fd}}}"},
      {"{{.Name}}", "{{.Name}}"},
      {"{\"a\":{\"b\":{}}}", "{\"a\":{\"b\":{}}}"},
      {"{\"port\":{port}}", "{\"port\":8080}"},
      {"{", "{"},
      {"{{", "{{"},
      {"}", "}"},
      {"{}", "{}"},
      {"{fd", "{fd"},
      {"{fd {fd}", "{fd 3"},
      {"{ fd }", "{ fd }"},
      {"{FD}", "{FD}"},
      {"{unknown}{port}", "{unknown}8080"},
      {"${port} $port {port}", "${port} $port 8080"},
      {"a{b{port}c}d", "a{b8080c}d"},
  };
  for (const auto& [text, expected] : rows) {
    CAPTURE(text);
    CHECK(substitute(text, with) == expected);
  }
  const Substitution nothing{};
  CHECK(substitute("{fd} {fd:http} {port} {worker}", nothing) == "{fd} {fd:http} {port} 0");
}

TEST_CASE("placeholders are replaced in every argument and in a shell's text") {
  Fixture f;
  f.in.listeners = {{"web|:80", "http", "[::]:80"}};
  f.spec.command = {{"/bin/sh", "-c", "exec ./server --fd {fd} --worker {worker} ${x:-1} | awk '{print}'"},
                    true};
  CHECK(f.good().argv ==
        std::vector<std::string>{"/bin/sh", "-c", "exec ./server --fd 3 --worker 1 ${x:-1} | awk '{print}'"});
}

TEST_CASE("a port of the program's own is the same for every worker, an automatic one is counted by slot") {
  Fixture f;
  f.spec.command.argv = {"./server", "{port}"};
  f.spec.port = 8000;
  CHECK(environment_of(f.good())["PORT"] == "8000");
  CHECK(f.good().argv[1] == "8000");
  f.spec.port = 0;
  f.in.auto_port = 40000;
  CHECK(environment_of(f.good())["PORT"] == "40001");
  CHECK(f.good().argv[1] == "40001");
  CHECK(own_port(f.spec, 0, 40000) == 40000);
  CHECK(own_port(f.spec, kBuildSlot, 40000) == 40000);
  CHECK(own_port(f.spec, 1, 65535) == 0);
  CHECK(own_port(f.spec, 1, 0) == 0);
  f.spec.port.reset();
  CHECK(own_port(f.spec, 0, 40000) == 0);
  CHECK(environment_of(f.good()).count("PORT") == 0);
}

TEST_CASE("picked ports are free, in a row, and held by nobody") {
  const auto base = pick_ports(3);
  REQUIRE(base);
  CHECK(*base >= 1024);
  CHECK(*base <= 65535 - 2);
  CHECK_FALSE(pick_ports(70000));
}

TEST_CASE("a build step has the service's environment, and nothing that it could claim or serve with") {
  Fixture f;
  f.in.key.slot = kBuildSlot;
  f.in.listeners = {{"web|:80", "http", "[::]:80"}};
  f.in.changed_file = "/run/changed";
  f.in.reason = core::Reason::change;
  f.spec.env = {{"CC", "gcc"}};
  f.spec.watch.emplace();
  f.spec.watch->build = core::CommandSpec{{"make", "-j{worker}", "{fd}"}, false};
  f.spec.die_with_keeper = false;
  const keeper::SpawnChild child = f.good();
  auto env = environment_of(child);
  CHECK(env == std::map<std::string, std::string>{{"PATH", "/bin:/usr/bin"},
                                                  {"HOME", "/home/me"},
                                                  {"CC", "gcc"},
                                                  {"RUNMAIN_SERVICE", "web"},
                                                  {"RUNMAIN_GENERATION", "4"},
                                                  {"RUNMAIN_REASON", "change"},
                                                  {"RUNMAIN_CHANGED", "/run/changed"}});
  CHECK(child.listeners.empty());
  CHECK_FALSE(child.notify);
  CHECK(child.die_with_keeper);
  CHECK(child.argv[0] == "make");
  CHECK(child.argv[2] == "{fd}");
  CHECK(child.cwd == "/srv");
  f.spec.watch.reset();
  CHECK(f.bad().detail == "the service has no build step");
}

TEST_CASE("a hook and a look are told of which worker they are, and can claim and serve nothing") {
  Fixture f;
  f.in.listeners = {{"web|:80", "http", "[::]:80"}};
  f.in.about = {ServiceId{1}, 3, 5, 1};
  f.in.about_pid = 4711;
  f.in.hang = "busy";
  f.in.auto_port = 9000;
  f.spec.port = 0;
  f.spec.die_with_keeper = false;
  f.spec.hang.hook =
      core::CommandSpec{{"gdb", "-p", "{pid}", "{worker}", "{generation}", "{fd}", "{port}"}, false};
  f.in.key = {ServiceId{1}, kHookSlot, 5, 0};
  const keeper::SpawnChild hook = f.good();
  CHECK(hook.argv == std::vector<std::string>{"gdb", "-p", "4711", "3", "5", "{fd}", "9003"});
  CHECK(environment_of(hook) ==
        std::map<std::string, std::string>{{"PATH", "/bin:/usr/bin"},
                                           {"HOME", "/home/me"},
                                           {"PORT", "9003"},
                                           {"RUNMAIN_SERVICE", "web"},
                                           {"RUNMAIN_GENERATION", "5"},
                                           {"RUNMAIN_WORKER", "3"},
                                           {"RUNMAIN_INSTANCE_ID", instance_id(kSecret, f.in.about)},
                                           {"RUNMAIN_PID", "4711"},
                                           {"RUNMAIN_HUNG_PID", "4711"},
                                           {"RUNMAIN_HANG_KIND", "busy"},
                                           {"RUNMAIN_REASON", "start"}});
  CHECK(hook.listeners.empty());
  CHECK_FALSE(hook.notify);
  CHECK(hook.die_with_keeper);
  CHECK(hook.cwd == "/srv");

  f.in.key.slot = kProbeSlot;
  CHECK(f.bad().detail == "the service has no ready command");
  f.spec.ready.kind = core::ReadyKind::exec;
  f.spec.ready.command.argv = {"warm", "{worker}", "{pid}"};
  CHECK(f.good().argv == std::vector<std::string>{"warm", "3", "4711"});
  f.in.key.slot = kLookSlot;
  CHECK(f.bad().detail == "the service has no health command");
  f.spec.health.kind = core::HealthKind::exec;
  f.spec.health.command.argv = {"check", "{pid}"};
  const keeper::SpawnChild look = f.good();
  CHECK(look.argv == std::vector<std::string>{"check", "4711"});
  CHECK(environment_of(look).count("RUNMAIN_HUNG_PID") == 0);
  CHECK(environment_of(look).count("RUNMAIN_HANG_KIND") == 0);
  f.spec.hang.hook.reset();
  f.in.key.slot = kHookSlot;
  CHECK(f.bad().detail == "the service has no on_hang hook");
}

TEST_CASE("umask, limits and what happens when the keeper dies are as the file says") {
  Fixture f;
  f.spec.umask = 027;
  f.spec.limits = {{RLIMIT_NOFILE, 4096, 8192}, {RLIMIT_CORE, 0, ~0ULL}};
  f.spec.die_with_keeper = false;
  const keeper::SpawnChild child = f.good();
  CHECK(child.umask == 027);
  REQUIRE(child.limits.size() == 2);
  CHECK(child.limits[0].resource == RLIMIT_NOFILE);
  CHECK(child.limits[0].soft == 4096);
  CHECK(child.limits[0].hard == 8192);
  CHECK(child.limits[1].hard == ~0ULL);
  CHECK_FALSE(child.die_with_keeper);
}

TEST_CASE("a command that execve could not take is refused before it is sent") {
  Fixture f;
  f.spec.command.argv = {};
  CHECK(f.bad().stage == static_cast<std::uint8_t>(core::SpawnStage::exec));
  f.spec.command.argv = {""};
  CHECK(f.bad().error == EINVAL);
  f.spec.command.argv = {"./server", std::string("a\0b", 3)};
  CHECK(f.bad().error == EINVAL);
  f.spec.command.argv = {"./server"};
  f.spec.env = {{"PASSWORD", std::string("hunter2\0x", 9)}};
  CHECK(f.bad().detail == "the variable PASSWORD contains a NUL byte");
  f.spec.env = {{"LARGE", std::string(keeper::kSpawnMax, 'x')}};
  CHECK(f.bad().error == E2BIG);
}

TEST_CASE("an unknown user or group fails the start at the stage user") {
  Fixture f;
  f.spec.user = "no-such-user-here";
  CHECK(f.bad().stage == static_cast<std::uint8_t>(core::SpawnStage::user));
  CHECK(f.bad().error == ESRCH);
  CHECK(f.bad().detail.find("no-such-user-here") != std::string::npos);
  f.spec.user.clear();
  f.spec.group = "no-such-group-here";
  CHECK(f.bad().stage == static_cast<std::uint8_t>(core::SpawnStage::user));
  CHECK(f.bad().detail.find("no-such-group-here") != std::string::npos);
}

TEST_CASE("root switches to another user with that user's groups, and to nobody when it is the same") {
  const Ids root{0, 0};
  const auto same = resolve_account("root", "", root);
  REQUIRE(same);
  CHECK_FALSE(same->change);
  const auto none = resolve_account("", "", root);
  REQUIRE(none);
  CHECK_FALSE(none->change);
  const auto daemon = resolve_account("daemon", "", root);  // 1:1 on every Debian
  REQUIRE(daemon);
  CHECK(daemon->change);
  CHECK(daemon->uid == 1);
  CHECK(daemon->gid == 1);
  CHECK(daemon->name == "daemon");
  CHECK(std::find(daemon->groups.begin(), daemon->groups.end(), 1U) != daemon->groups.end());
  CHECK(std::find(daemon->groups.begin(), daemon->groups.end(), 0U) == daemon->groups.end());
  const auto by_number = resolve_account("1", "", root);
  REQUIRE(by_number);
  CHECK(by_number->uid == 1);
  CHECK(by_number->name == "daemon");
  const auto only_group = resolve_account("", "daemon", root);
  REQUIRE(only_group);
  CHECK(only_group->change);
  CHECK(only_group->uid == 0);
  CHECK(only_group->gid == 1);
  CHECK(only_group->groups == std::vector<std::uint32_t>{1});
}

TEST_CASE("a number that the database does not know needs a group beside it") {
  const Ids root{0, 0};
  CHECK(resolve_account("54321", "", root).error().code == ESRCH);
  const auto both = resolve_account("54321", "54322", root);
  REQUIRE(both);
  CHECK(both->uid == 54321);
  CHECK(both->gid == 54322);
  CHECK(both->groups == std::vector<std::uint32_t>{54322});
  for (const char* none : {"4294967295", "4294967296", "-1", "1x", " 1", "0x1"}) {
    CAPTURE(none);
    CHECK(resolve_account(none, "daemon", root).error().code == ESRCH);
  }
}

TEST_CASE("who is not root may start children as itself only") {
  const Ids me{1, 1};
  CHECK_FALSE(resolve_account("daemon", "", me)->change);
  CHECK_FALSE(resolve_account("1", "1", me)->change);
  CHECK(resolve_account("root", "", me).error().code == EPERM);
  CHECK(resolve_account("daemon", "root", me).error().code == EPERM);
  CHECK(resolve_account("", "root", me).error().code == EPERM);
}

TEST_CASE("another user gets a home and name of its own, unless the file gives them") {
  if (geteuid() != 0) {
    SUCCEED("only root can start children as another user");
    return;
  }
  Fixture f;
  f.spec.user = "daemon";
  f.spec.env = {{"LOGNAME", "chosen"}};
  keeper::SpawnChild child = f.good();
  auto env = environment_of(child);
  CHECK(child.set_user);
  CHECK(child.uid == 1);
  CHECK(env["USER"] == "daemon");
  CHECK(env["LOGNAME"] == "chosen");
  CHECK(env["HOME"] != "/home/me");
}
