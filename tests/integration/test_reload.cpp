// Files change, the service reloads, no request is lost.
#include <signal.h>
#include <unistd.h>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;

namespace {

std::string web(const std::string& more) {
  return "[service.web]\ncommand = [\"@BIN@/hello\", \"--fd\", \"{fd}\"]\nlisten = "
         "[\"127.0.0.1:0\"]\nworkers = 2\n"
         "watch = { paths = [\"src\"] }\nstop = { timeout = \"5s\" }\n" +
         more;
}

int generation(Supervised& up) { return up.service("web")["generation"].get<int>(); }

void wait_generation(Supervised& up, int wanted) {
  REQUIRE(up.wait_status([&](const Json& s) {
              const Json& w = s["services"][0];
              return w["generation"].get<int>() >= wanted && w["state"] == "ready";
            }).is_object());
}

void reload_under_load(const std::string& more, int reloads) {
  Supervised up(web(more));
  up.folder().write("src/main.txt", "0");
  up.start();
  REQUIRE(up.wait_ready());
  HttpLoad load(up.address("web"), 4);
  for (int i = 1; i <= reloads; ++i) {
    const int before = generation(up);
    load.wait_more(20);
    up.folder().write("src/main.txt", std::to_string(i));
    wait_generation(up, before + 1);
  }
  load.wait_more(100);
  load.stop();
  for (const auto& [fault, count] : load.faults()) UNSCOPED_INFO(fault << ": " << count);
  CHECK(load.failed() == 0);
  CHECK(load.done() > 100);
  CHECK(up.stop() == 0);
}

}  // namespace

TEST_CASE("20 reloads under 4 clients lose no request, with overlap") { reload_under_load("", 20); }
TEST_CASE("20 reloads under 4 clients lose no request, without overlap") {
  reload_under_load("overlap = false\n", 20);
}

TEST_CASE("the same bytes again cause no reload; the next real edit causes exactly one") {
  Supervised up(web(""));
  up.folder().write("src/a.txt", "one");
  up.folder().write("src/b.txt", "one");
  up.start();
  REQUIRE(up.wait_ready());
  up.folder().write("src/a.txt", "one");
  up.folder().write("src/b.txt", "two");
  wait_generation(up, 2);
  CHECK(generation(up) == 2);
  CHECK(up.service("web")["reloads"] == 1);
}

TEST_CASE("a build that fails keeps the old generation and says so; the next save reloads") {
  Supervised up(web("") + "");
  up.set_config(
      "[service.web]\ncommand = [\"@BIN@/hello\", \"--fd\", \"{fd}\"]\nlisten = [\"127.0.0.1:0\"]\n"
      "[service.web.watch]\npaths = [\"src\"]\nbuild = { command = \"grep -q good src/main.txt\", shell = "
      "true }\n");
  up.folder().write("src/main.txt", "good");
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("web");
  up.folder().write("src/main.txt", "bad");
  REQUIRE(up.wait_event("reload.build_failed", "web").is_object());
  CHECK(up.pids("web") == before);
  CHECK(get(up.address("web"), "/").ok);
  up.folder().write("src/main.txt", "good again");
  REQUIRE(up.wait_event("reload.done", "web").is_object());
  CHECK(up.pids("web") != before);
}

TEST_CASE("a new generation that never gets ready is ended, the old one keeps serving, status says why") {
  Supervised up(R"(
[service.web]
command = "if grep -q good src/main.txt; then exec @BIN@/t_http --fd {fd}; else exec @BIN@/t_http --fd {fd} --boot-ms 60000; fi"
shell = true
listen = ["127.0.0.1:0"]
watch = { paths = ["src"] }
ready = { notify = true, timeout = "500ms" }
)");
  up.folder().write("src/main.txt", "good");
  up.start();
  REQUIRE(up.wait_ready());
  const auto before = up.pids("web");
  HttpLoad load(up.address("web"), 2);
  up.folder().write("src/main.txt", "bad");
  REQUIRE(up.wait_event("reload.failed", "web").is_object());
  load.wait_more(20);
  load.stop();
  CHECK(load.failed() == 0);
  REQUIRE(up.wait_status([&](const Json& s) { return s["services"][0]["workers"].size() == 1; }).is_object());
  CHECK(up.pids("web") == before);
  CHECK(up.cli({"why", "web"}).out.find("500 ms") != std::string::npos);
}

