// The channel's lines as the library reads and writes them.
#include "child_runtime/message.hpp"

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "support/catch.hpp"

using runmain::child::kListenersMax;
using runmain::child::kNestingMax;
using runmain::child::LineWriter;
using runmain::child::Message;
using runmain::child::MessageKind;
using runmain::child::parse_message;

namespace {

// In a block of exactly its size, so that a sanitizer sees every byte read beyond it.
bool parse(const std::string& line, Message& out) {
  const std::unique_ptr<char[]> exact(new char[line.size()]);
  line.copy(exact.get(), line.size());
  return parse_message(exact.get(), line.size(), out);
}

std::string written(const LineWriter& line) { return std::string(line.data(), line.size()); }

}  // namespace

TEST_CASE("a role line gives the role and its listeners in order") {
  Message m{};
  REQUIRE(parse(R"({"v":1,"role":{"service":"web","slot":3,"generation":12,"instance_id":"abc","listeners":[)"
                R"({"name":"http","address":"127.0.0.1:80","kind":"tcp"},{"name":"x","kind":"unix"}]}})",
                m));
  CHECK(m.kind == MessageKind::role);
  CHECK(std::string(m.role.service) == "web");
  CHECK(m.role.slot == 3);
  CHECK(m.role.generation == 12);
  CHECK(std::string(m.role.instance_id) == "abc");
  REQUIRE(m.listener_count == 2);
  CHECK(std::string(m.listeners[0].name) == "http");
  CHECK(std::string(m.listeners[0].address) == "127.0.0.1:80");
  CHECK(std::string(m.listeners[1].kind) == "unix");
  CHECK(std::string(m.listeners[1].address).empty());
}

TEST_CASE("a role says by true and nothing else that a mailbox comes") {
  const auto says = [](const std::string& role) {
    Message m{};
    REQUIRE(parse(R"({"v":1,"role":{)" + role + "}}", m));
    return m.mailbox;
  };
  CHECK(says(R"("mailbox":true)"));
  CHECK(says(R"("listeners":[],"mailbox" : true ,"slot":1)"));
  CHECK_FALSE(says(R"("slot":1)"));
  CHECK_FALSE(says(R"("mailbox":false)"));
  CHECK_FALSE(says(R"("mailbox":{"size":[1]})"));
  CHECK_FALSE(says(R"("mailbox":"true")"));
  Message m{};
  CHECK_FALSE(parse(R"({"v":1,"role":{"mailbox":tru}})", m));
}

TEST_CASE("refusals and drains are read, with and without their details") {
  Message m{};
  REQUIRE(parse(R"({"v":1,"refused":{"why":"the role is taken"}})", m));
  CHECK(m.kind == MessageKind::refused);
  CHECK(std::string(m.why) == "the role is taken");
  REQUIRE(parse(R"( { "drain" : { "budget_ms" : 10000 } , "v" : 1 } )", m));
  CHECK(m.kind == MessageKind::drain);
  CHECK(m.budget_ms == 10000);
  REQUIRE(parse(R"({"v":1,"drain":{}})", m));
  CHECK(m.budget_ms == 0);
}

TEST_CASE("unknown keys of every shape are skipped") {
  Message m{};
  REQUIRE(parse(
      R"({"a":null,"b":[1,-2.5e+3,"x",[],{}],"c":{"d":{"e":[true,false]}},"v":1,"drain":{"budget_ms":7,)"
      R"("more":{"role":1}},"a key that is longer than any of ours and is only skipped":0})",
      m));
  CHECK(m.kind == MessageKind::drain);
  CHECK(m.budget_ms == 7);
  REQUIRE(parse(R"({"v":1,"news":{}})", m));
  CHECK(m.kind == MessageKind::none);
}

TEST_CASE("a line that is not strict JSON of version 1 is refused") {
  const std::vector<std::string> lines = {
      "",
      " ",
      "null",
      "[]",
      "{",
      "}",
      "{}",
      R"({"v":2,"drain":{}})",
      R"({"drain":{}})",
      R"({"v":1,"drain":{}} x)",
      R"({"v":1,"drain":{}}{"v":1})",
      R"({"v":1,"drain":{},})",
      R"({"v":1 "drain":{}})",
      R"({v:1})",
      R"({"v":01})",
      R"({"v":1,"drain":[]})",
      R"({"v":1,"drain":{"budget_ms":-1}})",
      R"({"v":1,"drain":{"budget_ms":1.5}})",
      R"({"v":1,"drain":{"budget_ms":4294967296}})",
      R"({"v":1,"drain":{"budget_ms":99999999999999999999999}})",
      R"({"v":1,"drain":{"budget_ms":"1"}})",
      R"({"v":1,"refused":"no"})",
      R"({"v":1,"refused":{"why":1}})",
      R"({"v":1,"x":tru})",
      R"({"v":1,"x":+1})",
      R"({"v":1,"x":.5})",
      R"({"v":1,"x":1.})",
      R"({"v":1,"x":1e})",
      R"({"v":1,"x":"\x"})",
      R"({"v":1,"x":"\u12"})",
      R"({"v":1,"x":"\u0000"})",
      R"({"v":1,"x":"\ud800"})",
      R"({"v":1,"x":"\udc00"})",
      R"({"v":1,"x":"\ud800A"})",
      "{\"v\":1,\"x\":\"\t\"}",
      "{\"v\":1,\"x\":\"\xff\"}",
      "{\"v\":1,\"x\":\"\xc0\x80\"}",
      "{\"v\":1,\"x\":\"\xed\xa0\x80\"}",
      R"({"v":1,"x":"open)",
      R"({"v":1,"x":"open\)",
  };
  for (const std::string& line : lines) {
    Message m{};
    INFO(line);
    CHECK_FALSE(parse(line, m));
  }
}

