// The head dies, at random moments; nothing is lost and nothing is there twice.
#include <dirent.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

// Waits until another head than `old` answers.
pid_t kill_head(Supervised& up) {
  const pid_t old = up.head_pid();
  if (old <= 0) return -1;
  kill(old, SIGKILL);
  wait_gone(old);
  REQUIRE(up.status().is_object());
  const pid_t next = up.head_pid();
  CHECK(next != old);
  return next;
}

}  // namespace

TEST_CASE("children, sockets and statuses survive the head") {
  Supervised up(R"(
[service.web]
command = ["@BIN@/hello", "--fd", "{fd}"]
listen = ["127.0.0.1:0"]
workers = 2
)");
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("web");
  const std::string address = up.address("web");
  HttpLoad load(address, 2);
  for (int i = 0; i < 5; ++i) {
    kill_head(up);
    load.wait_more(20);
  }
  load.stop();
  CHECK(load.failed() == 0);
  CHECK(up.pids("web") == before);
  CHECK(up.address("web") == address);
  CHECK(up.stop() == 0);
}

TEST_CASE("who follows the logs misses nothing and sees nothing twice when the head dies") {
  Supervised up("[service.a]\ncommand = [\"@BIN@/t_child\", \"count\", \"60000\"]\n");
  up.start();
  REQUIRE(up.wait_ready());
  Ran follower;
  std::thread follow([&] { follower = up.cli({"logs", "-f", "-n", "5000"}); });
  for (int i = 0; i < 8; ++i) kill_head(up);
  CHECK(up.stop() == 0);
  follow.join();
  CHECK(follower.status == 0);
  std::istringstream lines(follower.out);
  std::size_t expected = 0;
  for (std::string line; std::getline(lines, line) && line.starts_with("a | count ");) {
    const auto number = static_cast<std::size_t>(std::stoul(line.substr(10)));
    if (expected != 0 && number != expected) FAIL("after " << expected - 1 << " came " << number);
    expected = number + 1;
  }
  CHECK(expected > 20);
}

TEST_CASE("a death that no head saw is told by the next one") {
  Supervised up("[service.a]\ncommand = [\"@BIN@/t_child\", \"pause\"]\n");
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("a");
  const pid_t head = up.head_pid();
  kill(head, SIGSTOP);
  kill(before[0], SIGKILL);
  kill(head, SIGKILL);
  const Json now = up.wait_status([](const Json& s) {
    return s["services"][0]["restarts"] == 1 && s["services"][0]["state"] == "ready";
  });
  REQUIRE(now.is_object());
  CHECK(now["services"][0]["workers"].size() == 1);
}

TEST_CASE("a crash of the head at every turn: cold start from the keeper's table, the children serve on") {
  Supervised up("[service.a]\ncommand = [\"@BIN@/t_child\", \"pause\"]\n");
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("a");
  for (int i = 0; i < 3; ++i) {
    const pid_t head = up.head_pid();
    REQUIRE(head > 0);
    kill(head, SIGSEGV);
    wait_gone(head);
    REQUIRE(up.status().is_object());
  }
  CHECK(up.wait_output("keeper's table"));
  CHECK(up.pids("a") == before);
  CHECK(up.stop() == 0);
}

TEST_CASE("log lines are neither lost nor repeated when the head is killed again and again") {
  Supervised up(R"(
[service.talker]
command = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo the end; exec @BIN@/t_child pause"
shell = true
log = { file = "talker.log", max_size = "64KB", keep = 100 }
)");
  up.start();
  std::mt19937 random(Catch::rngSeed());
  CAPTURE(Catch::rngSeed());
  for (int i = 0; i < 20; ++i) kill_head(up);
  REQUIRE(up.wait_output("the end"));
  CHECK(up.stop() == 0);
  std::string all;
  for (int i = 100; i > 0; --i) all += up.folder().read("talker.log." + std::to_string(i));
  all += up.folder().read("talker.log");
  std::istringstream lines(all);
  int expected = 0;
  int wrong = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t at = line.find("| line ");
    if (at == std::string::npos) continue;
    if (line.substr(at + 7) != std::to_string(expected)) ++wrong;
    ++expected;
  }
  CHECK(expected == 20000);
  CHECK(wrong == 0);
}

TEST_CASE("an edit that was made while no head lived is seen by the next one") {
  Supervised up(R"(
[service.web]
command = ["@BIN@/hello", "--fd", "{fd}"]
listen = ["127.0.0.1:0"]
watch = { paths = ["src"] }
)");
  up.folder().write("src/main.txt", "one");
  up.start();
  REQUIRE(up.wait_ready());
  const pid_t head = up.head_pid();
  kill(head, SIGSTOP);
  up.folder().write("src/main.txt", "two");
  kill(head, SIGKILL);
  REQUIRE(up.wait_status([](const Json& s) {
              return s["services"][0]["generation"] == 2 && s["services"][0]["state"] == "ready";
            }).is_object());
}

