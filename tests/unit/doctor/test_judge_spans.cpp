// What instruments, what spans say, and how it ends.
#include "case.hpp"

using namespace runmain::doctor;

namespace {

constexpr Nanoseconds kSecond = 1'000'000'000;

void stop(Case& c, const std::string& signal) {
  c.pass(kSecond);
  c.e.stop.tried = true;
  c.e.stop.signal = signal;
  c.e.stop.begin = c.now();
  c.e.stop.ended = c.now() + kSecond / 10;
}

}  // namespace

TEST_CASE("an instrumentation that is applied twice is named once a request has two server spans",
          "[doctor]") {
  Case c = clean();
  c.instrument(kServing, "FlaskInstrumentor", "flask", "/app/app.py:12");
  CHECK(c.found().empty());  // it may have been harmless
  c.e.requests.back().end = c.now() + 5;
  SpanSeen& second = c.seen(kServing, "bb", "/site-packages/flask/__init__.py:1");
  second.kind = 2;
  second.parent = "aa";
  second.by_program = false;
  c.wire(kServing, "t1", "bb", 2).parent = "aa";
  CHECK(c.found() == "auto-and-manual 101");
  CHECK(judge(c.e).front().sides.size() == 2);
  CHECK(judge(c.e).front().seen_by == SeenBy{true, true, false});
  // Of several requests one is not enough: it may be the answer to one that we gave up.
  const Case one = c;
  c.request(kServing);
  CHECK(c.found().empty());
  c = one;
  // A server that calls itself.
  c.e.seen.back().parent = "cc";
  SpanSeen& client = c.seen(kServing, "cc", "/site-packages/requests.py:1");
  client.kind = 3;
  client.parent = "aa";
  CHECK(c.found().empty());
}

TEST_CASE("a middleware by hand beside the instrumentation's is named", "[doctor]") {
  Case c = clean();
  for (const bool by_program : {false, true}) {
    Middleware m;
    m.pid = kServing;
    m.type = "OpenTelemetryMiddleware";
    m.library = "asgi";
    m.by_program = by_program;
    m.stack = {by_program ? "/app/main.py:8 main" : "/site-packages/fastapi.py:1 build"};
    c.e.middlewares.push_back(m);
  }
  CHECK(c.found() == "auto-and-manual 101");
  c.e.middlewares.pop_back();
  CHECK(c.found().empty());
}

TEST_CASE("without a probe a server's span below a server's span is named, below a client's it is not",
          "[doctor]") {
  Case c;
  c.process(kServing, 1, 4).runtime.clear();
  c.wire(kServing, "t1", "aa", 2);
  c.wire(kServing, "t1", "bb", 2).parent = "aa";
  CHECK(c.found() == "auto-and-manual 101");
  Case by_asgi;
  by_asgi.process(kServing, 1, 4).runtime.clear();
  by_asgi.wire(kServing, "t1", "aa", 2).name = "GET /";
  WireSpan& below = by_asgi.wire(kServing, "t1", "bb", 1);
  below.parent = "aa";
  below.name = "GET / http send";
  CHECK(by_asgi.found().empty());
  by_asgi.e.spans.back().name = "GET /";
  CHECK(by_asgi.found() == "auto-and-manual 101");
  Case through_a_client;
  through_a_client.process(kServing, 1, 4).runtime.clear();
  through_a_client.wire(kServing, "t1", "aa", 2);
  through_a_client.wire(kServing, "t1", "cc", 3).parent = "aa";
  through_a_client.wire(kServing, "t1", "bb", 2).parent = "cc";
  CHECK(through_a_client.found().empty());
}

TEST_CASE("two processors with one exporter or one address are named, a console beside it is not",
          "[doctor]") {
  Case address = clean();
  address.exporter(kServing, 1, 30, "/app/app.py:15");
  CHECK(address.found() == "exporter-twice 101");

  Case same = clean();
  same.exporter(kServing, 1, 30, "/app/app.py:15", "");
  same.e.processors.back().exporter = same.e.processors.front().exporter;
  CHECK(same.found() == "exporter-twice 101");

  Case console = clean();
  console.exporter(kServing, 1, 30, "/app/app.py:15", "");
  console.e.processors.back().exporter_type = "ConsoleSpanExporter";
  CHECK(console.found().empty());

  Case outside;
  outside.process(kServing, 1, 4).runtime.clear();
  outside.wire(kServing, "t1", "aa", 2);
  outside.e.spans.push_back(outside.e.spans.front());
  CHECK(outside.found() == "exporter-twice 101");
}

