// Who starts telemetry, and where.
#include "case.hpp"

using namespace runmain::doctor;

TEST_CASE("a program that is traced as it should be has no finding", "[doctor]") {
  CHECK(clean().found().empty());
}

TEST_CASE("a provider that is refused, or set beside a living one, is a second start", "[doctor]") {
  Case refused = clean();
  refused.start(kServing, 2, "/app/app.py:20", false);
  CHECK(refused.found() == "double-init 101");
  const Finding f = judge(refused.e).front();
  REQUIRE(f.sides.size() == 2);
  CHECK(f.sides[0].stack.front() == "/app/tracing.py:5 main");
  CHECK(f.sides[1].stack.front() == "/app/app.py:20 main");
  CHECK(f.sure == Sure::sure);
  CHECK(f.fix.find("/app/app.py:20") != std::string::npos);

  Case anew = clean();
  anew.start(kServing, 2, "/app/app.py:20", true);
  CHECK(anew.found() == "double-init 101");

  Case after_the_end = clean();
  Shutdown shutdown;
  shutdown.pid = kServing;
  shutdown.provider = 1;
  after_the_end.e.shutdowns.push_back(shutdown);
  after_the_end.start(kServing, 2, "/app/app.py:20", true);
  CHECK(after_the_end.found().empty());
}

TEST_CASE("two providers are one too many only where they send the same to one place", "[doctor]") {
  Case rival = clean();
  rival.made(kServing, 2, "/app/other.py:3");
  rival.exporter(kServing, 2, 20, "/app/other.py:4");
  CHECK(rival.found() == "double-init 101");

  Case elsewhere = clean();
  elsewhere.made(kServing, 2, "/app/other.py:3");
  elsewhere.exporter(kServing, 2, 20, "/app/other.py:4", "http://audit:4318/v1/traces");
  CHECK(elsewhere.found().empty());

  Case other_service = clean();
  other_service.made(kServing, 2, "/app/other.py:3", "audit");
  other_service.exporter(kServing, 2, 20, "/app/other.py:4");
  CHECK(other_service.found().empty());
}

TEST_CASE("without a probe two instances of one process are seen by their spans", "[doctor]") {
  Case c;
  c.process(kServing, 1, 4).runtime.clear();
  c.wire(kServing, "t1", "aa", 2).instance_id = "one";
  auto& second = c.wire(kServing, "t2", "bb", 2);
  second.instance_id = "two";
  second.connection = 7;
  CHECK(c.found() == "double-init 101");
  CHECK(judge(c.e).front().sure == Sure::likely);
}

TEST_CASE("a parent that starts telemetry beside the child that serves is named, and a launcher is not",
          "[doctor]") {
  Case c = clean();
  c.e.processes.front().parent = kParent;
  c.process(kParent, 1, 0, {"flask", "run", "--debug"});
  CHECK(c.found().empty());
  c.start(kParent, 1, "/app/tracing.py:5");
  CHECK(c.found() == "reloader-both 100");
  CHECK(judge(c.e).front().fix.find("runmain dev -- ") != std::string::npos);
  CHECK(role_of(c.e, kParent) == "reloader");
}

TEST_CASE("Python's resource tracker that starts telemetry is named, another helper may have its own",
          "[doctor]") {
  Case c = clean();
  c.process(kOther, 1, 0, {"python", "-c", "from multiprocessing.resource_tracker import main;main(5)"});
  c.start(kOther, 1, "/site-packages/opentelemetry/sitecustomize.py:3");
  CHECK(c.found() == "reloader-both 102");
  Case helper = clean();
  helper.process(kOther, kServing, 0, {"python", "job.py"});
  helper.start(kOther, 1, "/app/job.py:3");
  CHECK(helper.found().empty());
}

TEST_CASE("spans alone show a parent that exports beside its child", "[doctor]") {
  Case c;
  c.process(kParent, 1, 0).runtime.clear();
  c.process(kServing, kParent, 4).runtime.clear();
  c.wire(kParent, "t1", "boot");
  c.wire(kServing, "t2", "boot");
  CHECK(c.found() == "reloader-both 100");
  CHECK(judge(c.e).front().seen_by == SeenBy{false, true, true});

  Case by_thread;
  by_thread.process(kParent, 1, 0).runtime.clear();
  by_thread.e.processes.front().signs = {"thread OtelBatchSpanRec"};
  by_thread.process(kServing, kParent, 4).runtime.clear();
  by_thread.wire(kServing, "t2", "boot");
  CHECK(by_thread.found() == "reloader-both 100");
}

