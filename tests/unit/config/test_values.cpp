#include <csignal>

#include "config/text.hpp"
#include "config/values.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::config;
using namespace std::chrono_literals;

TEST_CASE("a duration is whole numbers with units, larger ones first") {
  const std::vector<std::pair<const char*, Duration>> good = {{"10s", 10s},
                                                              {"500ms", 500ms},
                                                              {"1m30s", 90s},
                                                              {"2h", 2h},
                                                              {"0s", 0s},
                                                              {"1d", 24h},
                                                              {"1d2h3m4s5ms", 24h + 2h + 3min + 4s + 5ms},
                                                              {"90m", 90min},
                                                              {"365d", kDurationMax}};
  for (const auto& [text, expected] : good) {
    CAPTURE(text);
    const auto parsed = parse_duration(text);
    REQUIRE(parsed.ok());
    CHECK(*parsed == expected);
  }
  for (const char* text :
       {"", "s", "10", "10 s", " 10s", "10s ", "-1s", "+1s", "1.5s", "1s1m", "1s1s", "10S", "10sec", "366d",
        "365d1ms", "99999999999999999999s", "18446744073709551615d", "1us", "½s"}) {
    CAPTURE(text);
    const auto parsed = parse_duration(text);
    REQUIRE_FALSE(parsed.ok());
    CHECK_FALSE(parsed.error().hint.empty());
  }
}

TEST_CASE("a part is 1% to 100%") {
  CHECK(*parse_percent("1%") == 1);
  CHECK(*parse_percent("100%") == 100);
  for (const char* text :
       {"", "%", "0%", "101%", "25", "25 %", "-1%", "2.5%", "25%%", "99999999999999999999%"}) {
    CAPTURE(text);
    const auto parsed = parse_percent(text);
    REQUIRE_FALSE(parsed.ok());
    CHECK_FALSE(parsed.error().hint.empty());
  }
}

TEST_CASE("a size is bytes, or a number with a decimal or binary unit") {
  const std::vector<std::pair<const char*, std::uint64_t>> good = {{"0", 0},
                                                                   {"4096", 4096},
                                                                   {"1B", 1},
                                                                   {"10MB", 10000000},
                                                                   {"512KiB", 524288},
                                                                   {"1 GiB", 1073741824},
                                                                   {"1kB", 1000},
                                                                   {"2TB", 2000000000000ULL},
                                                                   {"1TiB", 1ULL << 40U}};
  for (const auto& [text, expected] : good) {
    CAPTURE(text);
    const auto parsed = parse_size(text);
    REQUIRE(parsed.ok());
    CHECK(*parsed == expected);
  }
  for (const char* text :
       {"", "MB", "-1", "1.5MB", "10mb", "10M", "10Mb", "1e3", "9999999999TiB", "99999999999999999999"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_size(text).ok());
  }
}

TEST_CASE("a signal has a name with or without SIG, or a number") {
  const std::vector<std::pair<const char*, int>> good = {
      {"TERM", SIGTERM},   {"SIGTERM", SIGTERM},     {"15", 15},          {"KILL", SIGKILL},
      {"USR1", SIGUSR1},   {"WINCH", SIGWINCH},      {"RTMIN", SIGRTMIN}, {"SIGRTMIN+3", SIGRTMIN + 3},
      {"RTMAX", SIGRTMAX}, {"RTMAX-1", SIGRTMAX - 1}};
  for (const auto& [text, expected] : good) {
    CAPTURE(text);
    const auto parsed = parse_signal(text);
    REQUIRE(parsed.ok());
    CHECK(*parsed == expected);
  }
  for (const char* text :
       {"", "SIG", "term", "0", "65", "33", "-1", "TERMX", "RTMIN-1", "RTMIN+", "RTMAX-99", "RTMIN+1x"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_signal(text).ok());
  }
  CHECK(parse_signal("TREM").error().hint == "did you mean \"TERM\"?");
  CHECK(parse_signal("sigHup").error().hint == "did you mean \"HUP\"?");
}

TEST_CASE("a umask is octal digits up to 777") {
  CHECK(*parse_umask("027") == 027);
  CHECK(*parse_umask("0") == 0);
  CHECK(*parse_umask("0777") == 0777);
  for (const char* text : {"", "8", "1000", "-1", "0x1", "27 ", "u=rwx"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_umask(text).ok());
  }
}

TEST_CASE("the nearest known word is guessed only if it is near") {
  const std::vector<std::string> known = {"command", "listen", "port", "env", "cwd"};
  CHECK(nearest("comand", known) == "command");
  CHECK(nearest("COMMAND", known) == "command");
  CHECK(nearest("comamnd", known) == "command");
  CHECK(nearest("ports", known) == "port");
  CHECK(nearest("colour", known).empty());
  CHECK(nearest("x", known).empty());
  CHECK(nearest("", known).empty());
  CHECK(nearest(std::string(100000, 'c'), known).empty());
}

TEST_CASE("of words that are expected each is named once, harmless, and not too many") {
  CHECK(did_you_mean("x", {"a", "\ttp", "a"}) == "expected one of a, ?tp");
  CHECK(did_you_mean("lisen", {"listen", "\x1b[31m"}) == "did you mean \"listen\"?");
  CHECK(did_you_mean("x", {}).empty());
  CHECK(did_you_mean("x", {""}).empty());
  std::vector<std::string> many;
  for (int i = 0; i < 1000; ++i) many.push_back("word" + std::to_string(i));
  const std::string hint = did_you_mean("x", many);
  CHECK(hint.size() < 64 * 10);
  CHECK(hint.rfind(", word63, …") == hint.size() - std::string_view(", word63, …").size());
}

TEST_CASE("quoted text is short and harmless, whatever its bytes") {
  CHECK(quote("a\x1b[31m\nb\x7f") == "\"a?[31m?b?\"");
  CHECK(quote("ä中\xff\xc2") == "\"ä中??\"");
  CHECK(quote("\xc2\x9b"
              "31m") == "\"?31m\"");
  CHECK(quote("\xe2\x80\xae") == "\"?\"");
  CHECK(quote(std::string(61, 'a')) == "\"" + std::string(60, 'a') + "…\"");
}
