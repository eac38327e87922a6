// A program that is looked at, made of few words: who serves, and what each process recorded.
#pragma once

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "doctor/judge.hpp"

namespace runmain::doctor {

inline constexpr pid_t kParent = 100;
inline constexpr pid_t kServing = 101;
inline constexpr pid_t kOther = 102;
inline const std::string kCollectorAt = "http://localhost:4318/v1/traces";

class Case {
 public:
  Evidence e;

  Process& process(pid_t pid, pid_t parent, unsigned requests,
                   std::vector<std::string> argv = {"python", "app.py"}) {
    Process p;
    p.pid = pid;
    p.parent = parent;
    p.requests = requests;
    p.argv = std::move(argv);
    p.runtime = "python 3.11.2";
    p.listens = requests > 0;
    return e.processes.emplace_back(std::move(p));
  }
  // A provider with an exporter, made and set at `at`.
  void start(pid_t pid, std::uint64_t id, const std::string& at, bool accepted = true) {
    made(pid, id, at);
    exporter(pid, id, id * 10, at);
    set(pid, id, at, accepted);
  }
  void made(pid_t pid, std::uint64_t id, const std::string& at, const std::string& service = "web") {
    ProviderMade p;
    begin(p, pid, at);
    p.id = id;
    p.type = "TracerProvider";
    p.resource["service.name"] = service;
    e.providers.push_back(std::move(p));
  }
  void exporter(pid_t pid, std::uint64_t provider, std::uint64_t id, const std::string& at,
                const std::string& endpoint = kCollectorAt) {
    ProcessorAdded p;
    begin(p, pid, at);
    p.provider = provider;
    p.id = id;
    p.type = "BatchSpanProcessor";
    p.exporter = id + 1;
    p.exporter_type = "OTLPSpanExporter";
    p.endpoint = endpoint;
    e.processors.push_back(std::move(p));
  }
  void set(pid_t pid, std::uint64_t id, const std::string& at, bool accepted = true, pid_t first = 0) {
    ProviderSet s;
    begin(s, pid, at);
    s.provider = id;
    s.accepted = accepted;
    s.first_pid = first;
    e.sets.push_back(std::move(s));
  }
  Forked& fork(pid_t parent, pid_t child, std::vector<std::uint64_t> providers) {
    Forked f;
    begin(f, child, "");
    f.parent = parent;
    f.providers = std::move(providers);
    return e.forks.emplace_back(std::move(f));
  }
  Instrumented& instrument(pid_t pid, const std::string& type, const std::string& library,
                           const std::string& at) {
    Instrumented i;
    begin(i, pid, at);
    i.type = type;
    i.library = library;
    return e.instrumented.emplace_back(std::move(i));
  }
  // A request of 10 ms from now on.
  void request(pid_t pid) {
    Request r;
    r.pid = pid;
    r.begin = now_;
    r.end = now_ + 10;
    r.status = 200;
    e.requests.push_back(r);
  }
  // A span that a probe saw, of `length`; 0: it has not ended.
  SpanSeen& seen(pid_t pid, const std::string& span, const std::string& at, Nanoseconds length = 5) {
    SpanSeen s;
    begin(s, pid, "");
    s.trace = "t1";
    s.span = span;
    s.name = span;
    s.at = at;
    s.provider = 1;
    s.by_program = true;
    s.activated = true;
    if (length > 0) s.end = s.time + length;
    return e.seen.emplace_back(std::move(s));
  }
  // One that came to the receiver.
  WireSpan& wire(pid_t pid, const std::string& trace, const std::string& span, int kind = 1) {
    WireSpan s;
    s.pid = pid;
    s.connection = static_cast<std::uint64_t>(pid);
    s.trace = trace;
    s.span = span;
    s.name = span;
    s.kind = kind;
    s.service = "web";
    s.start_unix_nano = ++wall_ * 1000;
    s.end_unix_nano = s.start_unix_nano + 500;
    s.digest = wall_;
    return e.spans.emplace_back(std::move(s));
  }
  void pass(Nanoseconds time) { now_ += time; }
  Nanoseconds now() const { return now_; }

  // "double-init 101, lost-at-exit 101".
  std::string found() const {
    std::string text;
    for (const Finding& f : judge(e))
      text += (text.empty() ? "" : ", ") + (id_of(f.cause) + (" " + std::to_string(f.pid)));
    return text;
  }

 private:
  void begin(Record& record, pid_t pid, const std::string& at) {
    record.pid = pid;
    record.time = ++now_;
    if (!at.empty()) record.stack = {at + " main"};
  }
  Nanoseconds now_ = 1000;
  std::uint64_t wall_ = 1;
};

// One process that serves, traced as it should be.
inline Case clean() {
  Case c;
  c.process(kServing, 1, 4);
  c.start(kServing, 1, "/app/tracing.py:5");
  c.instrument(kServing, "FlaskInstrumentor", "flask", "/app/app.py:9");
  c.request(kServing);
  SpanSeen& span = c.seen(kServing, "aa", "/site-packages/flask/__init__.py:1");
  span.kind = 2;
  span.by_program = false;
  c.wire(kServing, "t1", "aa", 2);
  return c;
}

}  // namespace runmain::doctor
