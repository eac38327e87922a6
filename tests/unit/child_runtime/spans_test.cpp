// Spans as they come to the mailbox.
#include <string>
#include <thread>

#include "span_world.hpp"
#include "support/catch.hpp"

using namespace fakes;
using otlp::TestMailbox;

TEST_CASE("a span that has ended is in the mailbox, with what was said of it") {
  TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          auto span = runmain::start_as_current_span("GET /users");
          span.set_attribute("http.request.method", "GET");
          span.set_attribute("http.response.status_code", 200);
          return std::string(span.is_recording() ? "recording" : "not");
        }) == "recording");
  const auto spans = mailbox.read_all();
  REQUIRE(spans.size() == 1);
  CHECK(mailbox.torn == 0);
  const otlp::Span& span = spans[0];
  CHECK(span.name == "GET /users");
  CHECK(span.get("http.request.method") == "GET");
  CHECK(span.get("http.response.status_code") == "200");
  CHECK(span.parent.empty());
  CHECK(span.kind == RUNMAIN_KIND_INTERNAL);
  CHECK(span.flags == (0x100 | RUNMAIN_FLAG_SAMPLED | RUNMAIN_FLAG_RANDOM));
  CHECK(mailbox.started() == 1);
  CHECK(mailbox.ended() == 1);
}

// Requirement 6.
TEST_CASE("a child has the current span as its parent, and leaves it as it was") {
  TestMailbox mailbox;
  CHECK(in_child(mailbox, [] {
          const auto outer = runmain::start_as_current_span("outer");
          { const auto inner = runmain::start_as_current_span("inner"); }
          const auto beside = runmain::start_span("beside");
          const auto last = runmain::start_as_current_span("last");
          return std::string("done");
        }) == "done");
  const auto spans = mailbox.read_all();
  REQUIRE(spans.size() == 4);
  const otlp::Span& outer = spans[3];
  CHECK(outer.name == "outer");
  CHECK(outer.parent.empty());
  for (int i = 0; i < 3; ++i) {
    CHECK(spans[i].parent == outer.span_id);
    CHECK(spans[i].trace_id == outer.trace_id);
  }
}
