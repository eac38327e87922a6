// Baggage as a value: what the W3C suite does not look at.
#include <cerrno>
#include <string>
#include <vector>

#include "child_runtime/propagation.hpp"
#include "support/catch.hpp"

using runmain::Baggage;

namespace {

runmain_text text(const std::string& s) { return {s.data(), s.size()}; }

std::string decoded(const std::string& s) {
  char out[64];
  const std::size_t size = runmain_percent_decode(text(s), out, sizeof out);
  REQUIRE(size < sizeof out);
  return {out, size};
}

const std::string kReplacement = "\xef\xbf\xbd";

}  // namespace

// Requirement 35.
TEST_CASE("what passes through is not changed but for white space") {
  CHECK(Baggage::parse("a = b:c/d ; p ; q = r%20s ,\te=%e4f,, g= ").header() ==
        "a=b:c/d;p;q=r%20s,e=%e4f,g=");
}

// Requirement 35.
TEST_CASE("a member that is not valid is left out, the others stay") {
  for (const char* bad : {"b", "=1", "b b=1", "b=1 2", "b=\"1\"", "b=1\\", "b=\xc3\xa4", "b=1;c d", "b=1;=2",
                          "b=1;c=\"", "b(=1", ";p=1"}) {
    INFO(bad);
    CHECK(Baggage::parse(std::string("a=1,") + bad + ",c=3").header() == "a=1,c=3");
    CHECK(Baggage::parse(bad).empty());
  }
  CHECK(Baggage::parse("a=1;;p;").header() == "a=1;p");  // an empty property is none
}

TEST_CASE("of two members with one key the later counts") {
  CHECK(Baggage::parse("a=1,b=2,a=3").header() == "b=2,a=3");
  CHECK(Baggage::parse("a=1,a=2").header() == "a=2");
  CHECK(Baggage::parse("a=1;p,b=2,c=3,b=4,A=5").header() == "a=1;p,c=3,b=4,A=5");
}

TEST_CASE("several headers are one baggage, and nothing valid changes nothing") {
  const std::string first = "a=1,b=2";
  const std::string second = "c=3";
  runmain_baggage baggage{};
  const runmain_text values[] = {text(first), {nullptr, 0}, text(second)};
  REQUIRE(runmain_baggage_parse(values, 3, &baggage) == 3);
  CHECK(std::string(baggage.text, baggage.size) == "a=1,b=2,c=3");
  const std::string bad = "no member,at all";
  const runmain_text value = text(bad);
  CHECK(runmain_baggage_parse(&value, 1, &baggage) == 0);
  CHECK(baggage.members == 3);
}

TEST_CASE("members are set, replaced and removed wherever they are") {
  Baggage baggage;
  CHECK(baggage.set("a", "1"));
  CHECK(baggage.set("b", "", "p;q=r"));
  CHECK(baggage.set("c", "3"));
  CHECK(baggage.header() == "a=1,b=;p;q=r,c=3");
  CHECK(baggage.get("b") == "");
  CHECK_FALSE(baggage.get("B"));
  CHECK(baggage.set("a", "2"));
  CHECK(baggage.header() == "b=;p;q=r,c=3,a=2");
  CHECK(baggage.remove("c"));
  CHECK(baggage.header() == "b=;p;q=r,a=2");
  CHECK(baggage.remove("b"));
  CHECK_FALSE(baggage.remove("b"));
  CHECK(baggage.header() == "a=2");
  CHECK(baggage.set("a", "4"));
  CHECK(baggage.header() == "a=4");
  CHECK(baggage.size() == 1);
  CHECK(baggage.remove("a"));
  CHECK(baggage.empty());
  CHECK(baggage.size() == 0);
}

TEST_CASE("a key or a property that is not allowed is refused") {
  Baggage baggage;
  for (const char* key : {"", "a b", "a=b", "a,b", "a;b", "\xc3\xa4"}) CHECK_FALSE(baggage.set(key, "1"));
  for (const char* properties : {"a b", "=1", "p,q=1", "p=\""})
    CHECK_FALSE(baggage.set("a", "1", properties));
  CHECK(baggage.empty());
}

