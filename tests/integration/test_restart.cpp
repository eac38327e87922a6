// Crashes, failed starts, back-off: what is restarted, when, and what is told.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

TEST_CASE("a killed child is started again at once, with its exit status told") {
  Supervised up("[service.a]\ncommand = [\"@BIN@/t_child\", \"pause\"]\n");
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("a");
  REQUIRE(before.size() == 1);
  kill(before[0], SIGKILL);
  const Json exited = up.wait_event("child.exited", "a");
  REQUIRE(exited.is_object());
  CHECK(exited["pid"] == before[0]);
  const Json now = up.wait_status([](const Json& s) {
    return s["services"][0]["restarts"] == 1 && s["services"][0]["state"] == "ready";
  });
  REQUIRE(now.is_object());
  CHECK(now["services"][0]["workers"][0]["pid"] != before[0]);
}

TEST_CASE(
    "a program that is not there fails at once with its errno, not as a crash loop, and up ends with 1") {
  Supervised up("[service.a]\ncommand = [\"./missing\"]\n");
  up.start();
  CHECK(up.wait_exit() == 1);
  CAPTURE(up.output());
  CHECK(up.output().find("a: failed: ") != std::string::npos);
  CHECK(up.output().find("No such file or directory") != std::string::npos);
}

TEST_CASE("beside a living service a failed one is shown with its reason and no restarts") {
  Supervised up(
      "[service.a]\ncommand = [\"./missing\"]\n[service.b]\ncommand = [\"@BIN@/t_child\", \"pause\"]\n");
  up.start();
  REQUIRE(up.wait_event("service.failed", "a").is_object());
  const Json a = up.service("a");
  REQUIRE(a.is_object());
  CHECK(a["state"] == "failed");
  CHECK(a["restarts"] == 0);
  CHECK(a["reason"].get<std::string>().find("No such file or directory") != std::string::npos);
  CHECK(up.stop() == 1);
}

TEST_CASE("exec failures are told with their reason") {
  Folder folder;
  folder.write("not-executable", "#!/bin/sh\n");
  folder.write("bad-interpreter", "#!/there/is/no/such/interpreter\n");
  folder.write("no-format", "\x01\x02\x03");
  chmod(folder.file("bad-interpreter").c_str(), 0755);
  chmod(folder.file("no-format").c_str(), 0755);
  const std::vector<std::pair<std::string, std::string>> cases = {{"not-executable", "Permission denied"},
                                                                  {"bad-interpreter", "interpreter"},
                                                                  {"no-format", "Exec format error"}};
  for (const auto& [program, expected] : cases) {
    Supervised up("[service.a]\ncommand = [\"" + folder.file(program) + "\"]\n");
    up.start();
    CHECK(up.wait_exit() == 1);
    CAPTURE(program, up.output());
    CHECK(up.output().find(expected) != std::string::npos);
  }
}

TEST_CASE("an unknown user fails the service, it never runs as somebody else") {
  if (geteuid() != 0) {
    WARN("not root: only that the service fails is checked");
  }
  Supervised up(
      "[service.a]\ncommand = [\"@BIN@/t_child\", \"print\", \"ran\", \"pause\"]\nuser = "
      "\"no-such-user-here\"\n");
  up.start();
  CHECK(up.wait_exit() == 2);
  CHECK(up.output().find("no-such-user-here") != std::string::npos);
  CHECK(up.output().find("ran") == std::string::npos);
}

TEST_CASE("a crash loop backs off, and stop ends it") {
  Supervised up("[service.a]\ncommand = [\"@BIN@/t_child\", \"exit\", \"7\"]\n");
  up.start();
  const Json backed_off = up.wait_event([](const Json& e) {
    return e["type"] == "service.backed_off" && e["data"].value("retry_in_ms", 0) >= 300;
  });
  REQUIRE(backed_off.is_object());
  CHECK(up.service("a")["restarts"].get<int>() < 20);
  CHECK(up.cli({"stop", "a"}).status == 0);
  CHECK(up.service("a")["state"] == "stopped");
}

TEST_CASE("restart = never: exit 0 is done, another status is failed, and up ends with it") {
  Supervised good("[service.a]\ncommand = [\"@BIN@/t_child\", \"exit\", \"0\"]\nrestart = \"never\"\n");
  good.start();
  CHECK(good.wait_exit() == 0);
  Supervised bad("[service.a]\ncommand = [\"@BIN@/t_child\", \"exit\", \"4\"]\nrestart = \"never\"\n");
  bad.start();
  CHECK(bad.wait_exit() == 1);
}

TEST_CASE("on-failure restarts a failure and leaves a success alone") {
  Supervised up(R"(
[service.a]
command = "if [ -e marker ]; then exit 0; else touch marker; exit 1; fi"
shell = true
restart = "on-failure"
)");
  up.start();
  CHECK(up.wait_exit() == 0);
  CHECK(up.output().find("done") != std::string::npos);
}

TEST_CASE("a dependent waits until its dependency is ready") {
  Supervised up(R"(
[service.app]
command = ["@BIN@/t_child", "print", "app started", "pause"]
depends_on = ["db"]
[service.db]
command = ["@BIN@/t_http", "--fd", "{fd}", "--boot-ms", "300"]
listen = ["127.0.0.1:0"]
ready = { notify = true }
)");
  up.start();
  REQUIRE(up.wait_ready());
  const Json s = up.status();
  CHECK(s["services"][0]["state"] == "ready");
  const std::size_t db = up.output().find("db: ready");
  REQUIRE(up.wait_output("app started"));
  const std::size_t app = up.output().find("app started");
  REQUIRE(up.output().find("db: ready") != std::string::npos);
  CHECK(up.output().find("db: ready") < app);
  (void)db;
}

TEST_CASE("one of four workers that is killed under load loses no queued connection") {
  Supervised up(R"(
[service.web]
command = ["@BIN@/hello", "--fd", "{fd}"]
listen = ["127.0.0.1:0"]
workers = 4
)");
  up.start();
  REQUIRE(up.wait_ready());
  HttpLoad load(up.address("web"), 4);
  load.wait_more(100);
  CHECK(up.cli({"restart", "web"}).status == 0);
  load.wait_more(100);
  load.stop();
  CHECK(load.failed() == 0);
}
