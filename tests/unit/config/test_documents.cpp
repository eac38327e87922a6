// What is written for people is true: the examples of the reference, and the repository's own file.
#include <fstream>
#include <iterator>
#include <sstream>

#include "config/config.hpp"
#include "golden.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::config;

namespace {

std::string read_source(const std::string& name) {
  std::ifstream in(std::string(RUNMAIN_SOURCE_DIR) + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace

TEST_CASE("every example of the reference is a good file without warnings") {
  const std::string text = read_source("docs/supervisor-toml.md") + read_source("docs/telemetry.md");
  const std::string open = "```toml\n";
  int count = 0;
  for (std::size_t at = text.find(open); at != std::string::npos; at = text.find(open, at + 1), ++count) {
    const std::size_t begin = at + open.size();
    const Outcome outcome = golden::parse(text.substr(begin, text.find("```", begin) - begin));
    if (const auto* faults = std::get_if<Faults>(&outcome)) FAIL(explain(*faults));
    CHECK(explain_warnings(std::get<Loaded>(outcome)).empty());
  }
  CHECK(count >= 5);
}

TEST_CASE("the reference names every key of a service") {
  const std::string text = read_source("docs/supervisor-toml.md");
  const Outcome outcome = golden::parse("[service.x]\ncommand = 'x'\nzzzzzzzzzzzz = 1\n");
  const auto* faults = std::get_if<Faults>(&outcome);
  REQUIRE(faults != nullptr);
  std::string hint = faults->faults.at(0).hint;
  REQUIRE(hint.find("expected one of ") == 0);
  hint.erase(0, 16);
  std::istringstream keys(hint);
  int count = 0;
  for (std::string key; std::getline(keys >> std::ws, key, ','); ++count) {
    CAPTURE(key);
    CHECK(text.find("`" + key + "`") != std::string::npos);
  }
  CHECK(count == 29);
}

TEST_CASE("the page of telemetry names every key of it") {
  const std::string text = read_source("docs/telemetry.md");
  const Outcome outcome = golden::parse("[telemetry]\nzzzzzzzzzzzz = 1\n[service.x]\ncommand = 'x'\n");
  const auto* faults = std::get_if<Faults>(&outcome);
  REQUIRE(faults != nullptr);
  std::string hint = faults->faults.at(0).hint;
  REQUIRE(hint.find("expected one of ") == 0);
  std::istringstream keys(hint.substr(16));
  int count = 0;
  for (std::string key; std::getline(keys >> std::ws, key, ','); ++count) {
    CAPTURE(key);
    CHECK(text.find("`" + key + "`") != std::string::npos);
  }
  CHECK(count == 12);
}

TEST_CASE("the repository's own supervisor.toml is good on this machine") {
  const Outcome outcome = load(std::string(RUNMAIN_SOURCE_DIR) + "/supervisor.toml");
  if (const auto* faults = std::get_if<Faults>(&outcome)) FAIL(explain(*faults));
  const auto& loaded = std::get<Loaded>(outcome);
  CHECK(explain_warnings(loaded).empty());
  REQUIRE(loaded.desired.services.size() == 1);
  const core::ServiceSpec& hello = loaded.desired.services[0];
  CHECK(hello.name == "hello");
  CHECK(hello.workers == 2);
  CHECK(hello.watch.has_value());
  CHECK(hello.watch->build.has_value());
}
