// All formats over one carrier, in headers and in an environment.
#include "child_runtime/propagation.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "fakes.hpp"
#include "support/catch.hpp"

using runmain::ChildEnvironment;
using runmain::Propagated;

namespace {

using Headers = std::vector<std::pair<std::string, std::string>>;

constexpr std::uint32_t kW3c = RUNMAIN_PROPAGATE_TRACECONTEXT | RUNMAIN_PROPAGATE_BAGGAGE;
constexpr std::uint32_t kB3 = RUNMAIN_PROPAGATE_B3;
constexpr std::uint32_t kB3Multi = RUNMAIN_PROPAGATE_B3MULTI;
constexpr int kBoth = RUNMAIN_EXTRACTED_SPAN | RUNMAIN_EXTRACTED_BAGGAGE;

const std::string kTrace = "0af7651916cd43dd8448eb211c80319c";
const std::string kSpan = "b7ad6b7169203331";
const std::string kParent = "00-" + kTrace + "-" + kSpan + "-01";

Propagated sample() {
  Propagated out;
  const Headers headers{{"traceparent", kParent}, {"tracestate", "foo=1"}, {"baggage", "user=alice"}};
  REQUIRE(runmain::extract(headers, out, kW3c) == kBoth);
  return out;
}

std::string traceparent(const Propagated& p) {
  char out[RUNMAIN_TRACEPARENT_SIZE + 1];
  runmain_traceparent_format(&p.span, out);
  return out;
}

std::uint32_t parsed(const std::string& list, std::string* unknown = nullptr) {
  runmain_text rest{};
  const std::uint32_t formats = runmain_propagators_parse({list.data(), list.size()}, &rest);
  if (unknown != nullptr) unknown->assign(rest.size > 0 ? rest.data : "", rest.size);
  return formats;
}

}  // namespace

// ---- composite ----

TEST_CASE("what was extracted is injected again") {
  Headers out;
  CHECK(runmain::inject(out, sample(), kW3c));
  CHECK(out == Headers{{"traceparent", kParent}, {"tracestate", "foo=1"}, {"baggage", "user=alice"}});
}

// Requirement 34.
TEST_CASE("extraction leaves what it does not find") {
  Propagated context = sample();
  CHECK(runmain::extract(Headers{}, context, kW3c) == 0);
  CHECK(runmain::extract(
            Headers{{"traceparent", "nonsense"}, {"tracestate", "bar=2"}, {"baggage", "no member"}}, context,
            kW3c) == 0);
  CHECK(traceparent(context) == kParent);
  CHECK(context.state.header() == "foo=1");
  CHECK(context.baggage.header() == "user=alice");
}

// Requirement 33.
TEST_CASE("a tracestate that is not valid does not lose its traceparent, nor keeps another's state") {
  Propagated context = sample();
  const std::string other = "00-" + kTrace + "-1111111111111111-00";
  CHECK(runmain::extract(Headers{{"traceparent", other}, {"tracestate", "=,="}}, context, kW3c) ==
        RUNMAIN_EXTRACTED_SPAN);
  CHECK(traceparent(context) == other);
  CHECK(context.state.empty());
}

TEST_CASE("only the formats that are asked for are read and written") {
  Propagated context;
  const Headers headers{{"traceparent", kParent}, {"baggage", "user=alice"}, {"b3", kTrace + "-" + kSpan}};
  CHECK(runmain::extract(headers, context, 0) == 0);
  CHECK(runmain::extract(headers, context, RUNMAIN_PROPAGATE_BAGGAGE) == RUNMAIN_EXTRACTED_BAGGAGE);
  CHECK(traceparent(context).empty());
  Headers out;
  CHECK(runmain::inject(out, sample(), RUNMAIN_PROPAGATE_BAGGAGE));
  CHECK(out == Headers{{"baggage", "user=alice"}});
}

TEST_CASE("without a span and without members nothing is injected") {
  Headers out;
  CHECK(runmain::inject(out, Propagated{}, kW3c | kB3 | kB3Multi));
  CHECK(out.empty());
}

