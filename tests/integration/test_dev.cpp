// `runmain dev`: one command, no file. Real programs in a real folder.
#include <signal.h>

#include <filesystem>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

using Words = std::vector<std::string>;

Supervised::Dev web(Words more = {}) {
  Words words{"--listen", "127.0.0.1:0"};
  words.insert(words.end(), more.begin(), more.end());
  words.insert(words.end(), {"--", "@BIN@/t_http", "--fd", "{fd}"});
  return {words};
}

// A program that reads what to do: `exec` of a line of do.sh.
Supervised::Dev script(Words more = {}) {
  more.insert(more.end(), {"--", "sh", "./do.sh"});
  return {more};
}

bool wait_state(Supervised& up, const std::string& state) {
  return up.wait_status([&](const Json& s) { return s["services"][0]["state"] == state; }).is_object();
}

bool wait_generation(Supervised& up, int wanted) {
  return up
      .wait_status([&](const Json& s) {
        const Json& w = s["services"][0];
        return w["generation"].get<int>() >= wanted && w["state"] == "ready";
      })
      .is_object();
}

}  // namespace

TEST_CASE("dev: a save makes a new generation and loses no request") {
  Supervised up(web());
  up.folder().write("main.txt", "0");
  up.start();
  REQUIRE(up.wait_ready());
  CHECK(up.wait_output("t_http: socket 127.0.0.1:0 is ours (LISTEN_FDS)"));
  HttpLoad load(up.address("t_http"), 2);
  for (int i = 1; i <= 10; ++i) {
    load.wait_more(20);
    up.folder().write("main.txt", std::to_string(i));
    REQUIRE(wait_generation(up, i + 1));
  }
  load.wait_more(20);
  load.stop();
  for (const auto& [fault, count] : load.faults()) UNSCOPED_INFO(fault << ": " << count);
  CHECK(load.failed() == 0);
  CHECK(up.service("t_http")["reloads"] == 10);
  CHECK(up.stop(SIGINT) == 0);
}

TEST_CASE("dev: every command finds it from its folder, and from no other") {
  Supervised up(web({"--name", "web"}));
  up.start();
  REQUIRE(up.wait_ready());
  const Ran status = up.cli({"status"});
  CAPTURE(status.out);
  CHECK(status.status == 0);
  CHECK(status.out.find("web") != std::string::npos);
  CHECK(up.cli({"why", "web"}).status == 0);
  CHECK(up.cli({"logs", "web"}).status == 0);
  CHECK(up.cli({"events"}).status == 0);
  const auto before = up.pids("web");
  CHECK(up.cli({"restart", "web"}).status == 0);
  CHECK(up.pids("web") != before);
  CHECK(up.cli({"reload", "web"}).status == 0);
  CHECK(up.cli({"status", "-c", "supervisor.toml"}).status == 3);
  const Folder other;
  const std::string runmain = std::string(RUNMAIN_BIN_DIR) + "/runmain";
  CHECK(run({runmain, "status"}, other.path()).status == 3);
  CHECK(up.cli({"down"}).status == 0);
  CHECK(up.wait_exit() == 0);
  CHECK(up.cli({"status"}).status == 3);
}

TEST_CASE("dev: a supervisor.toml in the folder is for up only, and up is found first") {
  Supervised up(web({"--name", "of-dev"}));
  up.folder().write("supervisor.toml", "[service.of-file]\ncommand = [\"sleep\", \"60\"]\n");
  up.start();
  REQUIRE(up.wait_ready());
  CHECK(up.cli({"status"}).out.find("of-dev") != std::string::npos);
  REQUIRE(up.cli({"up", "-d"}).status == 0);
  CHECK(up.cli({"status"}).out.find("of-file") != std::string::npos);
  CHECK(up.cli({"down"}).status == 0);
  CHECK(up.cli({"status"}).out.find("of-dev") != std::string::npos);
}

TEST_CASE("dev: a second one in the folder names the first and says how to have both") {
  Supervised up(web());
  up.start();
  REQUIRE(up.wait_ready());
  const Ran second = up.cli({"dev", "--", "true"});
  CAPTURE(second.out);
  CHECK(second.status == 2);
  CHECK(second.out.find("pid " + std::to_string(up.keeper_pid())) != std::string::npos);
  CHECK(second.out.find("--runtime-dir") != std::string::npos);
  const Folder beside;
  const Ran both = up.cli({"dev", "--exit-on-error", "--runtime-dir", beside.file("r"), "--state-dir",
                           beside.file("s"), "--", "false"});
  CAPTURE(both.out);
  CHECK(both.status == 1);
}

TEST_CASE("dev: bad flags are all told, end with 2 and start nothing") {
  const Folder folder;
  const std::string runmain = std::string(RUNMAIN_BIN_DIR) + "/runmain";
  const Ran ran = run({runmain, "dev", "--settle", "soon", "--workers", "0", "--env-file", "missing.env",
                       "--", "touch", "started"},
                      folder.path());
  CAPTURE(ran.out);
  CHECK(ran.status == 2);
  for (const std::string flag : {"--settle:", "--workers:", "--env-file:"})
    CHECK(ran.out.find(flag) != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder.file("started")));
  CHECK(run({runmain, "dev", "--no-such-flag", "--", "true"}, folder.path()).status == 2);
  CHECK(run({runmain, "dev"}, folder.path()).status == 2);
}