TEST_CASE("an app that is instrumented when it is built already is named if no span of a server came",
          "[doctor]") {
  Case c = clean();
  c.e.instrumented.front().late = true;
  CHECK(c.found().empty());
  c.e.seen.front().kind = 1;
  c.e.spans.front().kind = 1;
  CHECK(c.found() == "too-late 101");
}

TEST_CASE("a provider without any instrumentation is named, spans by hand are enough", "[doctor]") {
  Case c = clean();
  c.e.instrumented.clear();
  CHECK(c.found().empty());
  c.e.seen.clear();
  c.e.spans.clear();
  CHECK(c.found() == "nothing-instrumented 101");
  c.instrument(kServing, "RequestsInstrumentor", "requests", "/app/app.py:9");
  CHECK(c.found() == "nothing-instrumented 101");
  c.instrument(kServing, "FlaskInstrumentor", "flask", "/app/app.py:9");
  CHECK(c.found().empty());  // excluded or not sampled: not this
}

TEST_CASE("a span that is never current is named where what begins within it is not below it", "[doctor]") {
  Case c = clean();
  SpanSeen& outer = c.seen(kServing, "outer", "/app/app.py:30", 100);
  outer.activated = false;
  outer.parent = "aa";
  outer.task = "1:2";
  SpanSeen& inner = c.seen(kServing, "inner", "/app/app.py:32", 10);
  inner.parent = "aa";
  inner.task = "1:2";
  c.wire(kServing, "t1", "outer");
  c.wire(kServing, "t1", "inner");
  CHECK(c.found() == "never-activated 101");
  c.e.seen.back().task = "1:3";
  CHECK(c.found().empty());  // another task's
  c.e.seen.back().task = "1:2";
  c.e.seen.back().parent = "outer";
  CHECK(c.found().empty());
}

TEST_CASE("a span that a request has begun and nobody has ended is named, one of the last request is not",
          "[doctor]") {
  Case c = clean();
  c.request(kServing);
  c.seen(kServing, "lost", "/app/app.py:40", 0).activated = false;
  c.pass(kSecond);
  CHECK(c.found() == "never-ended 101");
  c.e.seen.back().activated = true;
  CHECK(c.found().empty());  // a long task, in its block
  c.e.processes.front().runtime = "node 20.1.0";
  CHECK(c.found() == "never-ended 101");
  c.e.requests.back().last = true;
  CHECK(c.found().empty());
}

TEST_CASE("ids that two processes use are named, a span id in two traces is legal", "[doctor]") {
  Case c = clean();
  c.process(kOther, 1, 2);
  c.start(kOther, 1, "/app/tracing.py:5");
  c.request(kOther);
  c.seen(kOther, "aa", "/app/app.py:3");
  CHECK(c.found() == "repeated-ids 102");
  c.e.seen.back().trace = "t2";
  c.wire(kOther, "t2", "aa", 2);
  CHECK(c.found().empty());

  Case wire;
  wire.process(kServing, 1, 1).runtime.clear();
  wire.process(kOther, 1, 1).runtime.clear();
  wire.wire(kServing, "t1", "aa", 2);
  wire.wire(kOther, "t1", "aa", 2);
  CHECK(wire.found() == "repeated-ids 102");
}

TEST_CASE("who still answers long after SIGTERM has swallowed it, and what it then loses is no other finding",
          "[doctor]") {
  Case c = clean();
  stop(c, "SIGTERM");
  c.e.stop.ended.reset();
  c.e.stop.still_served = c.e.stop.begin + 3 * kSecond;
  c.e.stop.still_served_by = kServing;
  c.seen(kServing, "late", "/app/app.py:1").by_program = false;
  SignalHandled handler;
  handler.pid = kServing;
  handler.signal = "SIGTERM";
  handler.handler = "/node_modules/auto/register.js:30";
  c.e.signals.push_back(handler);
  CHECK(c.found() == "sigterm-swallowed 101");
  CHECK(judge(c.e).front().evidence.front() == "it still answered 3.0 s after SIGTERM");
}