TEST_CASE(
    "a cold start after edits of the file: every child under its own name, orders work, the journal "
    "replays") {
  const std::string pause = "command = [\"@BIN@/t_child\", \"pause\"]\n";
  Folder journal;
  const std::string file = journal.file("j");
  Supervised up("[service.a]\n" + pause + "[service.b]\n" + pause + "[service.c]\n" + pause,
                {"--journal", file});
  up.start();
  REQUIRE(up.wait_ready());
  const auto a = up.pids("a");
  const auto c = up.pids("c");
  up.set_config("[service.new]\n" + pause + "[service.c]\n" + pause + "[service.a]\n" + pause);
  REQUIRE(up.wait_status([](const Json& s) {
              return s["services"].size() == 3 && s["services"][2]["name"] == "new" &&
                     s["services"][2]["state"] == "ready";
            }).is_object());
  const auto fresh = up.pids("new");
  for (int i = 0; i < 3; ++i) {
    const pid_t head = up.head_pid();
    kill(head, SIGSEGV);
    wait_gone(head);
    REQUIRE(up.status().is_object());
  }
  REQUIRE(up.wait_output("started anew"));
  CHECK(up.pids("a") == a);
  CHECK(up.pids("c") == c);
  CHECK(up.pids("new") == fresh);
  REQUIRE(up.cli({"restart", "a"}).status == 0);
  CHECK(up.pids("a") != a);
  CHECK(up.pids("c") == c);
  CHECK(alive(fresh.at(0)));
  CHECK(up.stop() == 0);
  CHECK_FALSE(alive(c.at(0)));
  const Ran replay = run({std::string(RUNMAIN_BIN_DIR) + "/runmain", "replay", file});
  CAPTURE(replay.out);
  CHECK(replay.status == 0);
}

TEST_CASE("a program that is replaced on disk is the next head; a broken one is retried until it is mended") {
  namespace fs = std::filesystem;
  Supervised up("[service.a]\ncommand = [\"@BIN@/t_child\", \"pause\"]\n");
  const fs::path bin = up.folder().file("bin");
  fs::create_directory(bin);
  for (const char* program : {"runmain", "runmain-keeper", "runmain-supervisor"})
    fs::copy_file(fs::path(RUNMAIN_BIN_DIR) / program, bin / program);
  up.start(bin);
  REQUIRE(up.wait_ready());
  const auto before = up.pids("a");
  const fs::path head = bin / "runmain-supervisor";
  const pid_t first = up.head_pid();
  up.close_events();
  fs::rename(head, bin / "kept");
  up.folder().write("bin/runmain-supervisor", "#!/bin/sh\necho this one is broken\nexit 3\n");
  fs::permissions(head, fs::perms::owner_all);
  kill(first, SIGKILL);
  REQUIRE(up.wait_output("this one is broken"));
  CHECK(alive(before.at(0)));
  fs::rename(bin / "kept", head);
  // After some deaths in a row a head starts cold and says that.
  const auto taken_over = [&up] {
    return up.output().find("was replaced") != std::string::npos ||
           up.output().find("keeper's table") != std::string::npos;
  };
  while (!taken_over() && up.wait_output_more()) {
  }
  REQUIRE(taken_over());
  CHECK(up.pids("a") == before);
  CHECK(up.stop() == 0);
}

TEST_CASE("who waits for a reload is told how it went, though the head was replaced meanwhile") {
  Supervised up(
      "[runmain]\nmode = \"prod\"\n[service.web]\ncommand = '''if test -e broken; then sleep 1; echo boom; "
      "exit 7; fi; "
      "exec @BIN@/t_http --fd {fd} --boot-ms 300'''\nshell = true\nlisten = \"127.0.0.1:0\"\nworkers = 3\n");
  up.start();
  REQUIRE(up.wait_ready());
  const auto reload = [&] {
    Ran ran;
    std::thread asks([&] { ran = up.cli({"reload", "web", "--wait"}); });
    CHECK(up.wait_event("reload.starting", "web").is_object());
    kill_head(up);
    asks.join();
    return ran;
  };
  const Ran good = reload();
  INFO(good.out);
  CHECK(good.status == 0);
  CHECK(up.service("web")["generation"] == 2);
  up.folder().write("broken", "");
  const Ran bad = reload();
  INFO(bad.out);
  CHECK(bad.status == 1);
  CHECK(bad.out.find("exited with status 7") != std::string::npos);
  CHECK(up.service("web")["generation"] == 2);
  CHECK(up.stop() == 0);
}
