// What happens to watched files, and which reloads come of it: none missed, none invented.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "support/catch.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

constexpr const char* kIdle =
    "[service.web]\ncommand = [\"@BIN@/t_child\", \"pause\"]\nwatch = { paths = [\"src\"] }\n";

int generation(Supervised& up) { return up.service("web")["generation"].get<int>(); }

void wait_generation(Supervised& up, int wanted) {
  REQUIRE(up.wait_status([&](const Json& s) {
              const Json& w = s["services"][0];
              return w["generation"].get<int>() >= wanted && w["state"] == "ready";
            }).is_object());
}

void shell(const std::string& command) {
  INFO(command);
  REQUIRE(std::system(command.c_str()) == 0);
}

void save_in_place(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::trunc) << text;
}

// IntelliJ's safe write: a new file beside it, the old one moved away, the new one into its place.
void save_safely(const std::string& path, const std::string& text) {
  std::ofstream(path + "___jb_tmp___") << text;
  REQUIRE(rename(path.c_str(), (path + "___jb_old___").c_str()) == 0);
  REQUIRE(rename((path + "___jb_tmp___").c_str(), path.c_str()) == 0);
  REQUIRE(unlink((path + "___jb_old___").c_str()) == 0);
}

std::string vim(const std::string& path, const std::string& settings, const std::string& text) {
  return "vim -u NONE -es -c 'set " + settings + "' -c 'normal A" + text + "' -c 'wq' '" + path +
         "' < /dev/null > /dev/null 2>&1";
}

}  // namespace

TEST_CASE("saves of real editors are exactly one reload each, twice in a row") {
  Supervised up(kIdle);
  up.folder().write("src/main.txt", "x\n");
  up.start();
  REQUIRE(up.wait_ready());
  const std::string path = up.folder().file("src/main.txt");
  int expected = 1;
  const auto one_reload = [&](const std::function<void(const std::string&)>& save) {
    for (const char* text : {"first", "second"}) {
      save(text);
      wait_generation(up, ++expected);
    }
  };
  const bool has_vim = std::system("command -v vim > /dev/null") == 0;
  if (has_vim) {
    for (const char* settings : {"nobackup writebackup backupcopy=no", "backup backupcopy=no",
                                 "nobackup nowritebackup", "writebackup backupcopy=yes"}) {
      one_reload([&](const std::string& text) { shell(vim(path, settings, text)); });
    }
  }
  one_reload([&](const std::string& text) { shell("sed -i '1s/^/" + text + "/' '" + path + "'"); });
  one_reload([&](const std::string& text) { save_in_place(path, text); });
  one_reload([&](const std::string& text) { save_safely(path, text); });
  one_reload([&](const std::string& text) { up.folder().write("src/main.txt", "by rename " + text); });
  up.folder().write("src/last.txt", "x");
  wait_generation(up, expected + 1);
  CHECK(generation(up) == expected + 1);
  CHECK(up.service("web")["reloads"] == expected);
}

TEST_CASE(
    "30,000 events while the head is stopped, the real edit last: reloaded each time, the overflow is said") {
  Supervised up(kIdle);
  for (const char* name : {"src/a.txt", "src/b.txt", "src/main.txt"}) up.folder().write(name, "");
  up.start();
  REQUIRE(up.wait_ready());
  std::size_t said = 0;
  for (int round = 1; round <= 5; ++round) {
    const pid_t head = up.head_pid();
    REQUIRE(kill(head, SIGSTOP) == 0);
    // Two files in turn: equal events in a row would be one.
    for (int i = 0; i < 30'000; ++i) {
      const std::string path = up.folder().file(i % 2 == 0 ? "src/a.txt" : "src/b.txt");
      REQUIRE(chmod(path.c_str(), i / 2 % 2 == 0 ? 0600 : 0640) == 0);
    }
    up.folder().write("src/main.txt", "the real edit " + std::to_string(round));
    REQUIRE(kill(head, SIGCONT) == 0);
    wait_generation(up, round + 1);
    CHECK(generation(up) == round + 1);
    const auto overflows = [&] {
      std::size_t count = 0;
      const std::string line = "the inotify queue overflowed";
      for (std::size_t at = 0; (at = up.output().find(line, at)) != std::string::npos; at += line.size())
        ++count;
      return count;
    };
    while (overflows() <= said && up.wait_output_more()) {
    }
    CHECK(overflows() > said);
    said = overflows();
  }
}

TEST_CASE("a service that writes into its watched tree is reloaded some times, then named, then left alone") {
  Supervised up(R"(
[service.web]
command = "mkdir -p src; echo $RUNMAIN_GENERATION > src/state.json; exec @BIN@/t_child ready pause"
shell = true
watch = { paths = ["src"] }
ready = { notify = true }
)");
  up.folder().write("src/main.txt", "x");
  up.start();
  const Json told = up.wait_event("reload.loop", "web");
  REQUIRE(told.is_object());
  CHECK(told["data"]["files"] == up.folder().file("src/state.json"));
  CHECK(up.wait_output("add it to `ignore`"));
  REQUIRE(up.wait_ready());
  const int before = generation(up);
  up.folder().write("src/main.txt", "a person's edit");
  wait_generation(up, before + 1);
  // A turn of the head's loop: what the start wrote before it was ready is judged before the next edit comes.
  REQUIRE(up.cli({"status"}).status == 0);
  up.folder().write("src/main.txt", "another one");
  wait_generation(up, before + 2);
  CHECK(generation(up) == before + 2);
}

TEST_CASE("somebody who saves the same file soon after each start, again and again, is reloaded each time") {
  Supervised up(
      "[service.web]\ncommand = [\"@BIN@/t_child\", \"ready\", \"pause\"]\nwatch = { paths = [\"src\"] }\n"
      "ready = { notify = true }\noverlap = false\n");
  up.folder().write("src/main.txt", "0");
  up.start();
  REQUIRE(up.wait_ready());
  for (int i = 1; i <= 60; ++i) {
    save_in_place(up.folder().file("src/main.txt"), std::to_string(i));
    wait_generation(up, i + 1);
    REQUIRE(up.cli({"status"}).status == 0);  // somebody looks before the next save
  }
  CHECK(generation(up) == 61);
  CHECK(up.output().find("changes after each start") == std::string::npos);
}

TEST_CASE("explain asks the running instance, whose rules follow the ignore files as they are edited") {
  Supervised up(kIdle);
  up.folder().write("src/main.txt", "x");
  up.folder().write("src/notes.md", "x");
  up.start();
  REQUIRE(up.wait_ready());
  const std::string notes = up.folder().file("src/notes.md");
  Ran said = up.cli({"explain", notes});
  CHECK(said.status == 0);
  CHECK(said.out.find("watched: reloads web") != std::string::npos);
  up.folder().write("src/.gitignore", "# docs\n*.md\n");
  up.folder().write("src/main.txt", "y");  // when this is served, the rules above it are, too
  wait_generation(up, 2);
  said = up.cli({"explain", notes});
  CHECK(said.status == 1);
  CHECK(said.out.find("src/.gitignore:2: *.md") != std::string::npos);
  up.folder().write("src/notes.md", "z");
  up.folder().write("src/main.txt", "z");
  wait_generation(up, 3);
  CHECK(generation(up) == 3);
  CHECK(up.service("web")["reloads"] == 2);
}
