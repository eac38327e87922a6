#include "base/env_file.hpp"
#include "support/catch.hpp"

using namespace runmain;

namespace {

using Variables = std::vector<std::pair<std::string, std::string>>;

Variables good(std::string_view text) {
  EnvFile file = parse_env_file(text, ".env");
  REQUIRE(file.faults.empty());
  return file.variables;
}

std::string only_fault(std::string_view text) {
  const EnvFile file = parse_env_file(text, ".env");
  REQUIRE(file.faults.size() == 1);
  return file.faults[0].at + ": " + file.faults[0].message;
}

}  // namespace

TEST_CASE("an env file gives its assignments in order, and the later one of a name wins") {
  CHECK(good("A=1\nB=2\nA=3\n") == Variables{{"A", "3"}, {"B", "2"}});
  CHECK(good("").empty());
  CHECK(good("\n  \n# comment\n  # comment = x\n").empty());
  CHECK(good("A=") == Variables{{"A", ""}});
  CHECK(good("  A  =  b c  \nexport B=1\nexport=2") == Variables{{"A", "b c"}, {"B", "1"}, {"export", "2"}});
}

TEST_CASE("an env file may have a BOM, CRLF and no newline at its end") {
  CHECK(good("\xef\xbb\xbf"
             "A=1\r\nB=\"x\r\ny\"\r\nC='z'") == Variables{{"A", "1"}, {"B", "x\ny"}, {"C", "z"}});
}

TEST_CASE("a comment after a value needs a blank before its #") {
  CHECK(good("A=b # c\nB=b#c\nC=# c\nD='x' # c\n") ==
        Variables{{"A", "b"}, {"B", "b#c"}, {"C", ""}, {"D", "x"}});
}

TEST_CASE("single quotes keep everything, double quotes know a few escapes, nothing is expanded") {
  CHECK(good(R"(A='$HOME \n "x"')") == Variables{{"A", R"($HOME \n "x")"}});
  CHECK(good(R"(A="a\n\t\r\"\\\$\x")") == Variables{{"A", "a\n\t\r\"\\$\\x"}});
  CHECK(good("A=$HOME/${X:-y}\n") == Variables{{"A", "$HOME/${X:-y}"}});
  CHECK(good("A='one\ntwo'\nB=it's\n") == Variables{{"A", "one\ntwo"}, {"B", "it's"}});
}

TEST_CASE("a faulty line of an env file is told with its place, and the other lines are read") {
  CHECK(only_fault("A=1\nB\n") == ".env:2:2: no \"=\" after the name B");
  CHECK(only_fault("1A=2") == ".env:1:1: a name is expected here");
  CHECK(only_fault("\n  =2") == ".env:2:3: a name is expected here");
  CHECK(only_fault("A: 1") == ".env:1:2: no \"=\" after the name A");
  CHECK(only_fault("A=1\nB=\"x\nC=2\n") == ".env:2:3: this \" is never closed");
  CHECK(only_fault("A='x") == ".env:1:3: this ' is never closed");
  CHECK(only_fault("A=\"x\\") == ".env:1:3: this \" is never closed");
  CHECK(only_fault("A='x' y") == ".env:1:7: text after the closing quote");
  CHECK(only_fault("A='x\ny' z") == ".env:2:4: text after the closing quote");
  CHECK(only_fault(std::string_view("A=x\0y", 5)) == ".env:1:3: the value holds a NUL byte");
  const EnvFile mixed = parse_env_file("?\nA=1\n!\nB=2\n", ".env");
  CHECK(mixed.faults.size() == 2);
  CHECK(mixed.variables == Variables{{"A", "1"}, {"B", "2"}});
}

TEST_CASE("no fault of an env file shows a value") {
  for (const char* text : {"A='secret' secret", "A=\"secret", "secret value\n!secret"}) {
    for (const Error& fault : parse_env_file(text, ".env").faults) {
      CHECK(fault.message.find("secret v") == std::string::npos);
      CHECK((fault.message.find("secret") == std::string::npos || text[0] == 's'));
    }
  }
}

TEST_CASE("an env file is bounded in bytes, variables and faults") {
  std::string text;
  for (std::size_t i = 0; i < kEnvFileVariablesMax; ++i) text += "V" + std::to_string(i) + "=\n";
  CHECK(good(text).size() == kEnvFileVariablesMax);
  CHECK(good(text + "V0=again\n")[0].second == "again");
  const EnvFile over = parse_env_file(text + "ONE=more\n", ".env");
  REQUIRE(over.faults.size() == 1);
  CHECK(over.variables.size() == kEnvFileVariablesMax);
  CHECK(parse_env_file(std::string(kEnvFileMax, '\n'), ".env").faults.empty());
  CHECK(parse_env_file(std::string(kEnvFileMax + 1, '\n'), ".env").faults.size() == 1);
  std::string faulty;
  for (int i = 0; i < 100; ++i) faulty += "?\n";
  CHECK(parse_env_file(faulty, ".env").faults.size() == kEnvFileFaultsMax);
}
