// Good files: what each key becomes, and what stands where a key is absent.
#include <sys/resource.h>

#include <csignal>

#include "base/archive.hpp"
#include "config/config.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::config;
using namespace std::chrono_literals;

namespace {

core::Desired parse_good(std::string text, LoadOptions options = {}) {
  options.check_host = false;
  const Outcome outcome = parse(std::move(text), "/srv/app/supervisor.toml", options);
  if (const auto* faults = std::get_if<Faults>(&outcome)) FAIL(explain(*faults));
  return std::get<Loaded>(outcome).desired;
}

core::ServiceSpec service(const std::string& keys, const LoadOptions& options = {}) {
  const core::Desired desired = parse_good("[service.web]\n" + keys, options);
  REQUIRE(desired.services.size() == 1);
  return desired.services[0];
}

core::ServiceSpec with(const std::string& keys) { return service("command = \"./server\"\n" + keys); }

core::StopSpec stop_of(int signal, Duration timeout, bool group) {
  core::StopSpec stop;
  stop.signal = signal;
  stop.timeout = timeout;
  stop.group = group;
  stop.lingering = 4;
  return stop;
}

using List = std::vector<std::string>;

}  // namespace

TEST_CASE("a service with nothing but a command has the documented defaults") {
  const core::Desired desired = parse_good("[service.web]\ncommand = \"./server\"\n");
  CHECK(desired.mode == core::Mode::dev);
  CHECK(desired.file == "/srv/app/supervisor.toml");
  core::ServiceSpec expected;
  expected.name = "web";
  expected.at = "/srv/app/supervisor.toml:1:10";
  expected.command.argv = {"./server"};
  expected.cwd = "/srv/app";
  expected.stop.lingering = 4;
  CHECK(desired.services == std::vector<core::ServiceSpec>{expected});
}

TEST_CASE("the example of the documentation is read as it is meant") {
  const core::ServiceSpec web = parse_good(R"(
[service.web]
command = ["./server", "--fd", "{fd}"]
listen = ["127.0.0.1:8000"]
workers = 2
watch = { paths = ["src"], ignore = ["*.md"], build = "make server" }
ready = { http = "/health", timeout = "10s" }
stop = { signal = "TERM", timeout = "10s" }
restart = "always"
depends_on = ["db"]
env = { LOG_LEVEL = "debug" }
env_file = ".env"
cwd = "."
overlap = true
log = { file = "web.log", max_size = "10MB", keep = 5 }
user = "www"
umask = "027"
limits = { nofile = 4096 }
[service.db]
command = "db"
)")
                                    .services[0];
  CHECK(web.command == core::CommandSpec{{"./server", "--fd", "{fd}"}, false});
  REQUIRE(web.listen.size() == 1);
  CHECK(web.listen[0].text == "127.0.0.1:8000");
  CHECK(web.listen[0].name == "web");
  CHECK(web.listen[0].at == "/srv/app/supervisor.toml:4:11");
  CHECK(web.workers == 2);
  REQUIRE(web.watch.has_value());
  CHECK(web.watch->paths == List{"/srv/app/src"});
  CHECK(web.watch->ignore == List{"*.md"});
  CHECK(web.watch->build == core::CommandSpec{{"make", "server"}, false});
  CHECK(web.ready.kind == core::ReadyKind::http);
  CHECK(web.ready.path == "/health");
  CHECK(web.ready.address.empty());
  CHECK(web.ready.timeout == 10s);
  CHECK(web.stop == stop_of(SIGTERM, 10s, true));
  CHECK(web.restart == core::RestartPolicy::always);
  CHECK(web.depends_on == List{"db"});
  CHECK(web.env == std::vector<std::pair<std::string, std::string>>{{"LOG_LEVEL", "debug"}});
  CHECK(web.env_files == List{"/srv/app/.env"});
  CHECK(web.cwd == "/srv/app");
  CHECK(web.overlap);
  CHECK(web.log == core::LogSpec{"/srv/app/web.log", 10000000, 5});
  CHECK(web.user == "www");
  CHECK(web.umask == 027U);
  CHECK(web.limits == std::vector<core::LimitSpec>{{RLIMIT_NOFILE, 4096, 4096}});
}

TEST_CASE("a command is words, an array, or a line for the shell") {
  CHECK(service("command = \"./server 'a b'\"").command == core::CommandSpec{{"./server", "a b"}, false});
  CHECK(service("command = ['a', '', '$x && y']").command == core::CommandSpec{{"a", "", "$x && y"}, false});
  CHECK(service("command = 'a && b'\nshell = true").command ==
        core::CommandSpec{{"/bin/sh", "-c", "a && b"}, true});
  CHECK(service("command = 'a'\nshell = false").command == core::CommandSpec{{"a"}, false});
}