// Requirement 34.
TEST_CASE("the fields are those of the formats") {
  using Fields = std::vector<std::string>;
  CHECK(runmain::propagator_fields(kW3c) == Fields{"traceparent", "tracestate", "baggage"});
  CHECK(runmain::propagator_fields(kB3) == Fields{"b3"});
  CHECK(runmain::propagator_fields(0).empty());
  CHECK(runmain::propagator_fields(kW3c | kB3 | kB3Multi).size() == RUNMAIN_FIELDS_MAX);
}

// Requirement 24.
TEST_CASE("a list of propagators is read with its doubles, cases and spaces") {
  std::string unknown;
  CHECK(parsed("", &unknown) == kW3c);
  CHECK(unknown.empty());
  CHECK(parsed("tracecontext") == RUNMAIN_PROPAGATE_TRACECONTEXT);
  CHECK(parsed(" b3 , B3Multi,b3,,tracecontext") == (kB3 | kB3Multi | RUNMAIN_PROPAGATE_TRACECONTEXT));
  CHECK(parsed("none") == 0);
  CHECK(parsed("tracecontext,none") == 0);
  CHECK(parsed("baggage,jaeger,xray", &unknown) == RUNMAIN_PROPAGATE_BAGGAGE);
  CHECK(unknown == "jaeger");
  CHECK(parsed("jaeger", &unknown) == kW3c);
  CHECK(unknown == "jaeger");
}

// Requirements 24 and 36.
TEST_CASE("OTEL_PROPAGATORS is read once, and what is set counts more") {
  fakes::Child child([] {
    setenv("OTEL_PROPAGATORS", "baggage", 1);
    std::string seen = std::to_string(runmain::propagators());
    setenv("OTEL_PROPAGATORS", "tracecontext", 1);
    seen += std::to_string(runmain::propagators());
    runmain::set_propagators(RUNMAIN_PROPAGATE_B3);
    return seen + std::to_string(runmain::propagators());
  });
  CHECK(child.finish() == "224");
}

// Requirements 21 and 24.
TEST_CASE("an unknown propagator is warned of in one line") {
  fakes::Child child([] {
    int ends[2];
    if (pipe(ends) != 0) return std::string("no pipe");
    dup2(ends[1], STDERR_FILENO);
    setenv("OTEL_PROPAGATORS", "jaeger,baggage", 1);
    const auto formats = std::to_string(runmain::propagators()) + std::to_string(runmain::propagators());
    close(ends[1]);
    close(STDERR_FILENO);
    std::string said(256, '\0');
    said.resize(static_cast<std::size_t>(std::max<ssize_t>(0, read(ends[0], said.data(), said.size()))));
    return formats + " " + said;
  });
  CHECK(child.finish() == "22 runmain: OTEL_PROPAGATORS: \"jaeger\" is unknown, ignoring\n");
}

// ---- B3 ----

TEST_CASE("B3 is read from one header and from several") {
  Propagated one;
  CHECK(runmain::extract(Headers{{"b3", kTrace + "-" + kSpan + "-1-05e3ac9a4f6e3b90"}}, one, kB3) ==
        RUNMAIN_EXTRACTED_SPAN);
  CHECK(traceparent(one) == kParent);
  Propagated several;
  CHECK(runmain::extract(Headers{{"X-B3-TraceId", kTrace}, {"X-B3-SpanId", kSpan}, {"X-B3-Sampled", "true"}},
                         several, kB3) == RUNMAIN_EXTRACTED_SPAN);
  CHECK(traceparent(several) == kParent);
  const std::string short_id = "8448eb211c80319c";
  Propagated padded;
  CHECK(runmain::extract(Headers{{"b3", short_id + "-" + kSpan + "-d"}}, padded, kB3Multi) ==
        RUNMAIN_EXTRACTED_SPAN);
  CHECK(traceparent(padded) == "00-0000000000000000" + short_id + "-" + kSpan + "-01");
  Propagated debug;
  CHECK(runmain::extract(Headers{{"x-b3-traceid", kTrace}, {"x-b3-spanid", kSpan}, {"x-b3-flags", "1"}},
                         debug, kB3Multi) == RUNMAIN_EXTRACTED_SPAN);
  CHECK(traceparent(debug) == kParent);
}

