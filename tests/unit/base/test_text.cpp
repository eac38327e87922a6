#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "support/catch.hpp"

namespace {

using runmain::append_printable;
using runmain::printable;
using namespace std::string_literals;

struct Row {
  const char* what;
  std::string bytes;
  std::string plain;     // without colour
  std::string coloured;  // with colour kept
};

const std::vector<Row>& rows() {
  static const std::vector<Row> all = {
      {"nothing", "", "", ""},
      {"ASCII and tab", "GET /\t200 ~", "GET /\t200 ~", "GET /\t200 ~"},
      {"a long plain line", std::string(1000, 'x'), std::string(1000, 'x'), std::string(1000, 'x')},
      {"UTF-8 of two, three and four bytes", "é ☃ 🦊", "é ☃ 🦊", "é ☃ 🦊"},
      {"colour", "\x1b[31mred\x1b[0m", "red", "\x1b[31mred\x1b[0m"},
      {"colour with many parameters", "\x1b[1;38:5:9mx", "x", "\x1b[1;38:5:9mx"},
      {"reset without parameters", "a\x1b[mb", "ab", "a\x1b[mb"},
      {"clear screen", "a\x1b[2Jb", "a\\x1b[2Jb", "a\\x1b[2Jb"},
      {"cursor up", "\x1b[1A", "\\x1b[1A", "\\x1b[1A"},
      {"private SGR-like", "\x1b[?25m", "\\x1b[?25m", "\\x1b[?25m"},
      {"window title", "\x1b]0;pwned\x07", "\\x1b]0;pwned\\x07", "\\x1b]0;pwned\\x07"},
      {"device control", "\x1bP1$r\x1b\\", "\\x1bP1$r\\x1b\\", "\\x1bP1$r\\x1b\\"},
      {"escape at the end", "a\x1b", "a\\x1b", "a\\x1b"},
      {"unfinished colour", "a\x1b[31", "a\\x1b[31", "a\\x1b[31"},
      {"NUL", "a\0b"s, "a\\x00b", "a\\x00b"},
      {"bell, backspace, delete", "\x07\x08\x7f", "\\x07\\x08\\x7f", "\\x07\\x08\\x7f"},
      {"shift out", "\x0e", "\\x0e", "\\x0e"},
      {"newline inside", "a\nb", "a\\x0ab", "a\\x0ab"},
      {"C1 as UTF-8",
       "\xc2\x9b"
       "31m",
       "\\xc2\\x9b31m", "\\xc2\\x9b31m"},
      {"C1 as a raw byte",
       "\x9b"
       "31m",
       "\\x9b31m", "\\x9b31m"},
      {"no-break space stays", "\xc2\xa0", "\xc2\xa0", "\xc2\xa0"},
      {"right-to-left override", "\xe2\x80\xae", "\\xe2\\x80\\xae", "\\xe2\\x80\\xae"},
      {"first embedding", "\xe2\x80\xaa", "\\xe2\\x80\\xaa", "\\xe2\\x80\\xaa"},
      {"isolates", "\xe2\x81\xa6\xe2\x81\xa9", "\\xe2\\x81\\xa6\\xe2\\x81\\xa9",
       "\\xe2\\x81\\xa6\\xe2\\x81\\xa9"},
      {"beside the isolates", "\xe2\x81\xa5", "\xe2\x81\xa5", "\xe2\x81\xa5"},
      {"invalid byte",
       "a\xff"
       "b",
       "a\\xffb", "a\\xffb"},
      {"lone continuation", "\x80", "\\x80", "\\x80"},
      {"cut character", "\xe2\x98", "\\xe2\\x98", "\\xe2\\x98"},
      {"overlong slash", "\xc0\xaf", "\\xc0\\xaf", "\\xc0\\xaf"},
      {"overlong in three bytes", "\xe0\x80\xaf", "\\xe0\\x80\\xaf", "\\xe0\\x80\\xaf"},
      {"surrogate", "\xed\xa0\x80", "\\xed\\xa0\\x80", "\\xed\\xa0\\x80"},
      {"above Unicode", "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\\xf4\\x90\\x80\\x80"},
      {"the last character of Unicode", "\xf4\x8f\xbf\xbd", "\xf4\x8f\xbf\xbd", "\xf4\x8f\xbf\xbd"},
      {"progress bar", "10%\r20%\r30%", "30%", "30%"},
      {"Windows line end", "done\r", "done", "done"},
      {"progress bar, then line end", "10%\r100%\r\r", "100%", "100%"},
      {"only carriage returns", "\r\r", "", ""},
  };
  return all;
}

TEST_CASE("hostile bytes are shown harmlessly") {
  for (const Row& row : rows()) {
    INFO(row.what);
    CHECK(printable(row.bytes, false) == row.plain);
    CHECK(printable(row.bytes, true) == row.coloured);
  }
}

TEST_CASE("a colour sequence longer than the limit is shown, one at the limit is kept") {
  const std::string most = "\x1b[" + std::string(runmain::kColourSequenceMax - 3, '1') + "m";
  CHECK(printable(most, true) == most);
  const std::string over = "\x1b[" + std::string(runmain::kColourSequenceMax - 2, '1') + "m";
  CHECK(printable(over, true) == "\\x1b" + over.substr(1));
}

TEST_CASE("the caller is told whether a colour was kept") {
  std::string out;
  CHECK_FALSE(append_printable(out, "plain", true));
  CHECK_FALSE(append_printable(out, "\x1b[31mred", false));
  CHECK(append_printable(out, "\x1b[31mred", true));
  CHECK(out == "plainred\x1b[31mred");
}

TEST_CASE("every byte value at every place of a word is judged alone") {
  for (int value = 0; value < 256; ++value) {
    const std::string one(1, static_cast<char>(value));
    for (std::size_t at = 0; at < 24; ++at) {
      std::string line(24, 'x');
      line[at] = one[0];
      if (value == '\r') continue;
      const bool kept = (value >= 0x20 && value < 0x7f) || value == '\t';
      const std::string want =
          line.substr(0, at) + (kept ? one : printable(one, false)) + line.substr(at + 1);
      REQUIRE(printable(line, false) == want);
      REQUIRE(printable(one, false).size() == (kept ? 1 : 4));
    }
  }
}

TEST_CASE("what was made printable is printable and stays as it is") {
  const std::uint32_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  const std::string alphabet = "ab\x1b[];m19\r\n\t\x80\x9b\xc2\xe2\x80\xae\xf0\x9f\xa6\x8a\xff\x00\x07"s;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes;
    for (std::size_t n = random() % 40; n > 0; --n) bytes += alphabet[random() % alphabet.size()];
    for (const bool colour : {false, true}) {
      const std::string shown = printable(bytes, colour);
      REQUIRE(printable(shown, colour) == shown);
      REQUIRE(shown.size() <= 4 * bytes.size());
    }
  }
}

}  // namespace