TEST_CASE("listeners have the service's name unless they are given one") {
  const core::ServiceSpec spec = with(
      "listen = [{ name = \"http\", address = \":80\" }, \"unix:@x\", { address = \"udp:127.0.0.1:1\" }]");
  REQUIRE(spec.listen.size() == 3);
  CHECK(spec.listen[0].name == "http");
  CHECK(spec.listen[1].name == "web");
  CHECK(spec.listen[2].name == "web");
  CHECK(with("listen = \":0\"").listen.size() == 1);
  CHECK(with("listen = { name = \"x\", address = \":0\" }").listen[0].name == "x");
}

TEST_CASE("port excludes overlap by default") {
  CHECK(with("port = 8000").port == std::uint16_t{8000});
  CHECK(with("port = \"auto\"").port == std::uint16_t{0});
  CHECK_FALSE(with("port = 8000").overlap);
  CHECK_FALSE(with("port = 8000\noverlap = false").overlap);
  CHECK_FALSE(with("overlap = false").overlap);
  CHECK_FALSE(with("").port.has_value());
}

TEST_CASE("watch is true, a list of paths or a table, relative to cwd") {
  CHECK(with("cwd = \"sub\"\nwatch = true").watch->paths == List{"/srv/app/sub"});
  CHECK(with("cwd = \"sub\"\nwatch = [\"a/../b/\", \"/c\"]").watch->paths == List{"/srv/app/sub/b", "/c"});
  CHECK_FALSE(with("watch = false").watch.has_value());
  CHECK_FALSE(with("").watch.has_value());
  const core::WatchSpec watch = *with(
                                     "watch = { ignore = \"*.o\", settle = \"1s\", settle_max = \"2s\", "
                                     "build = { command = \"a && b\", shell = true } }")
                                     .watch;
  CHECK(watch.paths == List{"/srv/app"});
  CHECK(watch.ignore == List{"*.o"});
  CHECK(watch.settle == 1s);
  CHECK(watch.settle_max == 2s);
  CHECK(watch.build == core::CommandSpec{{"/bin/sh", "-c", "a && b"}, true});
  CHECK(with("watch = { include = [\"*.py\"] }").watch->include == List{"*.py"});
  CHECK(with("watch = { poll = true, ignore_files = false }").watch->poll);
  CHECK_FALSE(with("watch = { poll = true, ignore_files = false }").watch->ignore_files);
  CHECK(with("watch = { on_change = \"queue\" }").watch->on_change == core::OnChange::queue);
  CHECK(with("watch = { on_change = \"ignore\" }").watch->on_change == core::OnChange::ignore);
  CHECK(with("watch = { on_change = { signal = \"USR2\" } }").watch->on_change == core::OnChange::signal);
  CHECK(with("watch = { on_change = { signal = \"USR2\" } }").watch->signal == SIGUSR2);
  CHECK(with("watch = { build = [\"make\", \"x y\"] }").watch->build ==
        core::CommandSpec{{"make", "x y"}, false});
  CHECK(with("watch = { build = { command = \"make x\" } }").watch->build ==
        core::CommandSpec{{"make", "x"}, false});
}

TEST_CASE("ready is by request, notification, connection or time") {
  CHECK(with("ready = { notify = true }").ready.kind == core::ReadyKind::notify);
  CHECK(with("").ready.kind == core::ReadyKind::automatic);
  const core::ReadySpec http = with("ready = { http = \"/h\", address = \"localhost:81\" }").ready;
  CHECK(http.address == "127.0.0.1:81");
  CHECK(http.timeout == 30s);
  CHECK(with("ready = { tcp = \"[0::1]:5\" }").ready.address == "[::1]:5");
  CHECK(with("ready = { tcp = \":5\" }").ready.address == "127.0.0.1:5");
  CHECK(with("listen = \":0\"\nready = { tcp = true }").ready.kind == core::ReadyKind::tcp);
  CHECK(with("port = \"auto\"\nready = { http = \"/\" }").ready.kind == core::ReadyKind::http);
  const core::ReadySpec after = with("ready = { after = \"500ms\" }").ready;
  CHECK(after.kind == core::ReadyKind::after);
  CHECK(after.after == 500ms);
  CHECK(after.timeout == 30s);
}

TEST_CASE("a start that is ready after a long time is not over before that") {
  CHECK(with("ready = { after = \"1m\" }").ready.timeout == 90s);
}

TEST_CASE("stop and restart take their tables") {
  CHECK(with("stop = { signal = \"SIGINT\", timeout = \"0s\", to = \"main\" }").stop ==
        stop_of(SIGINT, 0s, false));
  CHECK(with("stop = { signal = 3, to = \"group\" }").stop == stop_of(SIGQUIT, 10s, true));
  CHECK(with("restart = \"on-failure\"").restart == core::RestartPolicy::on_failure);
  CHECK(with("restart = { policy = \"never\" }").restart == core::RestartPolicy::never);
  const core::ServiceSpec spec = with(
      "restart = { initial = \"1s\", max = \"1m\", factor = 1.5, jitter = 0.25, burst = 5, reset = \"1m\", "
      "failed_start = \"wait\" }");
  CHECK(spec.restart == core::RestartPolicy::always);
  CHECK(spec.backoff == core::Backoff{1s, 60s, 150, 25, 5, 60s});
  CHECK(with("restart = { factor = 3, jitter = 0 }").backoff.factor_percent == 300);
}

