// The life of `runmain up` itself: starting, being asked, ending; and what it says to bad input.
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

const char* const kTwoServices = R"(
[service.web]
command = ["@BIN@/t_http", "--fd", "{fd}"]
listen = ["127.0.0.1:0"]
workers = 2
[service.job]
command = ["@BIN@/t_child", "print", "hello from the job", "pause"]
depends_on = ["web"]
)";

}  // namespace

TEST_CASE("up starts the services, status shows them, SIGTERM ends everything with 0") {
  Supervised up(kTwoServices);
  up.start();
  REQUIRE(up.wait_ready());
  const Json web = up.service("web");
  CHECK(web["state"] == "ready");
  CHECK(web["generation"] == 1);
  CHECK(web["restarts"] == 0);
  REQUIRE(web["workers"].size() == 2);
  CHECK(web["workers"][0]["instance_id"] != web["workers"][1]["instance_id"]);
  CHECK(get(up.address("web"), "/").ok);
  CHECK(up.wait_output("hello from the job"));
  std::vector<pid_t> all = up.pids("web");
  all.push_back(up.head_pid());
  CHECK(up.stop(SIGTERM) == 0);
  for (const pid_t pid : all) CHECK_FALSE(alive(pid));
}

TEST_CASE("Ctrl-C ends everything with 0, in the reverse order of the dependencies") {
  Supervised up(kTwoServices);
  up.start();
  REQUIRE(up.wait_ready());
  CHECK(up.stop(SIGINT) == 0);
  const std::size_t job = up.output().find("job: stopped");
  const std::size_t web = up.output().find("web: stopped");
  REQUIRE(job != std::string::npos);
  REQUIRE(web != std::string::npos);
  CHECK(job < web);
}

TEST_CASE("a second Ctrl-C forces, and the exit status says the signal") {
  Supervised up(R"(
[service.stubborn]
command = ["@BIN@/t_child", "ignore-term", "print", "ignoring", "pause"]
stop = { timeout = "60s" }
)");
  up.start();
  REQUIRE(up.wait_output("ignoring"));
  REQUIRE(up.wait_ready());
  const auto pids = up.pids("stubborn");
  up.signal(SIGINT);
  REQUIRE(up.wait_event("shutdown.started").is_object());
  up.signal(SIGINT);
  CHECK(up.wait_exit() == 130);
  REQUIRE(pids.size() == 1);
  CHECK_FALSE(alive(pids[0]));
}

TEST_CASE("down ends it from another terminal; then nothing runs here") {
  Supervised up(kTwoServices);
  up.start();
  REQUIRE(up.wait_ready());
  CHECK(up.cli({"down"}).status == 0);
  CHECK(up.wait_exit() == 0);
  CHECK(up.cli({"status"}).status == 3);
}

TEST_CASE("up -d returns when all is ready, and down ends it") {
  Supervised up(kTwoServices);
  const Ran started = up.cli({"up", "-d"});
  CAPTURE(started.out);
  CHECK(started.status == 0);
  const Json web = up.service("web");
  CHECK(web["state"] == "ready");
  CHECK(up.cli({"down"}).status == 0);
}

TEST_CASE("up -d of a service that cannot start says why and exits with 1") {
  Supervised up(R"([service.broken]
command = ["./there-is-no-such-program"]
)");
  const Ran started = up.cli({"up", "-d"});
  CAPTURE(started.out);
  CHECK(started.status == 1);
  CHECK(started.out.find("there-is-no-such-program") != std::string::npos);
  up.cli({"down"});
}

TEST_CASE("stop, start, restart and signal do what they say") {
  Supervised up(kTwoServices);
  up.start();
  REQUIRE(up.wait_ready());
  CHECK(up.cli({"stop", "job"}).status == 0);
  CHECK(up.service("job")["state"] == "stopped");
  CHECK(up.service("web")["state"] == "ready");
  CHECK(up.cli({"start", "job"}).status == 0);
  CHECK(up.service("job")["state"] == "ready");
  const auto before = up.pids("web");
  CHECK(up.cli({"restart", "web"}).status == 0);
  const auto after = up.pids("web");
  REQUIRE(after.size() == 2);
  for (const pid_t pid : before) CHECK_FALSE(alive(pid));
  CHECK(up.cli({"signal", "job", "TERM"}).status == 0);
  CHECK(up.wait_event("child.exited", "job").is_object());
  CHECK(up.cli({"stop", "nobody"}).status == 2);
}

