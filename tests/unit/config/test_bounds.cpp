// Sizes at and above their limits, and files that are no TOML: told with a place, never a crash.
#include "config/config.hpp"
#include "config/prescan.hpp"
#include "config/report.hpp"
#include "config/service_reader.hpp"
#include "golden.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::config;

namespace {

// "LINE:COLUMN: MESSAGE" of each fault; empty for a good file.
std::vector<std::string> faults_of(std::string text) {
  const Outcome outcome = golden::parse(std::move(text));
  std::vector<std::string> out;
  if (const auto* faults = std::get_if<Faults>(&outcome)) {
    REQUIRE_FALSE(faults->faults.empty());
    for (const Error& fault : faults->faults) {
      out.push_back((fault.at.substr(0, 16) == "supervisor.toml:" ? fault.at.substr(16) : fault.at) + ": " +
                    fault.message);
    }
  }
  return out;
}

std::string services(std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += "[service.s" + std::to_string(i) + "]\ncommand = \"x\"\n";
  return text;
}

std::string repeat(const std::string& text, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += text;
  return out;
}

}  // namespace

TEST_CASE("text that is no TOML is told with the place where it stops being it") {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"[service.web]\ncommand = \"x\"\n[service.web]\n", "3:1: "},
      {"[service.web]\ncommand = \"x\"\ncommand = \"y\"\n", "3:"},
      {"[service.web\n", "1:13: "},
      {"[service.web]\ncommand = ./server\n", "2:11: "},
      {"[service.web]\ncommand = \"x\n", "2:13: "},
      {"[service.web]\ncommand\n", "2:8: "},
      {"a b = 1\n", "1:3: "},
      {"a = 027\n", "1:8: "},
      {"a = [1,\n2", "2:2: "},
      {"a = { b = 1,\nc = 2 }", "1:13: "},
      {"ä = 1\n", "1:1: "},
      {"a = \"\xff\"\n", "1:5: "},
      {"[]\n", "1:2: "},
      {"[[[a]]]\n", "1:3: "},
      {"[", "1:2: "},
      {"[ü]", "1:2: "},
      {std::string("a = 1\nb = \"\0\"\n", 14), "2:6: "},
  };
  for (const auto& [text, place] : table) {
    CAPTURE(text);
    const auto faults = faults_of(text);
    REQUIRE(faults.size() == 1);
    CHECK(faults[0].substr(0, place.size()) == place);
    CHECK(faults[0].size() > place.size());
  }
}

TEST_CASE("a character above U+007F outside of strings and comments is told, and inside it is text") {
  CHECK(faults_of("[service.x]\ncommand = “x”\n") ==
        std::vector<std::string>{"2:11: \"“\" cannot stand outside of quotes"});
  CHECK(faults_of("a = 5\"ä\"\n")[0] == "1:6: a quote right behind a value");
  CHECK(faults_of("a = [1, 5.'ä']\n")[0] == "1:11: a quote right behind a value");
  CHECK(faults_of("ä = 1\n")[0] == "1:1: \"ä\" cannot stand outside of quotes");
  CHECK(faults_of("[service.x]\ncommand = \"x\" \xc2\xa0\n")[0].substr(0, 6) == "2:15: ");
  CHECK(faults_of("[service.x] # ä\ncommand = 'ä' # 中\nenv = { \"ü\" = \"ö\" } # ö\n").empty());
  CHECK(faults_of("[service.x]\ncommand = \"a\\ä\"\n")[0].substr(0, 6) == "2:13: ");
}

TEST_CASE("a line of a string that goes on with such a character keeps it") {
  const auto argument = [](const std::string& text) {
    const Outcome outcome = golden::parse("[service.x]\ncommand = ['x', \"\"\"" + text + "\"\"\"]\n");
    if (const auto* faults = std::get_if<Faults>(&outcome)) FAIL(explain(*faults));
    return std::get<Loaded>(outcome).desired.services.at(0).command.argv.at(1);
  };
  CHECK(argument("a \\\n  ä b") == "a ä b");
  CHECK(argument("a \\ \r\n \n\t中\\\n  😀 \\\\\\\n\xc2\xa0"
                 "b") ==
        "a 中😀 \\\xc2\xa0"
        "b");
  CHECK(argument("a \\\n") == "a ");
  CHECK(faults_of("a = \"\"\"\\\n\xc1\x81\"\"\"\n").size() == 1);
  CHECK(faults_of("a = \"\"\"\\\n\xe0\x80\xa0\"\"\"\n")[0].find("utf-8") != std::string::npos);
}

TEST_CASE("deep nesting of every kind is refused, not followed") {
  const std::size_t deep = 100000;
  for (const std::string& text :
       {repeat("[", deep), "a = " + repeat("[", deep), "a = " + repeat("[", deep) + repeat("]", deep),
        "a = " + repeat("{ a = ", deep), repeat("a.", deep) + "a = 1", "[" + repeat("a.", deep) + "a]",
        "[[" + repeat("a . ", deep) + "a]]", repeat("\"a\".", deep) + "a = 1", repeat("'a'.", deep) + "a = 1",
        "a = { " + repeat("a.", deep) + "a = 1 }", "x = '''\n''''\n" + repeat("a.", deep) + "a = 1",
        "x = \"\"\"\\\"\"\"\"\n" + repeat("a.", deep) + "a = 1",
        "x = \"\\\\\" # \"\n" + repeat("a.", deep) + "a = 1", "a = [ # [\n" + repeat("[\n", deep)}) {
    CAPTURE(text.substr(0, 40));
    CHECK(faults_of(text).size() == 1);
  }
}

