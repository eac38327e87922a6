// The cases of the W3C Baggage suite (github.com/w3c/baggage, test/test_baggage.py, 24 cases), each under its
// name there, against ours.
#include <cstdio>
#include <string>
#include <vector>

#include "child_runtime/propagation.hpp"
#include "support/catch.hpp"

using runmain::Baggage;

namespace {

using Members = std::vector<Baggage::Member>;

// "key=value;prop;prop=value" of each member, decoded, so that a whole baggage is compared at once.
std::vector<std::string> shown(const std::string& header) {
  std::vector<std::string> out;
  for (const Baggage::Member& member : Baggage::parse(header).members()) {
    std::string text = member.key + "=" + member.value;
    for (const Baggage::Property& property : member.properties) {
      text += "|" + property.key;
      if (property.value) text += "=" + *property.value;
    }
    out.push_back(text);
  }
  return out;
}

using Shown = std::vector<std::string>;

// A value with what has to be encoded, and as it is in the header.
const std::string kOdd = "\t \"';=asdf!@#$%^&*()";
const std::string kOddEncoded = "%09%20%22%27%3B%3Dasdf%21%40%23%24%25%5E%26%2A%28%29";

}  // namespace

// ---- BaggageTest ----

TEST_CASE("BaggageTest test_ctor_default: it is empty") {
  CHECK(Baggage().members().empty());
  CHECK(Baggage().header().empty());
}

TEST_CASE("BaggageTest test_parse_simple: one member") {
  CHECK(shown("SomeKey=SomeValue") == Shown{"SomeKey=SomeValue"});
}

TEST_CASE("BaggageTest test_parse_multiple: members with properties") {
  CHECK(shown("SomeKey=SomeValue;SomeProp,SomeKey2=SomeValue2;ValueProp=PropVal") ==
        Shown{"SomeKey=SomeValue|SomeProp", "SomeKey2=SomeValue2|ValueProp=PropVal"});
}

TEST_CASE("BaggageTest test_parse_multiple_ows: white space does not count") {
  CHECK(shown("SomeKey \t = \t SomeValue \t ; \t SomeProp \t , \t SomeKey2 \t = \t SomeValue2 \t ; \t "
              "ValueProp \t "
              "= \t PropVal") ==
        Shown{"SomeKey=SomeValue|SomeProp", "SomeKey2=SomeValue2|ValueProp=PropVal"});
}

TEST_CASE("BaggageTest test_parse_multiple_kv_property: properties with values") {
  CHECK(
      shown("SomeKey=SomeValue;SomePropKey=SomePropValue,SomeKey2=SomeValue2;SomePropKey2=SomePropValue2") ==
      Shown{"SomeKey=SomeValue|SomePropKey=SomePropValue",
            "SomeKey2=SomeValue2|SomePropKey2=SomePropValue2"});
}

TEST_CASE("BaggageTest test_parse_multiple_kv_property_ows: the same with white space") {
  CHECK(shown("SomeKey \t = \t SomeValue \t ; \t SomePropKey=SomePropValue \t , \t SomeKey2 \t = \t "
              "SomeValue2 \t ; "
              "\t SomePropKey2 \t = \t SomePropValue2") ==
        Shown{"SomeKey=SomeValue|SomePropKey=SomePropValue",
              "SomeKey2=SomeValue2|SomePropKey2=SomePropValue2"});
}

// ---- BaggageEntryTest ----

TEST_CASE("BaggageEntryTest test_ctor_default: a member that was set has no properties") {
  Baggage baggage;
  REQUIRE(baggage.set("SomeKey", "SomeValue"));
  const Members members = baggage.members();
  REQUIRE(members.size() == 1);
  CHECK(members[0].key == "SomeKey");
  CHECK(members[0].value == "SomeValue");
  CHECK(members[0].properties.empty());
}

TEST_CASE("BaggageEntryTest test_parse_simple: a member without properties") {
  CHECK(shown("SomeKey=SomeValue") == Shown{"SomeKey=SomeValue"});
}

TEST_CASE("BaggageEntryTest test_parse_multiple_equals: only the first one divides") {
  CHECK(shown("SomeKey=SomeValue=equals") == Shown{"SomeKey=SomeValue=equals"});
}

TEST_CASE("BaggageEntryTest test_parse_percent_encoded: a value is decoded, and goes on encoded") {
  const std::string header = "SomeKey=" + kOddEncoded;
  CHECK(shown(header) == Shown{"SomeKey=" + kOdd});
  CHECK(Baggage::parse(header).header() == header);
  Baggage made;
  REQUIRE(made.set("SomeKey", kOdd));
  CHECK(made.header() == header);
}