TEST_CASE("B3 that is not valid is not read, and traceparent counts more") {
  Propagated context;
  const std::string zeros(16, '0');
  for (const std::string& bad :
       {std::string("0"), kTrace, kTrace + "-", kTrace + "-" + zeros, zeros + "-" + kSpan,
        kTrace + "-" + kSpan + "-x", kTrace + "-" + kSpan + "-10", kTrace.substr(1) + "-" + kSpan,
        kTrace + "-" + kSpan.substr(1) + "g"}) {
    INFO(bad);
    CHECK(runmain::extract(Headers{{"b3", bad}}, context, kB3) == 0);
  }
  CHECK(runmain::extract(Headers{{"x-b3-traceid", kTrace}, {"x-b3-sampled", "1"}}, context, kB3Multi) == 0);
  CHECK(
      runmain::extract(Headers{{"b3", zeros + "1111111111111111-" + kSpan + "-0"}, {"traceparent", kParent}},
                       context, kW3c | kB3) == RUNMAIN_EXTRACTED_SPAN);
  CHECK(traceparent(context) == kParent);
}

TEST_CASE("B3 is written as its format says") {
  Headers out;
  CHECK(runmain::inject(out, sample(), kB3 | kB3Multi));
  CHECK(out == Headers{{"b3", kTrace + "-" + kSpan + "-1"},
                       {"x-b3-traceid", kTrace},
                       {"x-b3-spanid", kSpan},
                       {"x-b3-sampled", "1"}});
}

// ---- carriers of C++ ----

TEST_CASE("maps, multimaps, maps of lists and functions carry headers") {
  const Propagated from = sample();
  Propagated into;
  std::map<std::string, std::string> map{{"TraceParent", "old"}};
  CHECK(runmain::inject(map, from, kW3c));
  CHECK(map.size() == 3);
  CHECK(map.at("traceparent") == kParent);
  CHECK(runmain::extract(map, into, kW3c) == kBoth);

  std::unordered_multimap<std::string, std::string> multi{{"tracestate", "a=1"}, {"TRACESTATE", "b=2"}};
  CHECK(runmain::inject(multi, from, kW3c));
  CHECK(multi.count("tracestate") == 1);
  CHECK(runmain::extract(multi, into, kW3c) == kBoth);

  std::map<std::string, std::vector<std::string>> lists;
  CHECK(runmain::inject(lists, from, kW3c));
  lists["tracestate"].push_back("bar=2");
  CHECK(runmain::extract(lists, into, kW3c) == kBoth);
  CHECK(into.state.header() == "foo=1,bar=2");

  const std::vector<std::pair<std::string_view, const char*>> views{{"BAGGAGE", "a=1"}, {"Baggage", "b=2"}};
  CHECK(runmain::extract(views, into, kW3c) == RUNMAIN_EXTRACTED_BAGGAGE);
  CHECK(into.baggage.header() == "a=1,b=2");

  std::string written;
  CHECK(runmain::inject([&](std::string_view name,
                            std::string_view value) { written += std::string(name) + std::string(value); },
                        from, RUNMAIN_PROPAGATE_TRACECONTEXT));
  CHECK(written == "traceparent" + kParent + "tracestatefoo=1");
  const auto get = [](std::string_view name, std::size_t index) -> std::optional<std::string_view> {
    if (name != "traceparent" || index > 0) return std::nullopt;
    return kParent;
  };
  CHECK(runmain::extract(get, into, kW3c) == RUNMAIN_EXTRACTED_SPAN);
}

// Requirement 34.
TEST_CASE("a carrier that throws has nothing, and takes nothing") {
  Propagated context = sample();
  const auto get = [](std::string_view, std::size_t) -> std::optional<std::string_view> {
    throw std::runtime_error("no");
  };
  CHECK(runmain::extract(get, context, kW3c | kB3) == 0);
  CHECK(traceparent(context) == kParent);
  CHECK_FALSE(runmain::inject([](std::string_view, std::string_view) { throw std::runtime_error("no"); },
                              context, kW3c));
}