TEST_CASE("a span that had ended and never came is lost, by what ended the process", "[doctor]") {
  struct Row {
    const char* how;
    const char* says;
  };
  for (const Row& row : {Row{"os._exit", "os._exit skips"}, Row{"kill", "SIGKILL"}}) {
    Case c = clean();
    c.seen(kServing, "last", "/app/app.py:1");
    stop(c, "SIGTERM");
    if (row.how == std::string("os._exit")) {
      Exited exit;
      exit.pid = kServing;
      exit.how = "os._exit";
      c.e.exits.push_back(exit);
    } else if (row.how == std::string("kill")) {
      c.process(kParent, 1, 0);
      Killed kill;
      kill.pid = kParent;
      kill.target = kServing;
      kill.signal = "SIGKILL";
      c.e.kills.push_back(kill);
    }
    INFO(row.how);
    CHECK(c.found() == "lost-at-exit 101");
    const auto evidence = judge(c.e).front().evidence;
    CHECK(evidence.front().rfind("1 of 2 spans", 0) == 0);
    CHECK(evidence.back().find(row.says) != std::string::npos);
  }
  Case by_signal = clean();
  by_signal.seen(kServing, "last", "/app/app.py:1");
  stop(by_signal, "SIGTERM");
  CHECK(by_signal.found().empty());
  REQUIRE(notes_of(by_signal.e).size() == 1);
  CHECK(notes_of(by_signal.e).front().rfind("1 span of pid 101 (serves) had ended right before SIGTERM", 0) ==
        0);

  Case console = clean();
  console.e.processors.front().endpoint.clear();
  console.seen(kServing, "last", "/app/app.py:1");
  stop(console, "SIGTERM");
  CHECK(console.found().empty());
}

TEST_CASE("a dead collector that was asked for is named with what it costs, the default one is not",
          "[doctor]") {
  Case c = clean();
  stop(c, "SIGTERM");
  c.e.stop.collectors_imitated = true;
  c.e.collectors.push_back({kCollectorAt, Reach::silent, true});
  CHECK(c.found() == "dead-collector 101");
  CHECK(judge(c.e).front().sure == Sure::likely);
  c.e.stop.ended = c.e.stop.begin + 10 * kSecond;
  CHECK(judge(c.e).front().sure == Sure::sure);
  CHECK(judge(c.e).front().evidence.back().find("10.0 s") != std::string::npos);
  c.e.collectors.front().asked_for = false;
  c.e.stop.collectors_imitated = false;
  CHECK(c.found().empty());
}

TEST_CASE("what a filter drops, a library's own end and a stop that takes its time are no losses",
          "[doctor]") {
  Case filter = clean();
  filter.seen(kServing, "GET /health", "/app/app.py:1");
  filter.pass(2 * kSecond);
  filter.seen(kServing, "GET /health", "/app/app.py:1").span = "hh";
  filter.e.seen.back().name = "GET /health";
  stop(filter, "SIGTERM");
  Exited exit;
  exit.pid = kServing;
  exit.how = "os._exit";
  exit.stack = {"/app/app.py:9 end"};
  filter.e.exits.push_back(exit);
  CHECK(filter.found().empty());

  Case library = clean();
  library.seen(kServing, "last", "/app/app.py:1");
  stop(library, "SIGTERM");
  exit.stack = {"/usr/lib/python3.11/multiprocessing/popen_fork.py:71 _launch",
                "/v/lib/python3.11/site-packages/granian/x.py:3 run"};
  library.e.exits.push_back(exit);
  CHECK(library.found().empty());
  CHECK(notes_of(library.e).size() == 1);
}

TEST_CASE("who did not get the signal through its wrapper, and a wrong path, are notes", "[doctor]") {
  Case c = clean();
  stop(c, "SIGTERM");
  c.e.stop.asked_directly = kServing;
  c.e.requests.front().status = 400;
  REQUIRE(notes_of(c.e).size() == 2);
  CHECK(notes_of(c.e)[0].find("but with 400") != std::string::npos);
  CHECK(notes_of(c.e)[1].rfind("SIGTERM did not reach pid 101", 0) == 0);
}
