// Contexts out of headers, and into them.
#include "child_runtime/context_carrier.hpp"

#include <map>
#include <string>

#include "child_runtime/trace.hpp"
#include "span_world.hpp"
#include "support/catch.hpp"

using Headers = std::map<std::string, std::string>;

namespace {

std::string text_of(const Headers& headers) {
  std::string text;
  for (const auto& [name, value] : headers) text += name + "=" + value + " ";
  return text;
}

const char kParent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

}  // namespace

TEST_CASE("what headers carry can be made current, and goes out as it came in") {
  fakes::Child child([] {  // the variables of propagators are read once a process
    const Headers in{{"TraceParent", kParent}, {"tracestate", "a=1,b=2"}, {"baggage", "user=alice;x=1"}};
    const runmain::Context context = runmain::extract_context(in);
    const runmain::Activation activation(context);
    Headers out;
    const bool all = runmain::inject_context(out);
    return std::to_string(context.span_context().is_remote) + (all ? " " : " in part ") + text_of(out);
  });
  CHECK(child.finish() ==
        std::string("1 baggage=user=alice;x=1 traceparent=") + kParent + " tracestate=a=1,b=2 ");
}

TEST_CASE("headers without a trace make the empty context, or one with their baggage only") {
  fakes::Child child([] {
    std::string found;
    for (const Headers& in : {Headers{}, Headers{{"traceparent", "nonsense"}, {"tracestate", "a=1"}}}) {
      if (runmain::extract_context(in).get() != nullptr) found += "a context ";
    }
    Headers out;
    runmain::inject_context(out, runmain::extract_context(Headers{{"baggage", "user=alice"}}));
    return found + text_of(out);
  });
  CHECK(child.finish() == "baggage=user=alice ");
}

TEST_CASE("a span with a context of headers as its parent is below the caller's, with its tracestate") {
  otlp::TestMailbox mailbox;
  const auto spans = fakes::spans_of(mailbox, [] {
    const Headers in{{"traceparent", kParent}, {"tracestate", "a=1"}};
    runmain::SpanOptions options;
    options.parent = runmain::extract_context(in);
    auto span = runmain::start_as_current_span("GET /", options);
    Headers out;
    if (runmain::inject_context(out)) span.add_event(out["traceparent"] + " " + out["tracestate"]);
  });
  REQUIRE(spans.size() == 1);
  CHECK(spans[0].trace_id == "0af7651916cd43dd8448eb211c80319c");
  CHECK(spans[0].parent == "b7ad6b7169203331");
  CHECK(spans[0].trace_state == "a=1");
  REQUIRE(spans[0].events.size() == 1);
  CHECK(spans[0].events[0].name == "00-" + spans[0].trace_id + "-" + spans[0].span_id + "-01 a=1");
}