TEST_CASE("more than 64 headers of one name are no tracestate, and the first 64 of baggage count") {
  Headers headers{{"traceparent", kParent}, {"tracestate", "foo=1"}};
  for (int i = 0; i < 100; ++i) {
    headers.emplace_back("tracestate", "");
    headers.emplace_back("baggage", "k" + std::to_string(i) + "=1");
  }
  Propagated context;
  CHECK(runmain::extract(headers, context, kW3c) == kBoth);
  CHECK(context.state.empty());
  CHECK(context.baggage.size() == 64);
}

// ---- the environment ----

// Requirement 37.
TEST_CASE("names are normalised: upper case, _ for the rest, _ before a digit") {
  CHECK(runmain::environment_name("traceparent") == "TRACEPARENT");
  CHECK(runmain::environment_name("x-b3-traceid") == "X_B3_TRACEID");
  CHECK(runmain::environment_name("Key.with/odd \xc3\xa4") == "KEY_WITH_ODD___");
  CHECK(runmain::environment_name("3d") == "_3D");
  CHECK(runmain::environment_name("") == "_");
  char cut[4];
  CHECK(runmain_environment_name({"abcdef", 6}, cut, sizeof cut) == 6);
  CHECK(std::string(cut) == "ABC");
}

// Requirement 38.
TEST_CASE("only the normalised name is read, and only normalised names are keys") {
  std::string lower = "traceparent=lower";
  std::string longer = "TRACEPARENTS=longer";
  std::string right = "TRACEPARENT=a=b";
  std::string second = "TRACEPARENT=second";
  std::string empty = "_3D=";
  std::string odd = "no entry";
  std::string digit = "3D=1";
  std::string nameless = "=1";
  char* environment[] = {lower.data(), longer.data(), right.data(),    second.data(), empty.data(),
                         odd.data(),   digit.data(),  nameless.data(), nullptr};
  runmain_text value{};
  REQUIRE(runmain_environment_get(environment, {"traceparent", 11}, &value) == 1);
  CHECK(std::string(value.data, value.size) == "a=b");
  REQUIRE(runmain_environment_get(environment, {"3d", 2}, &value) == 1);
  CHECK(value.size == 0);
  CHECK(runmain_environment_get(environment, {"trace", 5}, &value) == 0);
  CHECK(runmain_environment_get(nullptr, {"trace", 5}, &value) == 0);
  runmain_text keys[8];
  REQUIRE(runmain_environment_keys(environment, keys, 8) == 4);
  CHECK(std::string(keys[0].data, keys[0].size) == "TRACEPARENTS");
  CHECK(std::string(keys[3].data, keys[3].size) == "_3D");
}

// Requirements 39 and 40.
TEST_CASE("a child's environment is a copy that gets its own context, never ours by accident") {
  std::string path = "PATH=/bin";
  std::string stale = "TRACEPARENT=00-11111111111111111111111111111111-1111111111111111-01";
  std::string again = "TRACEPARENT=again";
  std::string state = "TRACESTATE=old=1";
  char* ours[] = {path.data(), stale.data(), state.data(), again.data(), nullptr};
  char* entries[8];
  char text[RUNMAIN_CHILD_ENVIRONMENT_TEXT];
  runmain_child_environment copy{};
  REQUIRE(runmain_environment_copy(&copy, ours, entries, 8, text, sizeof text) == 0);
  Propagated from = sample();
  from.state = {};
  REQUIRE(runmain_inject_environment(kW3c, &copy, &from.span, &from.state.c(), &from.baggage.c()) == 0);
  std::vector<std::string> child(copy.entries, copy.entries + copy.count);
  CHECK(child == std::vector<std::string>{"PATH=/bin", "TRACEPARENT=" + kParent, "BAGGAGE=user=alice"});
  CHECK(copy.entries[copy.count] == nullptr);
  CHECK(ours[1] == stale.data());
  Propagated into;
  CHECK(runmain_extract_environment(kW3c, copy.entries, &into.span, &into.state.c(), &into.baggage.c()) ==
        kBoth);
  CHECK(traceparent(into) == kParent);
  REQUIRE(runmain_inject_environment(kW3c, &copy, nullptr, nullptr, nullptr) == 0);
  CHECK(copy.count == 1);
  REQUIRE(runmain_environment_copy(&copy, ours, entries, 8, text, sizeof text) == 0);
  REQUIRE(runmain_environment_set(&copy, {"traceparent", 11}, {"new", 3}) == 0);
  CHECK(std::vector<std::string>(copy.entries, copy.entries + copy.count) ==
        std::vector<std::string>{"PATH=/bin", "TRACEPARENT=new", "TRACESTATE=old=1"});
}