TEST_CASE("an edit during start-up is served at the end") {
  Supervised up(R"(
[service.web]
command = "cat src/main.txt; exec @BIN@/t_http --fd {fd} --boot-ms 200"
shell = true
listen = ["127.0.0.1:0"]
watch = { paths = ["src"] }
ready = { notify = true }
)");
  up.folder().write("src/main.txt", "version one\n");
  up.start();
  REQUIRE(up.wait_output("version one"));
  up.folder().write("src/main.txt", "version two\n");  // it has read the old text and is not ready yet
  REQUIRE(up.wait_output("version two"));
  REQUIRE(up.wait_ready());
}

TEST_CASE("SIGHUP and the reload command bring up a new generation") {
  Supervised up(web(""));
  up.folder().write("src/main.txt", "x");
  up.start();
  REQUIRE(up.wait_ready());
  CHECK(up.cli({"reload", "web"}).status == 0);
  CHECK(generation(up) == 2);
  up.signal(SIGHUP);
  wait_generation(up, 3);
}

TEST_CASE("a service in back-off is started at once by an edit") {
  Supervised up(R"(
[service.a]
command = "if grep -q good src/main.txt; then exec @BIN@/t_child pause; else exit 1; fi"
shell = true
watch = { paths = ["src"] }
restart = { policy = "always", initial = "60s", max = "60s" }
)");
  up.folder().write("src/main.txt", "bad");
  up.start();
  REQUIRE(up.wait_event("service.backed_off", "a").is_object());
  up.folder().write("src/main.txt", "good");
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["state"] == "ready"; }).is_object());
}

TEST_CASE(
    "before a first start has succeeded the service's clients read why, through the head's death, until it "
    "is mended") {
  Supervised up(R"(
[service.web]
command = "if [ -e src/broken ]; then echo 'SyntaxError <here>'; exit 3; fi; exec @BIN@/hello --fd 3"
shell = true
listen = ["127.0.0.1:0"]
watch = ["src"]
restart = { failed_start = "wait" }
)");
  up.folder().write("src/broken", "1");
  up.start();
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["state"] == "failed"; }).is_object());
  const std::string address = up.address("web");
  const auto reads_why = [&] {
    const Answered answer = get(address, "/");
    CHECK(answer.fault == "status 503");
    CHECK(answer.body.find("SyntaxError <here>") != std::string::npos);
    CHECK(answer.body.find("exited with status 3, waits for a change") != std::string::npos);
  };
  reads_why();
  CHECK(up.service("web")["restarts"] == 0);
  const pid_t head = up.head_pid();
  kill(head, SIGKILL);
  wait_gone(head);
  reads_why();

  up.folder().write("src/other", "still broken");
  REQUIRE(up.wait_status([](const Json& s) {
              return s["services"][0]["state"] == "failed" && s["services"][0]["generation"] == 2;
            }).is_object());
  reads_why();

  REQUIRE(unlink(up.folder().file("src/broken").c_str()) == 0);
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["state"] == "ready"; }).is_object());
  HttpLoad load(address, 2);
  load.wait_more(20);
  load.stop();
  CHECK(load.failed() == 0);
  CHECK(up.stop() == 0);
}

TEST_CASE(
    "a page hears that a new generation serves, when it serves, and of a head's death it hears nothing") {
  Supervised up(R"(
[service.web]
command = ["@BIN@/hello", "--fd", "{fd}"]
listen = ["127.0.0.1:0"]
watch = ["src"]
browser = true
[service.env]
command = ["@BIN@/t_child", "env", "RUNMAIN_BROWSER", "pause"]
)");
  up.folder().write("src/a", "1");
  up.start();
  REQUIRE(up.wait_ready());
  REQUIRE(up.wait_output("live.js"));
  const std::size_t at = up.output().find("http://127.0.0.1:");
  const std::string origin = up.output().substr(at + 7, up.output().find("/live.js") - at - 7);
  CHECK(get(origin, "/live.js").body.find("EventSource") != std::string::npos);
  REQUIRE(up.wait_output("RUNMAIN_BROWSER unset"));  // only who asks is told

  EventStream page(origin, "/events");
  const std::string first = page.next();
  REQUIRE_FALSE(first.empty());
  up.folder().write("src/a", "2");
  const std::string second = page.next();
  CHECK(second != first);
  CHECK(up.service("web")["state"] == "ready");
  CHECK(up.service("web")["generation"] == 2);

  const pid_t head = up.head_pid();
  kill(head, SIGKILL);
  wait_gone(head);
  EventStream again(origin, "/events");
  CHECK(again.next() == second);
  CHECK(up.stop() == 0);
}
