// Which span is current: scopes, threads, tasks that take turns, and handles that go astray.
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "span_world.hpp"
#include "support/catch.hpp"

using namespace fakes;
using otlp::TestMailbox;

namespace {

std::string id_of(const runmain::SpanContext& c) {
  return otlp::hex({reinterpret_cast<const char*>(c.span_id), sizeof c.span_id});
}
std::string current_id() { return id_of(runmain::Context::current().span_context()); }
const std::string kNone(16, '0');

}  // namespace

TEST_CASE("start_span activates nothing, start_as_current_span does in its scope") {
  TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          std::string wrong;
          const auto apart = runmain::start_span("apart");
          if (current_id() != kNone) wrong += "a";
          {
            const auto outer = runmain::start_as_current_span("outer");
            if (current_id() != id_of(outer.span_context())) wrong += "b";
            {
              auto inner = runmain::start_as_current_span("inner");
              if (current_id() != id_of(inner.span_context())) wrong += "c";
              runmain::current_span().set_attribute("through", "current");
              inner.end();
              if (current_id() != id_of(outer.span_context())) wrong += "d";
            }
            if (current_id() != id_of(outer.span_context())) wrong += "e";
          }
          if (current_id() != kNone) wrong += "f";
          runmain::current_span().set_attribute("nobody", "hears");
          return wrong;
        }).empty());
  CHECK(find(mailbox.read_all(), "inner")->get("through") == "current");
}

TEST_CASE("scopes that end out of their order leave the right one current") {
  TestMailbox mailbox;
  CHECK(
      in_child(mailbox, [] {
        std::string wrong;
        auto a = std::make_unique<runmain::ScopedSpan>(runmain_span_start_current(nullptr, "a", 1, nullptr));
        auto b = std::make_unique<runmain::ScopedSpan>(runmain_span_start_current(nullptr, "b", 1, nullptr));
        auto c = std::make_unique<runmain::ScopedSpan>(runmain_span_start_current(nullptr, "c", 1, nullptr));
        const std::string id = id_of(c->span_context());
        b.reset();
        if (current_id() != id) wrong += "1";
        a.reset();
        if (current_id() != id) wrong += "2";
        for (int i = 0; i < 100; ++i) const auto reuse = runmain::start_span("takes the memory again");
        c.reset();
        if (current_id() != kNone) wrong += "3";
        return wrong;
      }).empty());
}

TEST_CASE("bind carries the current context to another thread, and each has its own") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox, [] {
    std::function<int(int)> task;
    {
      const auto span = runmain::start_as_current_span("request");
      task = runmain::bind([](int n) {
        const auto inner = runmain::start_as_current_span("in the pool");
        return n + 1;
      });
    }
    for (int i = 0; i < 50; ++i) const auto reuse = runmain::start_span("takes the memory again");
    std::string on_other;
    std::thread([&] {
      const auto own = runmain::start_as_current_span("the pool's");
      const std::string before = current_id();
      if (task(1) != 2) on_other = "wrong answer";
      if (current_id() != before) on_other = "not put back";
    }).join();
    const auto done = runmain::start_span(on_other.empty() ? "well" : on_other);
  });
  REQUIRE(find(spans, "well") != nullptr);
  CHECK(find(spans, "in the pool")->parent == find(spans, "request")->span_id);
  CHECK(find(spans, "the pool's")->parent.empty());
}

TEST_CASE("two tasks that take turns each see their own span as current") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox, [] {
    // As a coroutine's helper does: what is current goes aside when a task stops, and comes back with it.
    struct Task {
      runmain::Context saved;
      std::optional<runmain::ScopedSpan> span;
      void step(const std::function<void()>& body) {
        const runmain_context* outside = runmain_context_retain(runmain_current());
        runmain_swap_current(saved.get());
        body();
        saved = runmain::Context::current();
        runmain_swap_current(outside);
        runmain_context_release(outside);
      }
    };
    Task a;
    Task b;
    const auto begin = [](Task& task, const char* name) {
      task.step([&] { task.span.emplace(runmain_span_start_current(nullptr, name, 1, nullptr)); });
    };
    const auto child = [](Task& task, const char* name) {
      task.step([&] { const auto span = runmain::start_as_current_span(name); });
    };
    begin(a, "a");
    begin(b, "b");
    child(a, "of a");
    child(b, "of b");
    child(a, "of a again");
    // The tasks are finished on another thread, the first one before the second.
    std::thread([&] {
      child(a, "of a elsewhere");
      a.step([&] { a.span.reset(); });
      child(b, "of b elsewhere");
      child(a, "of nobody");
      b.step([&] { b.span.reset(); });
    }).join();
    const auto last = runmain::start_span("root again");
  });
  const auto parent = [&](const char* name) { return find(spans, name)->parent; };
  const std::string a = find(spans, "a")->span_id;
  const std::string b = find(spans, "b")->span_id;
  CHECK(find(spans, "b")->parent.empty());
  CHECK(parent("of a") == a);
  CHECK(parent("of b") == b);
  CHECK(parent("of a again") == a);
  CHECK(parent("of a elsewhere") == a);
  CHECK(parent("of b elsewhere") == b);
  CHECK(parent("of nobody").empty());
  CHECK(parent("root again").empty());
}