TEST_CASE("a port in use is told with its place before anything starts, with exit status 2") {
  const int port = free_port();
  Supervised first("[service.a]\ncommand = [\"@BIN@/t_http\", \"--fd\", \"{fd}\"]\nlisten = [\"127.0.0.1:" +
                   std::to_string(port) + "\"]\n");
  first.start();
  REQUIRE(first.wait_ready());
  Supervised second(
      "[service.early]\ncommand = [\"@BIN@/t_child\", \"print\", \"must not start\", \"pause\"]\n"
      "[service.b]\ncommand = [\"@BIN@/t_http\", \"--fd\", \"{fd}\"]\nlisten = [\"127.0.0.1:" +
      std::to_string(port) + "\"]\n");
  second.start();
  CHECK(second.wait_exit() == 2);
  CAPTURE(second.output());
  CHECK(second.output().find("supervisor.toml:5:") != std::string::npos);
  CHECK(second.output().find("Address already in use") != std::string::npos);
  CHECK(second.output().find("must not start") == std::string::npos);
}

TEST_CASE("two runmains on one file: the second one names the first and exits with 2") {
  Supervised up(kTwoServices);
  up.start();
  REQUIRE(up.wait_ready());
  const Ran second = up.cli({"up"});
  CAPTURE(second.out);
  CHECK(second.status == 2);
  CHECK(second.out.find(std::to_string(up.keeper_pid())) != std::string::npos);
  CHECK(up.service("web")["state"] == "ready");
}

TEST_CASE("bad configurations are refused with all their faults, and nothing is started") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[service.a]\ncommmand = \"x\"\n", "commmand"},
      {"[service.a]\ncommand = 5\n", "supervisor.toml:2:"},
      {"[service.a]\nworkers = 1\n", "command"},
      {"[service.a]\ncommand = \"x\"\ndepends_on = [\"b\"]\n", "\"b\""},
      {"[service.a]\ncommand = \"x\"\ndepends_on = [\"b\"]\n[service.b]\ncommand = \"x\"\ndepends_on = "
       "[\"a\"]\n",
       "->"},
      {"[service.a]\ncommand = \"x\"\nlisten = [\"127.0.0.1\"]\n", "supervisor.toml:3:"},
      {"[service.a]\ncommand = \"x\"\ncwd = \"missing\"\n", "missing"},
  };
  for (const auto& [toml, expected] : cases) {
    Supervised up(toml);
    up.start();
    CAPTURE(toml, up.output());
    CHECK(up.wait_exit() == 2);
    CHECK(up.output().find("supervisor.toml:") != std::string::npos);
    CHECK(up.output().find(expected) != std::string::npos);
  }
}

TEST_CASE("a bad edit of the configuration keeps the old one; a good edit is taken") {
  Supervised up(kTwoServices);
  up.start();
  REQUIRE(up.wait_ready());
  const auto web = up.pids("web");
  up.set_config(std::string(kTwoServices) + "[service.more]\ncomand = \"x\"\n");
  REQUIRE(up.wait_output("old configuration stays"));
  CHECK(up.pids("web") == web);
  up.set_config(std::string(kTwoServices) + "[service.more]\ncommand = [\"@BIN@/t_child\", \"pause\"]\n");
  const Json with_more = up.wait_status([](const Json& s) { return s["services"].size() == 3; });
  CHECK(with_more.is_object());
  CHECK(up.pids("web") == web);
  up.set_config(kTwoServices);
  const Json without = up.wait_status([](const Json& s) { return s["services"].size() == 2; });
  up.wait_output("nothing says this", std::chrono::milliseconds(1));  // takes what was printed so far
  CAPTURE(up.output(), up.status().dump());
  CHECK(without.is_object());
  CHECK(up.pids("web") == web);
}

TEST_CASE("why tells the chain of causes, and events are JSON lines") {
  Supervised up("[service.a]\ncommand = [\"@BIN@/t_child\", \"pause\"]\n");
  up.start();
  REQUIRE(up.wait_ready());
  const auto pids = up.pids("a");
  REQUIRE(pids.size() == 1);
  kill(pids[0], SIGKILL);
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["restarts"] == 1; }).is_object());
  const Ran why = up.cli({"why", "a"});
  CHECK(why.status == 0);
  CHECK(why.out.find("SIGKILL") != std::string::npos);
  const Ran events = up.cli({"events", "--json"});
  CHECK(events.status == 0);
  CHECK(Json::parse(events.out.substr(0, events.out.find('\n')), nullptr, false).contains("type"));
}

TEST_CASE("a journal replays to the same state, and a tampered one names the line") {
  Folder journal;
  const std::string file = journal.file("journal");
  {
    Supervised up(kTwoServices, {"--journal", file});
    up.start();
    REQUIRE(up.wait_ready());
    const auto pids = up.pids("web");
    kill(pids[0], SIGKILL);
    REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["restarts"] == 1; }).is_object());
    CHECK(up.stop() == 0);
  }
  const std::string runmain = std::string(RUNMAIN_BIN_DIR) + "/runmain";
  const Ran same = run({runmain, "replay", file});
  CAPTURE(same.out);
  CHECK(same.status == 0);
  std::string text = journal.read("journal");
  const std::size_t at = text.find("\"child.exited\"");
  REQUIRE(at != std::string::npos);
  const std::size_t status_at = text.find("\"status\":", at);
  REQUIRE(status_at != std::string::npos);
  text[status_at + 9] = text[status_at + 9] == '9' ? '8' : '9';
  journal.write("journal", text);
  CHECK(run({runmain, "replay", file}).status == 1);
}

