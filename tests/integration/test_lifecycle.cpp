// What happens to services as traces at a collector, and in the terminal.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <thread>

#include "support/catch.hpp"
#include "support/http_load.hpp"
#include "support/span_sink.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;
using namespace std::chrono_literals;

namespace {

std::vector<otlp::Span> named(const SpanSink& sink, const std::string& name) {
  std::vector<otlp::Span> found;
  for (otlp::Span& span : sink.spans()) {
    if (span.name == name) found.push_back(std::move(span));
  }
  return found;
}

// Waits until the collector has so many spans of this name, and returns them.
std::vector<otlp::Span> wait_named(const SpanSink& sink, const std::string& name, std::size_t count) {
  const auto end = std::chrono::steady_clock::now() + kGuard;
  for (;;) {
    std::vector<otlp::Span> found = named(sink, name);
    if (found.size() >= count || std::chrono::steady_clock::now() > end) return found;
    std::this_thread::sleep_for(5ms);
  }
}

std::string service(const SpanSink& sink, const std::string& more = {}) {
  return "[telemetry]\nendpoint = \"" + sink.endpoint() +
         "\"\n[service.web]\ncommand = [\"sh\", \"-c\", \"echo parent $TRACEPARENT; exec @BIN@/hello\"]\n"
         "listen = \"127.0.0.1:0\"\nwatch = [\"code.txt\"]\n" +
         more;
}

}  // namespace

TEST_CASE("a start and a reload arrive as one trace each, and a worker knows the span of its start") {
  SpanSink sink(true);
  Supervised up(service(sink));
  up.folder().write("code.txt", "1");
  up.start();
  REQUIRE(up.wait_ready());
  const auto starts = wait_named(sink, "start web", 1);
  REQUIRE(starts.size() == 1);
  const auto workers = wait_named(sink, "start worker", 1);
  REQUIRE(workers.size() == 1);
  CHECK(workers[0].parent == starts[0].span_id);
  CHECK(up.wait_output("parent 00-" + workers[0].trace_id + "-" + workers[0].span_id + "-01"));

  up.folder().write("code.txt", "2");
  const auto reloads = wait_named(sink, "reload web", 1);
  REQUIRE(reloads.size() == 1);
  CHECK(reloads[0].get("runmain.changed_files").find("code.txt") != std::string::npos);
  CHECK(reloads[0].get("runmain.generation") == "2");
  REQUIRE(reloads[0].links.size() == 1);
  CHECK(reloads[0].links[0].trace_id == starts[0].trace_id);
  const auto drains = wait_named(sink, "drain", 1);
  REQUIRE(drains.size() == 1);
  CHECK(drains[0].trace_id == reloads[0].trace_id);
  CHECK(drains[0].parent == reloads[0].span_id);

  for (const auto& span : sink.spans()) {
    INFO(span.name << " " << span.start << " " << span.end << " " << span.parent);
    CHECK_FALSE(span.bad);
  }
  const Ran traces = up.cli({"traces", "--service", "runmain"});
  CHECK(traces.status == 0);
  CHECK(traces.out.find("reload web") != std::string::npos);
  CHECK(up.stop() == 0);
  CHECK(wait_named(sink, "stop web", 1).size() == 1);
  CHECK(sink.bad() == 0);
}

TEST_CASE("a crash is a trace, and a killed head goes on telling") {
  SpanSink sink(true);
  Supervised up(service(sink));
  up.folder().write("code.txt", "1");
  up.start();
  REQUIRE(up.wait_ready());
  for (const pid_t pid : up.pids("web")) kill(pid, SIGKILL);
  const auto restarts = wait_named(sink, "restart web", 1);
  REQUIRE(restarts.size() == 1);
  const auto exits = wait_named(sink, "exit worker", 1);
  REQUIRE(exits.size() == 1);
  CHECK(exits[0].get("runmain.exit.signal") == "SIGKILL");

  const pid_t head = up.head_pid();
  kill(head, SIGKILL);
  REQUIRE(wait_gone(head));
  REQUIRE(up.wait_ready());
  up.folder().write("code.txt", "2");
  CHECK(wait_named(sink, "reload web", 1).size() == 1);
  CHECK(up.stop() == 0);
}

TEST_CASE("requests of the example are spans below their callers', and status balances") {
  SpanSink sink(true);
  Supervised up(service(sink));
  up.folder().write("code.txt", "1");
  up.start();
  REQUIRE(up.wait_ready());
  const int fd = connect_to(up.address("web"));
  REQUIRE(fd >= 0);
  const std::string request =
      "GET / HTTP/1.1\r\nHost: test\r\n"
      "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
  REQUIRE(send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size()));
  const auto spans = wait_named(sink, "GET /", 1);
  REQUIRE(spans.size() == 1);
  CHECK(spans[0].trace_id == "0af7651916cd43dd8448eb211c80319c");
  CHECK(spans[0].parent == "b7ad6b7169203331");
  CHECK(spans[0].get("http.response.status_code") == "200");
  const auto inner = wait_named(sink, "greeting", 1);
  REQUIRE(inner.size() == 1);
  CHECK(inner[0].parent == spans[0].span_id);
  close(fd);
  const Ran status = up.cli({"status"});
  CHECK(status.out.find("2 ended = 2 exported") != std::string::npos);
  CHECK(status.out.find("does not balance") == std::string::npos);
  CHECK(up.stop() == 0);
}
