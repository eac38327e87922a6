// `runmain serve`: one command as a pool of workers, no file. Real programs in a real folder.
#include <signal.h>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

using Words = std::vector<std::string>;

Supervised::Dev serve(Words flags, Words command) {
  Words words{"--listen", "127.0.0.1:0"};
  words.insert(words.end(), flags.begin(), flags.end());
  words.emplace_back("--");
  words.insert(words.end(), command.begin(), command.end());
  return {words, "serve"};
}

bool contains(const std::string& text, const std::string& part) {
  UNSCOPED_INFO(text);
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE(
    "serve: a pool is scaled and renewed under load without a lost request, by commands from its folder") {
  Supervised up(serve({"--workers", "2", "--name", "web"}, {"@BIN@/t_http", "--fd", "{fd}"}));
  up.start();
  REQUIRE(up.wait_ready());
  CHECK(up.wait_output("web: socket 127.0.0.1:0 is ours (LISTEN_FDS), 2 workers"));
  CHECK(up.pids("web").size() == 2);
  const Ran check = up.cli({"status", "--check"});
  CHECK(check.status == 0);
  CHECK(check.out.empty());
  HttpLoad load(up.address("web"), 2);
  load.wait_more(20);
  CHECK(contains(up.cli({"scale", "web=3"}).out, "scaled: web, 3 workers"));
  CHECK(up.pids("web").size() == 3);
  const auto before = up.pids("web");
  CHECK(up.cli({"reload", "web", "--wait"}).status == 0);
  const Json web = up.service("web");
  int renewed = 0;
  for (const Json& worker : web["workers"]) {
    if (worker["state"] == "ready" && worker["generation"] == 2) ++renewed;
  }
  CHECK(renewed == 3);
  CHECK(up.cli({"scale", "web=1"}).status == 0);
  load.wait_more(20);
  load.stop();
  for (const auto& [fault, count] : load.faults()) UNSCOPED_INFO(fault << ": " << count);
  CHECK(load.failed() == 0);
  CHECK(up.stop(SIGTERM) == 0);
  CHECK(up.cli({"status", "--check"}).status == 3);
}

TEST_CASE("serve: a reload that fails says why with the last lines, and what was before serves on") {
  Supervised up(serve({"--workers", "2", "--name", "web"}, {"sh", "./do.sh"}));
  const std::string good = std::string("exec ") + RUNMAIN_BIN_DIR + "/t_http --fd 3\n";
  up.folder().write("do.sh", good);
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("web");
  up.folder().write("do.sh", "echo 'the module is broken'\nexit 7\n");
  const Ran failed = up.cli({"reload", "web"});
  CHECK(failed.status == 1);
  CHECK(contains(failed.out, "exited with status 7"));
  CHECK(contains(failed.out, "web.0 | the module is broken"));
  CHECK(up.wait_output("  | the module is broken"));
  CHECK(up.cli({"status", "--check", "web"}).status == 0);
  CHECK(up.pids("web") == before);
  up.folder().write("do.sh", good);
  CHECK(up.cli({"reload", "web"}).status == 0);
  CHECK(up.pids("web") != before);
  CHECK(up.stop(SIGINT) == 0);
}