TEST_CASE("with stdin closed and SIGCHLD and SIGPIPE ignored it works as ever") {
  Supervised up(
      "[service.a]\ncommand = [\"@BIN@/t_child\", \"print\", \"alive\", \"exit\", \"3\"]\nrestart = "
      "\"never\"\n");
  signal(SIGCHLD, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  up.start();
  signal(SIGCHLD, SIG_DFL);
  signal(SIGPIPE, SIG_DFL);
  const Json exited = up.wait_event("child.exited", "a");
  CHECK(exited["data"]["text"].get<std::string>().find('3') != std::string::npos);
}

TEST_CASE(
    "in prod mode reload reads the file again, and a file with faults reloads nothing and exits with 2") {
  Supervised up(kTwoServices);
  REQUIRE(up.cli({"up", "-d"}).status == 0);
  const auto before = up.pids("web");
  up.set_config(std::string(kTwoServices) + "[service.more]\ncommand = [\"@BIN@/t_child\", \"pause\"]\n");
  CHECK(up.cli({"reload", "job"}).status == 0);
  CHECK(up.wait_status([](const Json& s) { return s["services"].size() == 3; }).is_object());
  CHECK(up.pids("web") == before);
  const auto job = up.pids("job");
  up.set_config(std::string(kTwoServices) + "x = [[\n");
  const Ran refused = up.cli({"reload", "job"});
  CAPTURE(refused.out);
  CHECK(refused.status == 2);
  CHECK(refused.out.find("supervisor.toml:") != std::string::npos);
  CHECK(up.pids("job") == job);
  CHECK(up.cli({"down"}).status == 0);
}

TEST_CASE("a service that is renamed keeps its socket, and two that swap addresses swap them") {
  const std::string one =
      "[service.@A@]\ncommand = [\"@BIN@/hello\", \"--fd\", \"{fd}\"]\nlisten = [\"unix:@DIR@/x\"]\n";
  const std::string two =
      "[service.@B@]\ncommand = [\"@BIN@/hello\", \"--fd\", \"{fd}\"]\nlisten = [\"unix:@DIR@/y\"]\n";
  const auto with = [&](const std::string& a, const std::string& b) {
    std::string text = one + two;
    text.replace(text.find("@A@"), 3, a);
    text.replace(text.find("@B@"), 3, b);
    return text;
  };
  Supervised up(with("a", "b"));
  up.start();
  REQUIRE(up.wait_ready());
  const auto listens = [&](const std::string& service) {
    return up.service(service)["listen"][0].get<std::string>();
  };
  const std::string x = listens("a");
  up.set_config(with("renamed", "b"));
  REQUIRE(up.wait_status([](const Json& s) {
              return s["services"].size() == 2 && s["services"][1]["name"] == "renamed" &&
                     s["services"][1]["state"] == "ready";
            }).is_object());
  CHECK(listens("renamed") == x);
  up.set_config(with("b", "renamed"));
  REQUIRE(up.wait_status([&](const Json& s) {
              return s["services"][1]["listen"][0] != x && s["services"][0]["listen"][0] == x &&
                     s["services"][0]["state"] == "ready" && s["services"][1]["state"] == "ready";
            }).is_object());
  CHECK(up.output().find("in use") == std::string::npos);
  CHECK(up.stop() == 0);
}

TEST_CASE("an address that is taken out and put back while its worker drains is the same socket") {
  const std::string web =
      "[service.web]\ncommand = [\"@BIN@/t_child\", \"ignore-term\", \"pause\"]\nstop = { timeout = \"60s\" "
      "}\n";
  const std::string listen = "listen = [\"unix:@DIR@/x\"]\n";
  Supervised up(web + listen);
  up.start();
  REQUIRE(up.wait_ready());
  up.set_config(web);
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["listen"].empty(); }).is_object());
  up.set_config(web + listen);
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["listen"].size() == 1; }).is_object());
  CHECK(up.output().find("in use") == std::string::npos);
  up.signal(SIGINT);
  REQUIRE(up.wait_output("once more"));
  up.signal(SIGINT);
  CHECK(up.wait_exit() == 130);
}

TEST_CASE("a socket file that somebody else owns by now is left alone at the end") {
  Supervised up("[service.web]\ncommand = [\"@BIN@/t_child\", \"pause\"]\nlisten = [\"unix:@DIR@/x\"]\n");
  up.start();
  REQUIRE(up.wait_ready());
  const std::string path = up.folder().file("x");
  REQUIRE(unlink(path.c_str()) == 0);
  up.folder().write("x", "another's");
  CHECK(up.stop() == 0);
  CHECK(up.folder().read("x") == "another's");
}