namespace {

// A master that started telemetry and forked one that serves.
Case preloaded() {
  Case c;
  c.process(kParent, 1, 0, {"gunicorn", "--preload", "app:app"});
  c.process(kServing, kParent, 4, {"gunicorn", "--preload", "app:app"}).forked = true;
  c.start(kParent, 1, "/app/app.py:5");
  c.instrument(kParent, "FlaskInstrumentor", "flask", "/app/app.py:9");
  c.fork(kParent, kServing, {1});
  c.request(kServing);
  c.seen(kServing, "aa", "/site-packages/flask.py:1").by_program = false;
  c.wire(kServing, "t1", "aa", 2);
  return c;
}

}  // namespace

TEST_CASE("a preloaded provider alone is no fault, and starting again after the fork is", "[doctor]") {
  CHECK(preloaded().found().empty());
  for (const bool accepted : {true, false}) {
    Case again = preloaded();
    again.start(kServing, 2, "/app/gunicorn.conf.py:4", accepted);
    CHECK(again.found() == "preload-fork 101");
    CHECK(judge(again.e).front().sides.size() == 2);
  }
  Case added = preloaded();
  added.exporter(kServing, 1, 50, "/app/gunicorn.conf.py:4");
  CHECK(added.found() == "exporter-twice 101, preload-fork 101");
}

TEST_CASE("a span that was open at the fork and comes from two processes is the preload's doing",
          "[doctor]") {
  Case c = preloaded();
  c.e.forks.front().open.push_back({"t9", "boot", "boot"});
  c.wire(kParent, "t9", "boot");
  c.wire(kServing, "t9", "boot");
  CHECK(c.found() == "preload-fork 101");
  CHECK(judge(c.e).front().seen_by == SeenBy{true, true, false});
}

TEST_CASE("a start after the fork that is refused, where nothing of before exports, is a cause of its own",
          "[doctor]") {
  Case c = preloaded();
  Shutdown shutdown;
  shutdown.pid = kParent;
  shutdown.provider = 1;
  c.e.shutdowns.push_back(shutdown);
  c.made(kServing, 2, "/app/gunicorn.conf.py:4");
  c.exporter(kServing, 2, 20, "/app/gunicorn.conf.py:4");
  c.set(kServing, 2, "/app/gunicorn.conf.py:5", false, kParent);
  CHECK(c.found() == "refused-after-fork 101");
  CHECK(judge(c.e).front().sides.front().pid == kParent);
}

TEST_CASE("telemetry in the parent and none where requests are answered is named", "[doctor]") {
  Case c;
  c.process(kParent, 1, 0, {"uvicorn", "--reload", "main:app"});
  c.process(kServing, kParent, 4);
  c.start(kParent, 1, "/app/main.py:5");
  c.request(kServing);
  CHECK(c.found() == "wrong-process 101");
  Case nothing;
  nothing.process(kServing, 1, 4);
  nothing.request(kServing);
  CHECK(nothing.found() == "no-telemetry 101");
}

TEST_CASE("an instance id of two workers is named, one of a worker and its parent is not", "[doctor]") {
  Case c = clean();
  c.process(kOther, 1, 3);
  c.start(kOther, 1, "/app/tracing.py:5");
  c.request(kOther);
  c.seen(kOther, "ee", "/site-packages/f.py:1").by_program = false;
  c.e.spans.front().instance_id = "web-1";
  c.wire(kOther, "t5", "ee", 2).instance_id = "web-1";
  CHECK(c.found() == "shared-instance-id 101");
  c.e.spans.back().instance_id = "web-2";
  CHECK(c.found().empty());
  for (ProviderMade& made : c.e.providers)
    made.resource["service.instance.id"] = "web-1";  // of workers that sent nothing
  CHECK(c.found() == "shared-instance-id 101");

  Case above = clean();
  above.e.processes.front().parent = kParent;
  above.process(kParent, 1, 0).runtime.clear();
  above.e.processes.front().forked = true;
  above.fork(kParent, kServing, {});
  above.e.spans.front().instance_id = "web-1";
  CHECK(above.found().empty());
}

