// traceparent and tracestate as values: what the W3C suite does not look at.
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "child_runtime/propagation.hpp"
#include "support/catch.hpp"

using runmain::TraceState;

namespace {

const std::string kParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

runmain_text text(const std::string& s) { return {s.data(), s.size()}; }

int parse(const std::string& s, runmain_span_context& out) {
  return runmain_traceparent_parse(text(s), &out);
}

std::string format(const runmain_span_context& context) {
  char out[RUNMAIN_TRACEPARENT_SIZE + 1];
  const std::size_t size = runmain_traceparent_format(&context, out);
  CHECK(size == std::strlen(out));
  return out;
}

std::string member(char key, std::size_t size) {
  return std::string(1, key) + "=" + std::string(size - 2, 'v');
}

}  // namespace

// Requirement 32.
TEST_CASE("a traceparent is read into bytes and written as it was") {
  runmain_span_context context{};
  REQUIRE(parse(kParent, context) == 0);
  CHECK(context.trace_id[0] == 0x0a);
  CHECK(context.trace_id[15] == 0x9c);
  CHECK(context.span_id[0] == 0xb7);
  CHECK(context.span_id[7] == 0x31);
  CHECK(context.flags == RUNMAIN_FLAG_SAMPLED);
  CHECK(context.is_remote == 1);
  CHECK(format(context) == kParent);
}

// Requirement 32.
TEST_CASE("a traceparent that is not valid changes nothing") {
  runmain_span_context context{};
  REQUIRE(parse(kParent, context) == 0);
  const runmain_span_context before = context;
  const std::vector<std::string> bad = {
      "",
      "00",
      kParent.substr(0, 54),
      kParent + "-",
      " " + kParent,
      "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333G-01",
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0A",
      "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01",
      "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
      "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      "00-00000000000000000000000000000000-b7ad6b7169203331-01",
      "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
  };
  for (const std::string& s : bad) {
    INFO(s);
    CHECK(parse(s, context) == -EINVAL);
    CHECK(std::memcmp(&context, &before, sizeof context) == 0);
  }
}

// Requirement 32.
TEST_CASE("flags that nobody knows are dropped, the two known ones stay") {
  runmain_span_context context{};
  REQUIRE(parse(kParent.substr(0, 53) + "ff", context) == 0);
  CHECK(context.flags == 3);
  context.flags = 0xff;
  CHECK(format(context) == kParent.substr(0, 53) + "03");
}

// Requirement 32.
TEST_CASE("a later version is sent on as version 00") {
  runmain_span_context context{};
  REQUIRE(parse("cc" + kParent.substr(2) + "-more", context) == 0);
  CHECK(format(context) == kParent);
}

// Requirement 32.
TEST_CASE("without both ids no traceparent is written") {
  runmain_span_context context{};
  CHECK(format(context).empty());
  context.trace_id[3] = 1;
  CHECK(format(context).empty());
  context.span_id[3] = 1;
  CHECK(format(context).size() == RUNMAIN_TRACEPARENT_SIZE);
}

// Requirement 33.
TEST_CASE("a member that is set goes to the front, an older one of its key goes") {
  auto state = TraceState::parse("rojo=1,congo=2,foo=3");
  REQUIRE(state);
  CHECK(state->set("congo", "9"));
  CHECK(state->header() == "congo=9,rojo=1,foo=3");
  CHECK(state->set("new", "with space"));
  CHECK(state->header() == "new=with space,congo=9,rojo=1,foo=3");
  CHECK(state->get("new") == "with space");
  CHECK(state->get("foo") == "3");
  CHECK_FALSE(state->get("fo"));
  CHECK(state->remove("rojo"));
  CHECK_FALSE(state->remove("rojo"));
  CHECK(state->header() == "new=with space,congo=9,foo=3");
  CHECK(state->size() == 3);
}