TEST_CASE("what finds no room is refused whole, what takes less room than before is not") {
  Baggage baggage;
  REQUIRE(baggage.set("a", std::string(4000, 'x')));
  REQUIRE(baggage.set("b", std::string(4187, 'x')));
  CHECK(baggage.header().size() == 8192);
  CHECK_FALSE(baggage.set("c", ""));
  CHECK_FALSE(baggage.set("a", std::string(4001, 'x')));
  CHECK_FALSE(baggage.set("a", std::string(3998, 'x') + ","));  // three bytes encoded
  CHECK(baggage.get("a") == std::string(4000, 'x'));
  CHECK(baggage.set("a", std::string(4000, 'y')));
  CHECK(baggage.header().size() == 8192);
  CHECK(baggage.set("a", std::string(3996, 'y')));
  CHECK(baggage.set("c", "1"));
  CHECK(baggage.header().size() == 8192);
}

// Requirement 35.
TEST_CASE("of a header that is too long whole members are left out") {
  const std::string long_value(4090, 'x');
  const Baggage baggage =
      Baggage::parse("a=" + long_value + ",b=" + long_value + ",c=" + long_value + ",d=1");
  CHECK(baggage.size() == 3);
  CHECK(baggage.get("a") == long_value);
  CHECK(baggage.get("b") == long_value);
  CHECK_FALSE(baggage.get("c"));
  CHECK(baggage.get("d") == "1");
  std::string many;
  for (int i = 0; i < 600; ++i) many += (i > 0 ? ",k" : "k") + std::to_string(i) + "=";
  CHECK(Baggage::parse(many).size() == RUNMAIN_BAGGAGE_MEMBERS_MAX);
  // One that would be in the place of an older one, but finds no room, leaves that.
  CHECK(Baggage::parse("a=1,a=" + std::string(8192, 'x')).header() == "a=1");
}

// Requirement 35.
TEST_CASE("values are decoded as UTF-8, and what is none becomes U+FFFD") {
  CHECK(decoded("Am%C3%A9lie%20%2c%2C+") == "Am\xc3\xa9lie ,,+");
  CHECK(decoded("%E2%82%ac%F0%9F%98%80") == "\xe2\x82\xac\xf0\x9f\x98\x80");
  CHECK(decoded("a%FFb") == "a" + kReplacement + "b");
  CHECK(decoded("%C3") == kReplacement);
  CHECK(decoded("%C3x") == kReplacement + "x");
  CHECK(decoded("%ED%A0%80") == kReplacement + kReplacement + kReplacement);  // a surrogate
  CHECK(decoded("%C0%80") == kReplacement + kReplacement);                    // not the shortest form
  CHECK(decoded("100%") == "100%");
  CHECK(decoded("%4") == "%4");
  CHECK(decoded("%zz%41") == "%zzA");
  CHECK(decoded("%00x") == std::string("\0x", 2));
}

TEST_CASE("decoding into too little room tells how much it takes") {
  char out[4] = "zzz";
  CHECK(runmain_percent_decode(text("%41%42%43%44"), out, sizeof out) == 4);
  CHECK(std::string(out) == "ABC");
  CHECK(runmain_percent_encode(text("a b"), out, sizeof out) == 5);
  CHECK(std::string(out) == "a%2");
  CHECK(runmain_percent_encode(text("a b"), nullptr, 0) == 5);
}

TEST_CASE("any text that is set comes back as it was") {
  std::string all;
  for (int i = 1; i < 128; ++i) all += static_cast<char>(i);
  all += "\xc3\xa4\xe2\x82\xac";
  Baggage baggage;
  REQUIRE(baggage.set("k", all));
  CHECK(Baggage::parse(baggage.header()).get("k") == all);
}