TEST_CASE("BaggageEntryTest test_parse_property: a property without a value") {
  CHECK(shown("SomeKey=SomeValue;SomeProp") == Shown{"SomeKey=SomeValue|SomeProp"});
}

TEST_CASE("BaggageEntryTest test_parse_multi_property: two properties") {
  CHECK(shown("SomeKey=SomeValue;SomeProp;SecondProp=PropValue") ==
        Shown{"SomeKey=SomeValue|SomeProp|SecondProp=PropValue"});
}

TEST_CASE("BaggageEntryTest test_parse_multiple_properties_same_name: all of them stay, in their order") {
  CHECK(shown("SomeKey=SomeValue;SomeProp;SomeProp=PropValue;SomeProp=AnotherPropValue") ==
        Shown{"SomeKey=SomeValue|SomeProp|SomeProp=PropValue|SomeProp=AnotherPropValue"});
}

TEST_CASE("BaggageEntryTest test_parse_kv_property: a property with a value") {
  CHECK(shown("SomeKey=SomeValue;SomePropKey=SomePropValue") ==
        Shown{"SomeKey=SomeValue|SomePropKey=SomePropValue"});
}

TEST_CASE("BaggageEntryTest test_parse_simple_ows: white space does not count") {
  CHECK(shown("SomeKey \t = \t SomeValue \t ") == Shown{"SomeKey=SomeValue"});
}

TEST_CASE("BaggageEntryTest test_parse_percent_encoded_ows: white space that is encoded counts") {
  CHECK(shown("SomeKey \t = \t " + kOddEncoded + " \t ") == Shown{"SomeKey=" + kOdd});
}

TEST_CASE("BaggageEntryTest test_parse_property_ows: white space around a property") {
  CHECK(shown("SomeKey \t = \t SomeValue \t ; \t SomeProp") == Shown{"SomeKey=SomeValue|SomeProp"});
}

TEST_CASE("BaggageEntryTest test_parse_multi_property_ows: white space around two") {
  CHECK(shown("SomeKey \t = \t SomeValue \t ; \t SomeProp \t ; \t SecondProp \t = \t PropValue") ==
        Shown{"SomeKey=SomeValue|SomeProp|SecondProp=PropValue"});
}

TEST_CASE("BaggageEntryTest test_parse_kv_property_ows: white space in one with a value") {
  CHECK(shown("SomeKey \t = \t SomeValue \t ; \t SomePropKey \t = \t SomePropValue") ==
        Shown{"SomeKey=SomeValue|SomePropKey=SomePropValue"});
}

TEST_CASE("BaggageEntryTest test_parse_percent_encoded_property: its value is decoded, and goes on encoded") {
  const std::string header = "SomeKey=SomeValue;SomePropKey=" + kOddEncoded;
  CHECK(shown(header) == Shown{"SomeKey=SomeValue|SomePropKey=" + kOdd});
  CHECK(Baggage::parse(header).header() == header);
}

TEST_CASE("BaggageEntryTest test_parse_property_without_value_no_percent_decoding: keys are not decoded") {
  CHECK(shown("SomeKey=SomeValue;ValueProp%20%09%20%3D%20%09%20PropVal") ==
        Shown{"SomeKey=SomeValue|ValueProp%20%09%20%3D%20%09%20PropVal"});
}

// ---- LimitsTest ----

TEST_CASE("LimitsTest test_serialize_at_least_64: 64 members go on") {
  Baggage baggage;
  for (int i = 0; i < 64; ++i) REQUIRE(baggage.set("key" + std::to_string(i), "value"));
  CHECK(baggage.size() == 64);
  CHECK(Baggage::parse(baggage.header()).size() == 64);
}

TEST_CASE("LimitsTest test_serialize_long_entry: a member of 8192 bytes goes on") {
  std::string value;
  for (int i = 0; i < 819; ++i) value += "0123456789";
  Baggage baggage;
  REQUIRE(baggage.set("a", value));
  CHECK(baggage.header().size() == 8192);
  CHECK(Baggage::parse(baggage.header()).get("a") == value);
}

TEST_CASE("LimitsTest test_serialize_many_entries: 512 members of 8192 bytes go on") {
  Baggage baggage;
  std::string last = "0123456789a";
  for (int i = 0; i < 512; ++i) {
    char key[16];
    std::snprintf(key, sizeof key, "%03d", i);
    REQUIRE(baggage.set(key, i < 511 ? last : last + "b"));
  }
  CHECK(baggage.size() == 512);
  CHECK(baggage.header().size() == 8192);
  CHECK(Baggage::parse(baggage.header()).header() == baggage.header());
}