TEST_CASE("a variable is text, however the file writes it") {
  const auto env =
      with("env = { A = \"x\", B = 8000, C = true, D = 1.5, E = 2.0, F = 1e300, G = -1, H = inf }").env;
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"A", "x"},   {"B", "8000"},   {"C", "true"}, {"D", "1.5"},
      {"E", "2.0"}, {"F", "1e+300"}, {"G", "-1"},   {"H", "inf"}};
  CHECK(env == expected);
}

TEST_CASE("identity, umask and limits take names and numbers") {
  const core::ServiceSpec spec = with(
      "user = 1000\ngroup = \"www\"\numask = 0o22\n"
      "limits = { core = \"unlimited\", stack = \"8MiB\", nofile = { soft = 10, hard = \"unlimited\" }, as = "
      "{ hard = 5 } }");
  CHECK(spec.user == "1000");
  CHECK(spec.group == "www");
  CHECK(spec.umask == 022U);
  const std::vector<core::LimitSpec> expected = {{RLIMIT_AS, 5, 5},
                                                 {RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY},
                                                 {RLIMIT_NOFILE, 10, RLIM_INFINITY},
                                                 {RLIMIT_STACK, 8U << 20U, 8U << 20U}};
  CHECK(spec.limits == expected);
  CHECK_FALSE(with("").umask.has_value());
}

TEST_CASE("the mode comes from the caller, then the file, then an override, and decides defaults") {
  const std::string service_text = "[service.web]\ncommand = \"x\"\n";
  const std::string prod_text = "[runmain]\nmode = \"prod\"\n" + service_text;
  LoadOptions options;
  CHECK(parse_good(prod_text, options).mode == core::Mode::prod);
  CHECK(parse_good(prod_text, options).services[0].roll.gradual);
  CHECK_FALSE(parse_good(service_text, options).services[0].roll.gradual);
  // Who is at work on it wants nothing left behind; who serves wants to serve on.
  CHECK_FALSE(parse_good(prod_text, options).services[0].die_with_keeper);
  CHECK(parse_good(service_text, options).services[0].die_with_keeper);
  options.mode = core::Mode::prod;
  CHECK(parse_good(service_text, options).mode == core::Mode::prod);
  CHECK(parse_good(service_text + "on_keeper_death = \"stop\"\n", options).services[0].die_with_keeper);
  CHECK_FALSE(parse_good(service_text, options).services[0].die_with_keeper);
  options.mode_override = core::Mode::dev;
  CHECK(parse_good(prod_text, options).mode == core::Mode::dev);
  CHECK_FALSE(parse_good(service_text + "on_keeper_death = \"keep\"\n", options).services[0].die_with_keeper);
}

TEST_CASE("readiness by command is a word list, a string or a table with a shell") {
  const auto ready = [](const std::string& exec) {
    return parse_good("[service.web]\ncommand = \"x\"\nready = { exec = " + exec + ", timeout = \"5s\" }\n")
        .services[0]
        .ready;
  };
  const core::ReadySpec words = ready("[\"./warm\", \"{pid}\"]");
  CHECK(words.kind == core::ReadyKind::exec);
  CHECK(words.command.argv == List{"./warm", "{pid}"});
  CHECK(words.timeout == std::chrono::seconds(5));
  CHECK(ready("\"./warm up\"").command.argv == List{"./warm", "up"});
  CHECK(ready("{ command = \"a && b\", shell = true }").command.shell);
}

TEST_CASE("services keep the file's order, also with dots and quotes in their names") {
  const core::Desired desired = parse_good(
      "[service.zoo]\ncommand = \"z\"\n[service.\"a.b\"]\ncommand = \"a\"\n[service.m-1_x]\ncommand = "
      "\"m\"\n");
  List names;
  for (const auto& spec : desired.services) names.push_back(spec.name);
  CHECK(names == List{"zoo", "a.b", "m-1_x"});
}

TEST_CASE("a BOM, CRLF and inline tables change nothing but places") {
  const core::Desired plain = parse_good("service = { web = { command = \"x\" } }");
  const core::Desired windows = parse_good("\xef\xbb\xbf[service.web]\r\ncommand = \"x\"\r\n");
  REQUIRE(plain.services.size() == 1);
  core::ServiceSpec a = plain.services[0];
  CHECK(a.at == "/srv/app/supervisor.toml:1:13");
  a.at = windows.services[0].at;
  CHECK(a == windows.services[0]);
}

TEST_CASE("a configuration survives its binary form") {
  core::Desired desired =
      parse_good("[service.web]\ncommand = \"x\"\nlisten = \":80\"\nwatch = true\nenv = { A = 1 }\n");
  core::Desired copy;
  REQUIRE(from_binary(to_binary(desired), copy));
  CHECK(copy.services == desired.services);
}
