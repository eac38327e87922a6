// Spans that are current in coroutines which other threads resume.
#include <string>
#include <thread>

#include "child_runtime/coroutine.hpp"
#include "coroutine_task.hpp"
#include "span_world.hpp"
#include "support/catch.hpp"

using fakes::find;
using made::Event;
using made::Task;

namespace {

bool nothing_is_current() { return runmain_current() == nullptr; }

void on_another_thread(Event& event, bool& clean) {
  std::thread([&] {
    event.fire();
    clean = clean && nothing_is_current();
  }).join();
}

// Two spans, one in the other, that are open while the task waits.
Task nested(Event& event) {
  const auto outer = runmain::start_as_current_span("outer");
  {
    const auto inner = runmain::start_as_current_span("inner");
    co_await event;
    const auto below = runmain::start_as_current_span("below inner");
    co_await event;
  }
  const auto beside = runmain::start_as_current_span("below outer");
  co_await event;
}

}  // namespace

TEST_CASE(
    "nested spans of a task go with it from thread to thread, and nothing of them stays current behind") {
  otlp::TestMailbox mailbox;
  bool clean = true;
  const auto spans = fakes::spans_of(mailbox, [&] {
    Event event;
    Task task = nested(event);
    task.start();
    clean = clean && nothing_is_current();
    on_another_thread(event, clean);
    on_another_thread(event, clean);
    event.fire();
    clean = clean && nothing_is_current() && task.done();
    const auto after = runmain::start_as_current_span("after");
    if (!clean) (void)runmain::start_as_current_span("not clean");
  });
  REQUIRE(spans.size() == 5);
  CHECK(find(spans, "not clean") == nullptr);
  const otlp::Span* outer = find(spans, "outer");
  REQUIRE(outer != nullptr);
  CHECK(outer->parent.empty());
  CHECK(find(spans, "inner")->parent == outer->span_id);
  CHECK(find(spans, "below inner")->parent == find(spans, "inner")->span_id);
  CHECK(find(spans, "below outer")->parent == outer->span_id);
  CHECK(find(spans, "after")->parent.empty());
}

TEST_CASE(
    "a task that is resumed inside another span leaves that one current, and its own spans go their way") {
  otlp::TestMailbox mailbox;
  const auto spans = fakes::spans_of(mailbox, [] {
    Event event;
    Task task = nested(event);
    {
      const auto starter = runmain::start_as_current_span("starter");
      task.start();
      (void)runmain::start_as_current_span("in starter");
    }
    bool ignored = true;
    on_another_thread(event, ignored);
    {
      const auto other = runmain::start_as_current_span("other");
      event.fire();
      (void)runmain::start_as_current_span("in other");
    }
    on_another_thread(event, ignored);
    (void)runmain::start_as_current_span("after");
  });
  REQUIRE(spans.size() == 9);
  CHECK(find(spans, "in starter")->parent == find(spans, "starter")->span_id);
  CHECK(find(spans, "in other")->parent == find(spans, "other")->span_id);
  CHECK(find(spans, "outer")->parent.empty());
  CHECK(find(spans, "inner")->parent == find(spans, "outer")->span_id);
  CHECK(find(spans, "after")->parent.empty());
}

TEST_CASE("a task that is destroyed on another thread in the middle of nested spans ends them") {
  otlp::TestMailbox mailbox;
  const auto spans = fakes::spans_of(mailbox, [] {
    Event event;
    auto* task = new Task(nested(event));
    task->start();
    std::thread([&] {
      delete task;
      (void)runmain::start_as_current_span("on that thread");
    }).join();
    (void)runmain::start_as_current_span("here");
  });
  REQUIRE(spans.size() == 4);
  CHECK(find(spans, "inner")->parent == find(spans, "outer")->span_id);
  CHECK(find(spans, "on that thread")->parent.empty());
  CHECK(find(spans, "here")->parent.empty());
}
