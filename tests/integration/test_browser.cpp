// What a browser gets from runmain: pages that reload when a new generation serves, never before, and a page
// in place of a service that does not run.
#include <signal.h>

#include <fstream>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

// src/main is "good", "held" (it stands at the FIFO gate before it serves) or "bad" (it ends).
Supervised::Dev page(std::vector<std::string> more = {}) {
  std::vector<std::string> words{"--browser", "--listen", "127.0.0.1:0", "--name", "web", "--watch", "src"};
  words.insert(words.end(), more.begin(), more.end());
  words.insert(words.end(),
               {"--", "sh", "-c",
                "grep -q bad src/main && { echo 'Error: <bad> src'; exit 7; }; "
                "grep -q held src/main && @BIN@/t_child gate @DIR@/gate; exec @BIN@/t_http --fd 3"});
  return {words};
}

// "127.0.0.1:35729", where the script and its events are.
std::string origin(Supervised& up) {
  if (!up.wait_output("/live.js\"></script> reload")) return {};
  const std::size_t end = up.output().find("/live.js");
  const std::size_t begin = up.output().rfind("http://", end) + 7;
  return up.output().substr(begin, end - begin);
}

}  // namespace

TEST_CASE("every tab hears of a new generation once it serves, never before, and not of one that failed") {
  Supervised up(page());
  up.folder().write("src/main", "good");
  up.start();
  REQUIRE(up.wait_ready());
  const std::string events = origin(up);
  EventStream one(events, "/events");
  EventStream two(events, "/events");
  const std::string first = one.next();
  REQUIRE_FALSE(first.empty());
  CHECK(two.next() == first);

  up.folder().write("src/main", "bad");
  REQUIRE(up.wait_event("reload.failed", "web").is_object());
  up.folder().write("src/main", "held");
  REQUIRE(up.wait_output("at the gate"));
  CHECK_FALSE(one.has_more());
  CHECK_FALSE(two.has_more());
  std::ofstream(up.folder().file("gate"));
  const std::string second = one.next();
  CHECK(second != first);
  CHECK(two.next() == second);
  const Answered answer = get(up.address("web"), "/");
  CHECK(answer.ok);
  CAPTURE(answer.body);
  CHECK(answer.body.find(" 3 ") != std::string::npos);  // t_http: PID GENERATION WORKER
  CHECK(EventStream(events, "/events").next() == second);
  CHECK_FALSE(one.has_more());
  CHECK(up.stop(SIGINT) == 0);
}

TEST_CASE("a page that reloads when it is told to never gets the old generation, which may still accept") {
  Supervised up(
      Supervised::Dev{{"--browser", "--listen", "127.0.0.1:0", "--name", "web", "--watch", "src",
                       "--stop-timeout", "300ms", "--", "@BIN@/t_http", "--fd", "{fd}", "--ignore-term"}});
  up.folder().write("src/main", "1");
  up.start();
  REQUIRE(up.wait_ready());
  EventStream tab(origin(up), "/events");
  REQUIRE_FALSE(tab.next().empty());
  for (int generation = 2; generation <= 4; ++generation) {
    up.folder().write("src/main", std::to_string(generation));
    REQUIRE_FALSE(tab.next().empty());
    for (int i = 0; i < 20; ++i)
      CHECK(get(up.address("web"), "/").body.find(" " + std::to_string(generation) + " ") !=
            std::string::npos);
  }
}

TEST_CASE("a restart that nobody asked for serves the same code: pages are left alone") {
  Supervised up(page());
  up.folder().write("src/main", "good");
  up.start();
  REQUIRE(up.wait_ready());
  EventStream tab(origin(up), "/events");
  REQUIRE_FALSE(tab.next().empty());
  kill(up.pids("web").at(0), SIGKILL);
  REQUIRE(up.wait_status([](const Json& s) {
              return s["services"][0]["restarts"] == 1 && s["services"][0]["state"] == "ready";
            }).is_object());
  CHECK_FALSE(tab.has_more());
  up.folder().write("src/main", "good again");
  CHECK_FALSE(tab.next().empty());
}

TEST_CASE(
    "before there is a generation a browser gets a page with the last lines, and pages reload when one "
    "serves") {
  Supervised up(page());
  up.folder().write("src/main", "bad");
  up.start();
  const std::string events = origin(up);
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["state"] == "failed"; }).is_object());
  EventStream tab(events, "/events");
  const std::string none = tab.next();
  REQUIRE_FALSE(none.empty());
  const std::string address = up.address("web");
  const Answered trouble = get(address, "/some/page?x=1", "text/html");
  CHECK(trouble.fault == "status 503");
  CHECK(trouble.body.find("Error: &lt;bad&gt; src") != std::string::npos);
  CHECK(trouble.body.find("<script>") != std::string::npos);
  CHECK(get(address, "/", "application/json").body.find("Error: <bad> src") != std::string::npos);

  up.folder().write("src/main", "held");
  REQUIRE(up.wait_output("at the gate"));
  CHECK_FALSE(tab.has_more());
  std::ofstream(up.folder().file("gate"));
  CHECK(tab.next() != none);
  CHECK(get(address, "/").ok);
}

TEST_CASE("tabs that never read and more tabs than are served cost nobody a reload") {
  Supervised up(page());
  up.folder().write("src/main", "good");
  up.start();
  REQUIRE(up.wait_ready());
  const std::string events = origin(up);
  EventStream tab(events, "/events");
  REQUIRE_FALSE(tab.next().empty());
  std::vector<std::unique_ptr<EventStream>> deaf;
  for (int i = 0; i < 200; ++i) deaf.push_back(std::make_unique<EventStream>(events, "/events"));
  for (int generation = 2; generation <= 5; ++generation) {
    up.folder().write("src/main", "good " + std::to_string(generation));
    REQUIRE(serves(up, generation));
    CHECK_FALSE(tab.next().empty());
  }
  deaf.clear();
  EventStream late(events, "/events");
  CHECK_FALSE(late.next().empty());
  CHECK(up.stop(SIGINT) == 0);
}
