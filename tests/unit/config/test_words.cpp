#include "config/words.hpp"
#include "support/catch.hpp"

using namespace runmain::config;

namespace {

using List = std::vector<std::string>;

List words(std::string_view command) {
  const Words out = split_words(command);
  REQUIRE_FALSE(out.fault.has_value());
  return out.words;
}

}  // namespace

TEST_CASE("a command is split by the word rules of the shell") {
  const std::vector<std::pair<const char*, List>> table = {
      {"", {}},
      {" \t\r\n ", {}},
      {"a", {"a"}},
      {"  a  b\tc\nd ", {"a", "b", "c", "d"}},
      {"'a b' c", {"a b", "c"}},
      {"\"a b\" c", {"a b", "c"}},
      {"a'b'\"c\"d", {"abcd"}},
      {"'' \"\"", {"", ""}},
      {"a''", {"a"}},
      {"a\\ b", {"a b"}},
      {"\\\\ \\' \\\"", {"\\", "'", "\""}},
      {"'a\\b'", {"a\\b"}},
      {"\"a\\b\"", {"a\\b"}},
      {R"("\"\\\$\`")", {"\"\\$`"}},
      {"a\\\nb", {"ab"}},
      {"\"a\\\nb\"", {"ab"}},
      {"'it'\\''s'", {"it's"}},
      {"--fd={fd} #x", {"--fd={fd}", "#x"}},
      {"ä 中", {"ä", "中"}},
  };
  for (const auto& [command, expected] : table) {
    CAPTURE(command);
    CHECK(words(command) == expected);
    CHECK(split_words(command).signs.empty());
  }
}

TEST_CASE("an open quote or a last backslash is told where it stands") {
  const std::vector<std::pair<const char*, std::size_t>> table = {
      {"a 'b", 2}, {"a \"b", 2}, {"'", 0}, {"a\"b\\\"", 1}, {"a \\", 2}, {"'a' \"b' c", 4}};
  for (const auto& [command, offset] : table) {
    CAPTURE(command);
    const Words out = split_words(command);
    REQUIRE(out.fault.has_value());
    CHECK(out.fault->offset == offset);
  }
}

TEST_CASE("what only a shell would act on is noted, unless it is quoted") {
  const auto signs = [](std::string_view command) {
    std::string out;
    for (const ShellSign& sign : split_words(command).signs) {
      out += (sign.is_operator ? "!" : "?") + sign.text + "@" + std::to_string(sign.offset) + " ";
    }
    return out;
  };
  CHECK(signs("a && b || c | d; e & f") == "!&&@2 !||@7 !|@12 !;@15 !&@19 ");
  CHECK(signs("a > b >> c < d") == "!>@2 !>>@6 !<@11 ");
  CHECK(signs("echo $(x) `y`") == "!$(@5 !(@6 !)@8 !`@10 !`@12 ");
  CHECK(signs("$A ${B} $5 $ a$") == "?$@0 ?$@3 ");
  CHECK(signs("~ ~/x a~ *.c") == "?~@0 ?~@2 ?*@9 ");
  CHECK(signs(R"('a && b | $c * ~' "a && b ; *" \& \$A \*)").empty());
  CHECK(signs("\"$A `b`\"") == "?$@1 !`@4 !`@6 ");
}

TEST_CASE("a command has at most kWordsMax words") {
  std::string command;
  for (std::size_t i = 0; i < kWordsMax; ++i) command += "a ";
  CHECK(words(command).size() == kWordsMax);
  CHECK(split_words(command + "a").fault.has_value());
}