TEST_CASE("dev: a port that is taken is told before anything starts") {
  const int port = free_port();
  Supervised up("[service.a]\ncommand = [\"@BIN@/t_http\", \"--fd\", \"{fd}\"]\nlisten = [\"127.0.0.1:" +
                std::to_string(port) + "\"]\n");
  up.start();
  REQUIRE(up.wait_ready());
  const Folder folder;
  const std::string runmain = std::string(RUNMAIN_BIN_DIR) + "/runmain";
  for (const std::string flag : {"--port", "--listen"}) {
    const std::string value = (flag == "--port" ? "" : "127.0.0.1:") + std::to_string(port);
    const Ran ran = run({runmain, "dev", flag, value, "--", "touch", "started"}, folder.path());
    CAPTURE(ran.out);
    CHECK(ran.status == 2);
    CHECK(ran.out.find("port " + std::to_string(port) + " is in use") != std::string::npos);
  }
  CHECK_FALSE(std::filesystem::exists(folder.file("started")));
}

TEST_CASE("dev: a program that ends with 0 is done, and the next save starts it again") {
  Supervised up(script());
  up.folder().write("do.sh", "echo first\n");
  up.start();
  REQUIRE(up.wait_output("first"));
  REQUIRE(wait_state(up, "done"));
  up.folder().write("do.sh", "echo second\n");
  REQUIRE(up.wait_output("second"));
  REQUIRE(wait_state(up, "done"));
  CHECK(up.stop() == 0);
}

TEST_CASE("dev: a program that does not exist yet is started by the save that makes it") {
  Supervised up(Supervised::Dev{{"--", "./do.sh"}});
  up.start();
  REQUIRE(up.wait_output("cannot start"));
  up.folder().write("text", "#!/bin/sh\necho made\n");
  std::filesystem::permissions(up.folder().file("text"), std::filesystem::perms::owner_all);
  std::filesystem::rename(up.folder().file("text"), up.folder().file("do.sh"));
  CHECK(up.wait_output("made"));
}

TEST_CASE("dev --exit-on-error ends with 1 when the program fails, and not before") {
  Supervised up(script({"--exit-on-error"}));
  up.folder().write("do.sh", "echo good\n");
  up.start();
  REQUIRE(up.wait_output("good"));
  REQUIRE(wait_state(up, "done"));
  up.folder().write("do.sh", "exit 3\n");
  CHECK(up.wait_exit() == 1);
  CHECK(up.output().find("status 3") != std::string::npos);
}

TEST_CASE("dev --build: the program runs what was built last, and a build that fails changes nothing") {
  Supervised up(
      Supervised::Dev{{"--watch", "src", "--build", "cp src/do.sh built.sh", "--", "sh", "built.sh"}});
  up.folder().write("src/do.sh", "echo one; exec sleep 60\n");
  up.start();
  REQUIRE(up.wait_output("one"));
  REQUIRE(up.wait_ready());
  std::filesystem::rename(up.folder().file("src/do.sh"), up.folder().file("src/away.sh"));
  REQUIRE(up.wait_event("reload.build_failed").is_object());
  CHECK(up.service("built")["generation"] == 1);
  up.folder().write("src/do.sh", "echo two; exec sleep 60\n");
  CHECK(up.wait_output("two"));
}

TEST_CASE("dev: SIGHUP reads no file and reloads; a head that dies takes nothing with it") {
  Supervised up(web());
  up.start();
  REQUIRE(up.wait_ready());
  up.signal(SIGHUP);
  REQUIRE(wait_generation(up, 2));
  CHECK(up.output().find("read again") == std::string::npos);
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["workers"].size() == 1; }).is_object());
  const auto before = up.pids("t_http");
  kill(up.head_pid(), SIGKILL);
  CHECK(up.wait_output("the supervisor was replaced"));
  CHECK(up.pids("t_http") == before);
  up.folder().write("main.txt", "x");
  CHECK(wait_generation(up, 3));
}

TEST_CASE("dev: a start that fails only beside the old one names --no-overlap, another failure does not") {
  Supervised up(Supervised::Dev{
      {"--listen", "127.0.0.1:0", "--ignore", "lock", "--", "sh", "./do.sh", "@BIN@/t_http", "{fd}"}});
  const std::string serve = "exec \"$1\" --fd \"$2\"\n";
  const std::string alone = "mkdir lock || { echo 'Error: database is locked' >&2; exit 1; }\n" + serve;
  up.folder().write("do.sh", alone);
  up.start();
  REQUIRE(up.wait_ready());
  up.folder().write("do.sh", "exit 3\n");
  REQUIRE(up.wait_output("do.sh → generation 2 failed: exited with status 3; generation 1 serves on"));
  CHECK(up.output().find("--no-overlap") == std::string::npos);
  up.folder().write("do.sh", alone + "# again\n");
  REQUIRE(
      up.wait_output("generation 1 serves on; \"Error: database is locked\": if there can be only one, "
                     "say --no-overlap"));
  up.folder().write("do.sh", serve);
  CHECK(wait_generation(up, 4));
}

TEST_CASE("dev: a program that binds by itself is ready when it listens, and its address is told") {
  const std::string port = std::to_string(free_port());
  Supervised up(Supervised::Dev{{"--", "@BIN@/t_http", "--port", port, "--no-notify"}});
  up.folder().write("main.txt", "0");
  up.start();
  REQUIRE(up.wait_output("t_http: ready, serves on 127.0.0.1:" + port));
  CHECK(up.service("t_http")["workers"][0]["proof"] == "listens");
  up.folder().write("main.txt", "1");
  CHECK(up.wait_output("main.txt → generation 2 serves after"));
}