// Requirements 13 and 33.
TEST_CASE("a key or a value that is not allowed is refused, and the state stays") {
  auto state = TraceState::parse("foo=1");
  REQUIRE(state);
  for (const char* key : {"", "Foo", "@foo", "_foo", "a b", "a=b", "a,b"}) CHECK_FALSE(state->set(key, "1"));
  for (const char* value : {"", "a,b", "a=b", "end ", "tab\tinside", "\x7f", "\xc3\xa4"}) {
    CHECK_FALSE(state->set("foo", value));
  }
  CHECK_FALSE(state->set(std::string(257, 'k'), "1"));
  CHECK_FALSE(state->set("foo", std::string(257, 'v')));
  CHECK_FALSE(state->set(std::string(256, 'k'), std::string(256, 'v')));  // 513 bytes
  CHECK(state->header() == "foo=1");
  CHECK(state->set(std::string(256, 'k'), std::string(255, 'v')));
  CHECK(state->header().size() == 512);
}

TEST_CASE("leading spaces belong to a value, a tab in it does not") {
  const auto state = TraceState::parse("foo=  1 ,bar=2");
  REQUIRE(state);
  CHECK(state->get("foo") == "  1");
  CHECK_FALSE(TraceState::parse("foo=1\t2"));
}

// Requirement 33.
TEST_CASE("the 33rd member pushes the last one out") {
  TraceState state;
  for (int i = 0; i < 32; ++i) REQUIRE(state.set("k" + std::to_string(i), "1"));
  CHECK(state.get("k0") == "1");
  REQUIRE(state.set("new", "1"));
  CHECK(state.size() == 32);
  CHECK_FALSE(state.get("k0"));
  CHECK(state.get("k1") == "1");
  REQUIRE(state.set("k1", "2"));
  CHECK(state.size() == 32);
}

// Requirement 33.
TEST_CASE("512 bytes go on; of more the long members go first, then those at the end") {
  const std::string a = member('a', 100);
  const std::string b = member('b', 129);
  const std::string c = member('c', 128);
  const std::string d = member('d', 152);
  const auto all = TraceState::parse(a + "," + b + "," + c + "," + d);
  REQUIRE(all);
  CHECK(all->header().size() == 512);

  const auto without_d = TraceState::parse(a + "," + b + "," + c + "," + d + "v");
  REQUIRE(without_d);
  CHECK(without_d->header() == a + "," + b + "," + c);

  const std::string rest = c + "," + member('e', 128) + "," + member('f', 128);
  const auto without_b = TraceState::parse(b + "," + rest);
  REQUIRE(without_b);
  CHECK(without_b->header() == rest);

  std::string many;
  for (char key = 'a'; key <= 'f'; ++key) many += (many.empty() ? "" : ",") + member(key, 128);
  const auto first = TraceState::parse(many);
  REQUIRE(first);
  CHECK(first->header() == many.substr(0, 3 * 128 + 2));
}

TEST_CASE("a new member stays, however long it is") {
  auto state = TraceState::parse(member('a', 100) + "," + member('b', 128));
  REQUIRE(state);
  REQUIRE(state->set("own", std::string(256, 'x')));
  CHECK(state->header().substr(0, 5) == "own=x");
  CHECK(state->size() == 3);
  REQUIRE(state->set("own2", std::string(256, 'x')));
  CHECK(state->header().substr(0, 6) == "own2=x");
  CHECK_FALSE(state->get("own"));
  CHECK(state->get("b"));
}

// Requirement 33.
TEST_CASE("a tracestate that is not valid changes nothing") {
  const std::string valid = "foo=1";
  const runmain_text good = text(valid);
  runmain_trace_state state{};
  REQUIRE(runmain_trace_state_parse(&good, 1, &state) == 0);
  const std::string bad = "bar=2,,=";
  const runmain_text values[] = {good, text(bad)};
  CHECK(runmain_trace_state_parse(values, 2, &state) == -EINVAL);
  CHECK(std::string(state.text, state.size) == "foo=1");
}