TEST_CASE("as many dotted parts as the limit are read, and one more is refused") {
  const auto with = [](std::size_t dots) {
    return faults_of("[service.x]\ncommand = \"x\"\n" + repeat("a.", dots) + "a = 1\n");
  };
  CHECK(with(kKeyPartsMax - 1)[0] == "3:1: unknown key \"a\"");
  CHECK(with(kKeyPartsMax)[0].find("dotted parts") != std::string::npos);
  // Dots in values and comments are no parts of a key.
  CHECK(
      faults_of("[service.x]\ncommand = \"" + repeat(".", 100) + "\" # " + repeat(".", 100) + "\n").empty());
}

TEST_CASE("arrays that run over lines may begin a line with brackets") {
  CHECK(faults_of("[service.x]\ncommand = [\n\"x\"\n]\nlisten = [\n{ address = \":1\" }, # [\n\":2\"]\n")
            .empty());
  CHECK(faults_of("[service.x]\ncommand = \"x\"\nlisten = [\n[[[\n\":1\"]]]\n]\n")[0] ==
        "4:1: listen must be a string, not an array");
}

TEST_CASE("2,000 services are read and one more is refused") {
  CHECK(faults_of(services(kServicesMax)).empty());
  const auto faults = faults_of(services(kServicesMax + 1));
  REQUIRE(faults.size() == 1);
  CHECK(faults[0] == "4001:10: more than 2000 services");
}

TEST_CASE("a chain of 2,000 dependencies is no circle, and closing it makes one") {
  std::string chain;
  for (std::size_t i = 0; i < kServicesMax; ++i) {
    chain += "[service.s" + std::to_string(i) + "]\ncommand = \"x\"\n";
    if (i + 1 < kServicesMax) chain += "depends_on = \"s" + std::to_string(i + 1) + "\"\n";
  }
  CHECK(faults_of(chain).empty());
  const auto faults = faults_of(chain + "depends_on = \"s0\"\n");
  REQUIRE(faults.size() == 1);
  CHECK(faults[0].find("3:14: circular dependency: s0 -> s1 -> ") == 0);
  CHECK(faults[0].size() < 300);
}

TEST_CASE("a file of 10 MiB is read and one byte more is refused") {
  std::string text = services(1);
  text += "#" + std::string(kFileMax - text.size() - 1, 'x');
  CHECK(faults_of(text).empty());
  CHECK(faults_of(text + "x")[0] == "supervisor.toml: larger than 10485760 bytes");
}

TEST_CASE("the first hundred faults are told and the others counted") {
  std::string text = services(1);
  for (int i = 0; i < 250; ++i) text += "unknown" + std::to_string(i) + " = 1\n";
  const Outcome outcome = golden::parse(text);
  const auto* faults = std::get_if<Faults>(&outcome);
  REQUIRE(faults != nullptr);
  CHECK(faults->faults.size() == kFaultsMax);
  CHECK(faults->more == 150);
  const std::string shown = explain(*faults);
  CHECK(shown.substr(shown.size() - 30) == "supervisor.toml: and 150 more\n");
}

TEST_CASE("arguments, listeners and lists are bounded") {
  const std::string head = "[service.x]\ncommand = ";
  CHECK(faults_of(head + "['x', '" + std::string(kArgumentMax, 'a') + "']").empty());
  CHECK(faults_of(head + "['x', '" + std::string(kArgumentMax + 1, 'a') + "']").size() == 1);
  CHECK(faults_of(head + "'x'\nenv = { A = '" + std::string(kArgumentMax - 2, 'a') + "' }").empty());
  CHECK(faults_of(head + "'x'\nenv = { A = '" + std::string(kArgumentMax - 1, 'a') + "' }").size() == 1);
  CHECK(faults_of(head + "'x'\nlisten = [" + repeat("':0',", kListenMax) + "]").empty());
  CHECK(faults_of(head + "'x'\nlisten = [" + repeat("':0',", kListenMax + 1) + "]").size() == 1);
  std::string env = "[service.x.env]\n";
  for (std::size_t i = 0; i < kEnvMax; ++i) env += "A" + std::to_string(i) + " = 1\n";
  CHECK(faults_of(head + "'x'\n" + env).empty());
  CHECK(faults_of(head + "'x'\n" + env + "B = 1\n").size() == 1);
  // The argument is too long, and of its braces only the 64 within kPlaceholderMax bytes of the last one are
  // looked at.
  CHECK(faults_of(head + "'x " + repeat("{fd:", 2000000) + "}'").size() == 65);
  CHECK(faults_of(head + "[" + repeat("'x',", kListMax) + "]").empty());
  CHECK(faults_of(head + "[" + repeat("'x',", kListMax + 1) + "]").size() == 1);
  CHECK(faults_of("[service." + std::string(kNameMax, 'a') + "]\ncommand = 'x'").empty());
}