TEST_CASE("a child's environment without room stays as it was") {
  std::string path = "PATH=/bin";
  char* ours[] = {path.data(), nullptr};
  char* entries[2];
  char text[10];
  runmain_child_environment copy{};
  CHECK(runmain_environment_copy(&copy, ours, entries, 1, text, sizeof text) == -ENOSPC);
  CHECK(copy.count == 0);
  REQUIRE(runmain_environment_copy(&copy, ours, entries, 2, text, sizeof text) == 0);
  CHECK(runmain_environment_set(&copy, {"a", 1}, {"b", 1}) == -ENOSPC);
  CHECK(runmain_environment_set(&copy, {"path", 4}, {"12345", 5}) == -ENOSPC);
  CHECK(std::string(copy.entries[0]) == "PATH=/bin");
  CHECK(runmain_environment_set(&copy, {"path", 4}, {"1\0002", 3}) == -EINVAL);
  CHECK(runmain_environment_set(&copy, {"path", 4}, {"1234", 4}) == 0);
  CHECK(std::string(copy.entries[0]) == "PATH=1234");
  CHECK(copy.entries[1] == nullptr);
}

TEST_CASE("the largest context fits into a child's environment") {
  char* entries[RUNMAIN_FIELDS_MAX + 1];
  char text[RUNMAIN_CHILD_ENVIRONMENT_TEXT];
  runmain_child_environment copy{};
  REQUIRE(runmain_environment_copy(&copy, nullptr, entries, RUNMAIN_FIELDS_MAX + 1, text, sizeof text) == 0);
  Propagated from = sample();
  from.baggage.clear();
  REQUIRE(from.state.set(std::string(256, 'k'), std::string(255, 'v')));
  REQUIRE(from.baggage.set("k", std::string(RUNMAIN_BAGGAGE_MAX - 2, 'v')));
  CHECK(runmain_inject_environment(kW3c | kB3 | kB3Multi, &copy, &from.span, &from.state.c(),
                                   &from.baggage.c()) == 0);
  CHECK(copy.count == 7);
}

TEST_CASE("ChildEnvironment is the same with strings") {
  std::string path = "PATH=/bin";
  std::string stale = "BAGGAGE=old=1";
  char* ours[] = {path.data(), stale.data(), nullptr};
  ChildEnvironment child(ours);
  CHECK(child.inject(sample(), RUNMAIN_PROPAGATE_TRACECONTEXT | RUNMAIN_PROPAGATE_BAGGAGE));
  CHECK(child.get("traceparent") == kParent);
  CHECK(child.get("baggage") == "user=alice");
  CHECK(child.keys() == std::vector<std::string>{"PATH", "TRACEPARENT", "TRACESTATE", "BAGGAGE"});
  Propagated into;
  CHECK(child.extract(into, kW3c) == kBoth);
  CHECK_FALSE(child.set("x", std::string_view("a\0b", 3)));
  CHECK(child.remove("tracestate"));
  CHECK(child.pointers().size() == 4);
  CHECK(child.pointers().back() == nullptr);
}

// Requirement 39.
TEST_CASE("what a process was started with is read once") {
  fakes::Child child([] {
    setenv("TRACEPARENT", kParent.c_str(), 1);
    setenv("TRACESTATE", "foo=1", 1);
    setenv("BAGGAGE", "user=alice", 1);
    Propagated first;
    int found = runmain::inherited(first);
    setenv("TRACEPARENT", "changed", 1);
    Propagated second;
    found = found * 10 + runmain::inherited(second);
    return std::to_string(found) + traceparent(second) + std::string(second.state.header()) +
           std::string(second.baggage.header());
  });
  CHECK(child.finish() == "33" + kParent + "foo=1user=alice");
}