TEST_CASE("escapes become the characters that they stand for") {
  Message m{};
  REQUIRE(parse(R"({"v":1,"refused":{"why":"\"\\\/\b\f\n\r\tA\u00e9\u20ac\ud83d\ude00"}})", m));
  CHECK(std::string(m.why) == "\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
}

TEST_CASE("nesting is read up to its limit and refused beyond") {
  const auto nested = [](int depth) {
    return R"({"v":1,"x":)" + std::string(static_cast<std::size_t>(depth), '[') +
           std::string(static_cast<std::size_t>(depth), ']') + "}";
  };
  Message m{};
  CHECK(parse(nested(kNestingMax - 1), m));
  CHECK_FALSE(parse(nested(kNestingMax), m));
  CHECK_FALSE(parse(std::string(4000, '['), m));
}

TEST_CASE("as many listeners are read as a process may have, and one more is refused") {
  const auto line = [](unsigned count) {
    std::string list;
    for (unsigned i = 0; i < count; ++i) list += (i == 0 ? "" : ",") + std::string(R"({"name":"a"})");
    return R"({"v":1,"role":{"listeners":[)" + list + "]}}";
  };
  Message m{};
  REQUIRE(parse(line(kListenersMax), m));
  CHECK(m.listener_count == kListenersMax);
  CHECK_FALSE(parse(line(kListenersMax + 1), m));
}

TEST_CASE("a text that is too long is cut before the character that does not fit") {
  Message m{};
  std::string euros;
  for (int i = 0; i < 200; ++i) euros += "\xe2\x82\xac";
  REQUIRE(parse(R"({"v":1,"refused":{"why":")" + euros + R"("}})", m));
  CHECK(std::string(m.why) == euros.substr(0, sizeof m.why / 3 * 3));
}

TEST_CASE("a line damaged at random is read without harm") {
  const unsigned seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  const std::string good =
      R"({"v":1,"role":{"service":"w\u00e9b","slot":3,"generation":12,"instance_id":"abc","listeners":[)"
      R"({"name":"http","address":"127.0.0.1:80","kind":"tcp"}]},"refused":{"why":"x"},"drain":{"budget_ms":1}})";
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string line = good;
    for (unsigned changes = random() % 4 + 1; changes > 0; --changes) {
      line[random() % line.size()] = static_cast<char>(random());
    }
    line.resize(line.size() - random() % 3 * (random() % line.size()) / 4);
    Message m{};
    refused += parse(line, m) ? 0 : 1;
    REQUIRE(m.listener_count <= kListenersMax);
    REQUIRE(memchr(m.why, 0, sizeof m.why) != nullptr);
    REQUIRE(memchr(m.role.service, 0, sizeof m.role.service) != nullptr);
  }
  CHECK(refused > 0);
}

TEST_CASE("what we write is JSON whatever the text holds") {
  LineWriter line;
  line.raw("{\"s\":")
      .string("a\"b\\c\nd\x7f\xff\xc3\xa9", 100)
      .raw(",\"n\":")
      .number(18446744073709551615ULL)
      .raw("}");
  CHECK(written(line) ==
        "{\"s\":\"a\\\"b\\\\c\\u000ad\\u007f\xef\xbf\xbd\xc3\xa9\",\"n\":18446744073709551615}");
  CHECK_FALSE(line.overflow());
}

TEST_CASE("a text we write is cut at its limit, whole characters only") {
  LineWriter line;
  line.string("abc\xe2\x82\xac", 5);
  CHECK(written(line) == "\"abc\"");
}

TEST_CASE("a line that outgrows its limit says so and writes nothing beyond it") {
  LineWriter line;
  for (int i = 0; i < 41; ++i) line.raw(std::string(100, 'x').c_str());
  CHECK(line.overflow());
  CHECK(line.size() <= RUNMAIN_CHANNEL_LINE_MAX);
}
