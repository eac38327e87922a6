// Every fault a file can have, word for word: tests/golden/config/NAME.toml gives NAME.txt.
#include "golden.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::config;

TEST_CASE("every fault of a file is told in one go, with its place, a hint and the line") {
  const std::string name = GENERATE("unknown_keys", "wrong_types", "commands", "addresses", "collisions",
                                    "dependencies", "placeholders", "lifecycle", "pools", "telemetry",
                                    "adoption", "names", "places", "empty", "array_of_services", "mode");
  CAPTURE(name);
  const std::string text = golden::read(name + ".toml");
  REQUIRE_FALSE(text.empty());
  const Outcome outcome = golden::parse(text);
  const auto* faults = std::get_if<Faults>(&outcome);
  REQUIRE(faults != nullptr);
  const std::string actual = explain(*faults);
  CHECK(actual == golden::expected(name, actual));
}

TEST_CASE("what is only likely a mistake is a warning of a good file") {
  const Outcome outcome = golden::parse(golden::read("good_with_warnings.toml"));
  const auto* loaded = std::get_if<Loaded>(&outcome);
  REQUIRE(loaded != nullptr);
  const std::string actual = explain_warnings(*loaded);
  CHECK(actual == golden::expected("good_with_warnings", actual));
}

TEST_CASE("no fault repeats the value of a variable") {
  for (const char* name : {"names", "commands", "wrong_types", "telemetry"}) {
    const Outcome outcome = golden::parse(golden::read(std::string(name) + ".toml"));
    const auto* faults = std::get_if<Faults>(&outcome);
    REQUIRE(faults != nullptr);
    for (const Error& fault : faults->faults) CHECK(fault.text().find("secret") == std::string::npos);
  }
}