TEST_CASE("an injector beside an SDK of the program is named, each alone is not", "[doctor]") {
  Case c = clean();
  c.e.processes.front().injectors = {"/usr/lib/libotelinject.so"};
  CHECK(c.found() == "sdk-and-injector 101");
  Case alone;
  alone.process(kServing, 1, 4).injectors = {"/usr/lib/libotelinject.so"};
  CHECK(alone.found() == "no-telemetry 101");
  Case ebpf = clean();
  ebpf.e.ebpf = {"beyla (pid 12)"};
  CHECK(judge(ebpf.e).front().sure == Sure::possible);
}

TEST_CASE("the same fault in four workers is told once", "[doctor]") {
  Case c;
  for (pid_t pid = 200; pid < 204; ++pid) {
    c.process(pid, 1, 1);
    c.start(pid, 1, "/app/tracing.py:5");
    c.start(pid, 2, "/app/app.py:20", false);
    c.request(pid);
    c.seen(pid, "s" + std::to_string(pid), "/site-packages/f.py:1").by_program = false;
    c.wire(pid, "t1", "s" + std::to_string(pid), 2);
  }
  CHECK(c.found() == "double-init 200");
  CHECK(judge(c.e).front().evidence.back() == "the same in pid 201, 202 and 203");
}

TEST_CASE("what follows one another, another service's parent and a proxy are no faults", "[doctor]") {
  Case workers = clean();
  workers.process(kOther, 1, 3);
  workers.start(kOther, 1, "/app/tracing.py:5");
  workers.request(kOther);
  workers.seen(kOther, "ee", "/site-packages/f.py:1").by_program = false;
  workers.e.spans.front().instance_id = "web-1";
  workers.wire(kOther, "t5", "ee", 2).instance_id = "web-1";
  for (Process& p : workers.e.processes) {
    p.first_seen = p.pid == kOther ? 50 : 10;
    p.last_seen = p.first_seen + 20;
  }
  CHECK(workers.found().empty());
  workers.e.processes.front().last_seen = 60;
  CHECK(workers.found() == "shared-instance-id 101");

  Case dispatcher = clean();
  dispatcher.e.processes.front().parent = kParent;
  dispatcher.process(kParent, 1, 0, {"python", "dispatcher.py"});
  dispatcher.start(kParent, 1, "/app/dispatcher.py:5");
  dispatcher.e.providers.back().resource["service.name"] = "dispatcher";
  CHECK(dispatcher.found().empty());
  CHECK(role_of(dispatcher.e, kParent) == "parent");

  Case proxy = clean();
  proxy.e.processes.front().requests = 0;
  proxy.process(kOther, 1, 4, {"node", "proxy.js"});
  proxy.e.requests.front().pid = kOther;
  CHECK(proxy.found().empty());
}

TEST_CASE("what turns telemetry off is named where no span came", "[doctor]") {
  Case c;
  c.process(kServing, 1, 4).settings = {"OTEL_SDK_DISABLED=true"};
  c.request(kServing);
  REQUIRE(c.found() == "no-telemetry 101");
  CHECK(judge(c.e).front().evidence[1] == "its environment says OTEL_SDK_DISABLED=true");
  CHECK(judge(c.e).front().fix.rfind("Take it out", 0) == 0);
  Case console;
  console.process(kServing, 1, 4);
  console.made(kServing, 1, "/app/t.py:1");
  console.set(kServing, 1, "/app/t.py:2");
  console.request(kServing);
  console.seen(kServing, "aa", "/site-packages/f.py:1").by_program = false;
  CHECK(console.found() == "no-telemetry 101");
}

TEST_CASE("a process that says it was forked by itself, or in a circle, ends nothing", "[doctor]") {
  Case c = clean();
  c.process(kOther, 1, 0);
  c.start(kOther, 1, "/app/x.py:1");
  c.fork(kServing, kServing, {1});
  c.fork(kOther, kParent, {1});
  c.fork(kParent, kOther, {1});
  (void)judge(c.e);
  SUCCEED();
}
