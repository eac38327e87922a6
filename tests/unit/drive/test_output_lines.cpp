// Lines out of rings, and their forms.
#include <random>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "unit/drive/test_output_world.hpp"

namespace {

using namespace runmain;
using namespace runmain::output_test;
using drive::kOutputLineMax;

struct Split {
  std::vector<std::string> pieces;  // "+text" goes on with a line
  std::size_t taken = 0;
  bool in_line = false;
};

Split split(const std::string& bytes, bool in_line, bool ended) {
  drive::OutputSplitter splitter(bytes, in_line, ended);
  drive::OutputPiece piece;
  Split out;
  while (splitter.next(piece)) out.pieces.push_back((piece.continues ? "+" : "") + std::string(piece.text));
  out.taken = splitter.taken();
  out.in_line = splitter.in_line();
  return out;
}

TEST_CASE("a line is complete at its newline, at the limit, or at the end of the stream") {
  struct Row {
    const char* what;
    std::string bytes;
    bool in_line;
    bool ended;
    std::vector<std::string> pieces;
    std::size_t taken;
    bool in_line_after;
  };
  const std::string most(kOutputLineMax, 'x');
  const std::vector<Row> rows = {
      {"nothing", "", false, false, {}, 0, false},
      {"nothing at the end", "", false, true, {}, 0, false},
      {"nothing at the end of a split line", "", true, true, {}, 0, true},
      {"a line", "a\n", false, false, {"a"}, 2, false},
      {"empty lines", "\n\n", false, false, {"", ""}, 2, false},
      {"a part waits", "a\nb", false, false, {"a"}, 2, false},
      {"a part at the end is a line", "a\nb", false, true, {"a", "b"}, 3, false},
      {"carriage returns stay", "a\r\n", false, false, {"a\r"}, 3, false},
      {"exactly the limit", most + "\n", false, false, {most}, kOutputLineMax + 1, false},
      {"the limit, undecided", most, false, false, {}, 0, false},
      {"the limit, ended", most, false, true, {most}, kOutputLineMax, false},
      {"one over, undecided", most + "y", false, false, {most}, kOutputLineMax, true},
      {"one over", most + "y\n", false, false, {most, "+y"}, kOutputLineMax + 2, false},
      {"one over at the end", most + "y", false, true, {most, "+y"}, kOutputLineMax + 1, false},
      {"two limits", most + most + "\n", false, false, {most, "+" + most}, 2 * kOutputLineMax + 1, false},
      {"in a line, its end", "y\nz\n", true, false, {"+y", "z"}, 4, false},
      {"a character is not cut in two",
       most.substr(1) + "\xc3\xa9z\n",
       false,
       false,
       {most.substr(1), "+\xc3\xa9z"},
       kOutputLineMax + 3,
       false},
      {"nor one of four bytes",
       most.substr(3) + "\xf0\x9f\xa6\x8a\n",
       false,
       false,
       {most.substr(3), "+\xf0\x9f\xa6\x8a"},
       kOutputLineMax + 2,
       false},
      {"what is no UTF-8 is cut at the limit",
       std::string(kOutputLineMax + 1, '\x80') + "\n",
       false,
       false,
       {std::string(kOutputLineMax, '\x80'), "+\x80"},
       kOutputLineMax + 2,
       false},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    const Split got = split(row.bytes, row.in_line, row.ended);
    CHECK(got.pieces == row.pieces);
    CHECK(got.taken == row.taken);
    CHECK(got.in_line == row.in_line_after);
  }
}

TEST_CASE("a stream is cut into the same pieces wherever its slices end") {
  const std::uint32_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  std::string stream;
  for (int i = 0; i < 60; ++i) stream += std::string(random() % (3 * kOutputLineMax), 'a' + i % 26) + "\n";
  stream += "the end";
  const Split whole = split(stream, false, true);
  for (int round = 0; round < 20; ++round) {
    Split got;
    std::size_t have = 0;
    while (got.taken < stream.size()) {
      have = std::min(stream.size(), std::max(have, got.taken) + random() % 40'000);
      const std::size_t slice = std::min(have - got.taken, drive::kOutputSliceMax);
      const bool ended = got.taken + slice == stream.size();
      const Split part = split(stream.substr(got.taken, slice), got.in_line, ended);
      got.pieces.insert(got.pieces.end(), part.pieces.begin(), part.pieces.end());
      got.taken += part.taken;
      got.in_line = part.in_line;
    }
    REQUIRE(got.pieces == whole.pieces);
  }
}

TEST_CASE("the stamp is RFC 3339 in UTC with milliseconds") {
  drive::OutputStamp stamp;
  CHECK(stamp.text(0) == "1970-01-01T00:00:00.000Z");
  CHECK(stamp.text(1'795'255'200'123'999'999) == "2026-11-21T10:00:00.123Z");
  CHECK(stamp.text(1'795'255'200'999'000'000) == "2026-11-21T10:00:00.999Z");
  CHECK(stamp.text(1'795'255'201'000'000'000) == "2026-11-21T10:00:01.000Z");
}

TEST_CASE("a kept line can be read again") {
  drive::OutputStamp stamp;
  const auto at = stamp.text(1'795'255'200'123'000'000);
  struct Row {
    std::string label;
    std::uint32_t slot;
    std::uint32_t generation;
    bool build;
  };
  for (const Row& row : std::vector<Row>{{"web", 0, 0, false},
                                         {"web.3", 3, 0, false},
                                         {"web:7", 0, 7, false},
                                         {"web.2:7", 2, 7, false},
                                         {"web build", kBuildSlot, 0, true},
                                         {"web build:2", kBuildSlot, 2, true},
                                         {"web hook:2", kHookSlot, 2, false},
                                         {"web look", kLookSlot, 0, false}}) {
    const auto prefix = drive::file_prefix(at, row.label);
    for (const bool more : {false, true}) {
      const auto line = drive::parse_output_line((more ? prefix.more : prefix.start) + "a | b + c", "web");
      REQUIRE(line);
      CHECK(line->slot == row.slot);
      CHECK(line->generation == row.generation);
      CHECK(line->build == row.build);
      CHECK(line->continues == more);
      CHECK(line->text == "a | b + c");
      CHECK(line->time_ns == 1'795'255'200'123'000'000);
    }
  }
  for (const char* strange : {"", "web | x", "2026-11-21T10:00:00.123Z",
                              "2026-11-21T10:00:00.123Z website | x", "2026-11-21T10:00:00.123Z web.x | y",
                              "2026-11-21T10:00:00.123Z web", "2026-11-21 10:00:00.123 | web | x"}) {
    INFO(strange);
    CHECK_FALSE(drive::parse_output_line(strange, "web"));
  }
}

TEST_CASE("a service's line is looked up by name and worker") {
  CHECK(drive::output_label("web", false, 0) == "web");
  CHECK(drive::output_label("web", true, 1) == "web.1");
  CHECK(drive::output_label("web", false, kBuildSlot) == "web build");
  CHECK(drive::output_label(std::string(500, 'n'), false, 0).size() == drive::kOutputLabelMax);
}

TEST_CASE("the same label has the same colour, its neighbour another, and none where none is wanted") {
  const auto one = drive::terminal_prefix("web.0", 7, true, 0);
  CHECK(one.start == drive::terminal_prefix("web.0", 7, true, 0).start);
  CHECK(one.start.substr(0, 12) != drive::terminal_prefix("web.0", 7, true, 1).start.substr(0, 12));
  CHECK(drive::terminal_prefix("web.0", 7, false, 0).start == "web.0   | ");
  CHECK(drive::terminal_prefix("web.0", 7, false, 0).more == "web.0   + ");
}

TEST_CASE("a ring that is given to another child while it is looked at is seen as one or the other") {
  FakeKeeper keeper;
  drive::OutputReader reader(keeper.board, keeper.fds.rings);
  CHECK_FALSE(reader.look(5));
  keeper.open(5, ChildKey{ServiceId{1}, 2, 3, 4});
  keeper.put_all(5, "abc");
  const auto stream = reader.look(5);
  REQUIRE(stream);
  CHECK(stream->key == ChildKey{ServiceId{1}, 2, 3, 4});
  CHECK_FALSE(stream->ended);
  CHECK(reader.read(*stream) == "abc");
}

TEST_CASE("a line without a newline of 1 GB takes bounded memory and comes out in marked pieces") {
  TestFolder folder;
  FakeKeeper keeper;
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
  Head head(keeper, {{ServiceId{0}, service("web", 1, "/dev/null")}});
  std::uint64_t pieces = 0;
  std::uint64_t bytes = 0;
  bool first_starts = false;
  head.output.follow([&](const drive::OutputLine& line) {
    if (pieces == 0) first_starts = !line.continues;
    if (pieces > 0 && !line.continues) bytes = ~0ULL / 2;  // no longer the same line
    ++pieces;
    bytes += line.text.size();
  });
  const auto pages = [] {
    std::ifstream in("/proc/self/statm");
    std::uint64_t size = 0;
    std::uint64_t resident = 0;
    std::uint64_t shared = 0;
    in >> size >> resident >> shared;
    return resident - shared;
  };
  const std::string chunk(keeper::kRingBytes, 'x');
  constexpr std::uint64_t kGigabyte = 1U << 30U;
  const std::uint64_t before = pages();
  for (std::uint64_t sent = 0; sent < kGigabyte;) {
    sent += keeper.put(
        0, std::string_view(chunk).substr(0, std::min<std::uint64_t>(chunk.size(), kGigabyte - sent)));
    head.carry();
  }
  keeper.end(0);
  head.carry();
  CHECK(first_starts);
  CHECK(bytes == kGigabyte);
  CHECK(pieces == kGigabyte / kOutputLineMax);
  CHECK(keeper.consumed(0));
#ifndef __SANITIZE_ADDRESS__  // it keeps freed memory
  CHECK((pages() - before) * 4096 < (8U << 20U));
#else
  (void)before;
#endif
}

}  // namespace