TEST_CASE(
    "a current span that is given back on another thread is not current any more, and its memory is safe") {
  TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          std::string wrong;
          for (int round = 0; round < 100; ++round) {
            const auto outer = runmain::start_as_current_span("outer");
            runmain_span* astray = runmain_span_start_current(nullptr, "astray", 6, nullptr);
            std::thread([&] {
              runmain_span_finish(astray);
              for (int i = 0; i < 10; ++i) const auto reuse = runmain::start_span("takes memory");
            }).join();
            if (current_id() != id_of(outer.span_context())) wrong = "not passed";
            const auto child = runmain::start_as_current_span("child");
          }
          if (current_id() != kNone) wrong += " not empty";
          return wrong;
        }).empty());
  for (const otlp::Span& span : mailbox.read_all()) {
    if (span.name == "outer") CHECK(span.parent.empty());
  }
}

TEST_CASE("a thread that ends with a current span leaves it to whoever holds it") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox, [] {
    runmain_span* span = nullptr;
    std::thread([&] { span = runmain_span_start_current(nullptr, "left", 4, nullptr); }).join();
    runmain_span_set_string(span, "k", 1, "v", 1);
    runmain_span_finish(span);
    const auto own = runmain::start_as_current_span("own");
  });
  REQUIRE(spans.size() == 2);
  CHECK(find(spans, "left")->get("k") == "v");
  CHECK(find(spans, "own")->parent.empty());
}

// Requirement 13.
TEST_CASE("remote parents, tracestates and baggage go to children") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox, [] {
    runmain::SpanContext remote{};
    remote.trace_id[0] = 0xaa;
    remote.span_id[7] = 0xbb;
    remote.flags = RUNMAIN_FLAG_SAMPLED;
    remote.is_remote = 1;
    runmain_shared* state = runmain_shared_make("vendor=1", 8);
    runmain_shared* baggage = runmain_shared_make("user=7", 6);
    const auto context = runmain::Context::adopt(runmain_context_make(&remote, state, baggage));
    runmain_shared_release(state);
    runmain_shared_release(baggage);
    const runmain::Activation activation(context);
    const auto server = runmain::start_as_current_span("server", {.kind = runmain::SpanKind::server});
    auto inner = runmain::start_as_current_span("inner");
    runmain_shared* kept = runmain_context_baggage(runmain_current());
    inner.set_attribute("baggage",
                        std::string(static_cast<const char*>(runmain_shared_bytes(kept)), kept->size));
    const auto root = runmain::start_span("root", {.root = true});
  });
  REQUIRE(spans.size() == 3);
  const otlp::Span& server = *find(spans, "server");
  CHECK(server.trace_id == "aa" + std::string(30, '0'));
  CHECK(server.parent == "00000000000000bb");
  CHECK(server.flags == 0x301);
  CHECK(server.trace_state == "vendor=1");
  CHECK(server.kind == RUNMAIN_KIND_SERVER);
  const otlp::Span& inner = *find(spans, "inner");
  CHECK(inner.flags == 0x101);
  CHECK(inner.trace_state == "vendor=1");
  CHECK(inner.get("baggage") == "user=7");
  CHECK(find(spans, "root")->trace_state.empty());
  CHECK(find(spans, "root")->parent.empty());
}

TEST_CASE("baggage can be put beside a span's context") {
  TestMailbox mailbox;
  const auto spans = spans_of(mailbox, [] {
    const auto span = runmain::start_as_current_span("span");
    runmain_shared* baggage = runmain_shared_make("k=v", 3);
    const auto with = runmain::Context::adopt(runmain_context_with_baggage(runmain_current(), baggage));
    runmain_shared_release(baggage);
    const runmain::Activation activation(with);
    runmain::current_span().set_attribute("still", "the same span");
    auto child = runmain::start_as_current_span("child");
    child.set_attribute("baggage", runmain_context_baggage(runmain_current()) != nullptr);
  });
  REQUIRE(spans.size() == 2);
  CHECK(find(spans, "span")->get("still") == "the same span");
  CHECK(find(spans, "child")->parent == find(spans, "span")->span_id);
  CHECK(find(spans, "child")->get("baggage") == "true");
}
