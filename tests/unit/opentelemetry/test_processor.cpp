// Spans of the official SDK in the mailbox. Built where opentelemetry-cpp is found.
#include <opentelemetry/sdk/trace/tracer_provider.h>
#include <opentelemetry/trace/scope.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "child_runtime/opentelemetry.hpp"
#include "support/catch.hpp"
#include "support/mailbox_reader.hpp"

namespace otel = opentelemetry;
namespace sdk = opentelemetry::sdk::trace;

namespace {

// One a process: what is attached stays.
otlp::TestMailbox& mailbox() {
  static otlp::TestMailbox made;
  static const bool attached = runmain_mailbox_attach(made.memfd(), made.wake()) == 0;
  REQUIRE(attached);
  return made;
}

otel::nostd::shared_ptr<otel::trace::Tracer> tracer() {
  static const auto provider =
      std::make_shared<sdk::TracerProvider>(std::make_unique<runmain::MailboxSpanProcessor>());
  return provider->GetTracer("a.scope", "1.2.3");
}

template <std::size_t N>
std::string hex(otel::nostd::span<const std::uint8_t, N> id) {
  return otlp::hex({reinterpret_cast<const char*>(id.data()), id.size()});
}

const otlp::Span* find(const std::vector<otlp::Span>& spans, const std::string& name) {
  const auto found =
      std::find_if(spans.begin(), spans.end(), [&](const auto& span) { return span.name == name; });
  return found == spans.end() ? nullptr : &*found;
}

}  // namespace

TEST_CASE("a span of the SDK comes with its own ids, its parent, its times and its kind") {
  mailbox();
  const auto outer = tracer()->StartSpan("outer");
  otel::trace::StartSpanOptions options;
  options.kind = otel::trace::SpanKind::kServer;
  {
    const otel::trace::Scope scope(outer);
    const auto inner = tracer()->StartSpan("inner", {}, options);
    inner->UpdateName("inner, renamed");
    inner->SetStatus(otel::trace::StatusCode::kError, "it failed");
    inner->End();
  }
  outer->End();
  const auto spans = mailbox().read_all();
  const otlp::Span* out = find(spans, "outer");
  const otlp::Span* in = find(spans, "inner, renamed");
  REQUIRE(out != nullptr);
  REQUIRE(in != nullptr);
  CHECK(out->trace_id == hex(outer->GetContext().trace_id().Id()));
  CHECK(out->span_id == hex(outer->GetContext().span_id().Id()));
  CHECK(out->parent.empty());
  CHECK(in->trace_id == out->trace_id);
  CHECK(in->parent == out->span_id);
  CHECK(in->kind == RUNMAIN_KIND_SERVER);
  CHECK(in->status == 2);
  CHECK(in->status_message == "it failed");
  CHECK(in->start >= out->start);
  CHECK(in->end <= out->end);
  CHECK_FALSE(in->bad);
}

TEST_CASE("attributes of all types, events and links are there, given at the start or later") {
  mailbox();
  const std::array<std::int64_t, 2> numbers{1, -2};
  const std::array<otel::nostd::string_view, 2> words{"a", "b"};
  const std::array<bool, 2> flags{true, false};
  const auto linked = tracer()->StartSpan("linked");
  const auto span = tracer()->StartSpan("full", {{"given", "at the start"}, {"given.list", words}},
                                        {{linked->GetContext(), {{"why", "a link"}}}});
  span->SetAttribute("text", "later");
  span->SetAttribute("flag", true);
  span->SetAttribute("int", std::int32_t{-5});
  span->SetAttribute("unsigned", std::uint32_t{5});
  span->SetAttribute("real", 1.5);
  span->SetAttribute("numbers", otel::nostd::span<const std::int64_t>(numbers.data(), numbers.size()));
  span->SetAttribute("words", otel::nostd::span<const otel::nostd::string_view>(words.data(), words.size()));
  span->SetAttribute("flags", otel::nostd::span<const bool>(flags.data(), flags.size()));
  span->AddEvent("happened", {{"count", std::int64_t{3}}});
  span->End();
  linked->End();
  const auto spans = mailbox().read_all();
  const otlp::Span* full = find(spans, "full");
  REQUIRE(full != nullptr);
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, std::string>>{{"given", "at the start"},
                                                        {"given.list", "[a,b]"},
                                                        {"text", "later"},
                                                        {"flag", "true"},
                                                        {"int", "-5"},
                                                        {"unsigned", "5"},
                                                        {"real", "1.5"},
                                                        {"numbers", "[1,-2]"},
                                                        {"words", "[a,b]"},
                                                        {"flags", "[true,false]"}}) {
    INFO(key);
    CHECK(full->get(key) == value);
  }
  REQUIRE(full->events.size() == 1);
  CHECK(full->events[0].name == "happened");
  CHECK(full->events[0].attributes.get("count") == "3");
  REQUIRE(full->links.size() == 1);
  CHECK(full->links[0].span_id == hex(linked->GetContext().span_id().Id()));
  CHECK(full->links[0].attributes.get("why") == "a link");
}

TEST_CASE("a flush says the truth at once, and what was never ended is open in the mailbox") {
  mailbox();
  runmain::MailboxSpanProcessor processor;
  CHECK(processor.ForceFlush(std::chrono::microseconds(1)));
  const auto open = tracer()->StartSpan("never ended");
  bool found = false;
  for (std::uint32_t lane = 0; lane < mailbox().lanes(); ++lane) {
    for (std::uint32_t i = 0; i < mailbox().header().open_slots; ++i) {
      const runmain_open_slot& slot = mailbox().slot(lane, i);
      found = found || (slot.state != 0 && std::string(slot.name, slot.name_length) == "never ended");
    }
  }
  CHECK(found);
  open->End();
}
