// The queue on disk: over restarts, limits, cuts and damage.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/spill.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

namespace {

namespace fs = std::filesystem;

struct Folder {
  std::string path = "/tmp/runmain-spill-XXXXXX";
  Folder() { REQUIRE(mkdtemp(path.data()) != nullptr); }
  ~Folder() { fs::remove_all(path); }
  std::vector<fs::path> segments() const {
    std::vector<fs::path> all;
    for (const auto& entry : fs::directory_iterator(path)) {
      if (entry.path().extension() == ".spill") all.push_back(entry.path());
    }
    std::sort(all.begin(), all.end());
    return all;
  }
};

Spill open_spill(const Folder& folder, SpillLimits limits = {}) {
  auto spill = Spill::open(folder.path, limits);
  REQUIRE(spill.ok());
  return std::move(*spill);
}

std::vector<std::string> take_all(Spill& spill) {
  std::vector<std::string> all;
  while (auto record = spill.next()) {
    all.push_back(std::move(record->payload));
    spill.done(record->number);
  }
  return all;
}

void overwrite(const fs::path& path, std::streamoff at, const std::string& bytes) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(at);
  file << bytes;
}

constexpr std::streamoff kHead = 24;

}  // namespace

TEST_CASE("what was pushed comes in its order, and what was not done comes again after a restart") {
  const Folder folder;
  const SpillLimits limits{.segment = 100};  // a few records each
  std::uint64_t pushed = 0;
  std::uint64_t done = 0;
  std::uint64_t handed_out = 0;
  Random random(1);
  for (int life = 0; life < 40; ++life) {
    Spill spill = open_spill(folder, limits);
    CHECK(spill.records() == pushed - done);
    CHECK(spill.items() == 2 * (pushed - done));
    for (std::uint64_t i = random.below(10); i-- > 0;) {
      const auto number = spill.push("record " + std::to_string(pushed), 2);
      REQUIRE(number.ok());
      CHECK(*number == ++pushed);
    }
    std::uint64_t expected = done;
    for (std::uint64_t i = random.below(10); i-- > 0;) {
      const auto record = spill.next();
      CHECK(record.has_value() == (expected < pushed));
      if (!record) break;
      CHECK(record->payload == "record " + std::to_string(expected));
      CHECK(record->number == ++expected);
      CHECK(record->items == 2);
      CHECK(record->again == (expected <= handed_out));
      handed_out = std::max(handed_out, expected);
    }
    for (std::uint64_t i = random.below(8); i-- > 0 && done < expected;) spill.done(++done);
    CHECK(spill.tallies().damaged_records == 0);
  }
  CHECK(pushed > 50);
  Spill spill = open_spill(folder, limits);
  CHECK(take_all(spill).size() == pushed - done);
  CHECK(spill.empty());
  CHECK(spill.bytes() == 0);
  CHECK(folder.segments().empty());
}

TEST_CASE("records are done in any order, and kept from the first one on that is not") {
  const Folder folder;
  {
    Spill spill = open_spill(folder, {.segment = 60});
    for (int n = 1; n <= 9; ++n) REQUIRE(spill.push("record " + std::to_string(n), 1).ok());
    for (int n = 1; n <= 8; ++n) REQUIRE(spill.next().has_value());
    for (const std::uint64_t n : {8U, 2U, 1U, 5U, 5U, 4U, 77U}) spill.done(n);
    CHECK(spill.records() == 7);
    CHECK(spill.next()->number == 9);
    CHECK_FALSE(spill.next().has_value());
  }
  Spill spill = open_spill(folder, {.segment = 60});
  CHECK(take_all(spill).size() == 7);  // 3 to 9
  CHECK(spill.empty());
}

TEST_CASE("what was pushed after the last save can be forgotten and pushed anew") {
  for (const std::uint64_t saved : {0U, 1U, 4U, 6U, 9U}) {
    CAPTURE(saved);
    const Folder folder;
    {
      Spill spill = open_spill(folder, {.segment = 60});
      for (int n = 1; n <= 6; ++n) REQUIRE(spill.push("record " + std::to_string(n), 3).ok());
      if (saved > 0) {
        REQUIRE(spill.next().has_value());
        spill.done(1);
      }
    }
    const std::uint64_t kept = std::min<std::uint64_t>(saved, 6);
    {
      Spill spill = open_spill(folder, {.segment = 60});
      CHECK(spill.forget_after(saved) == 6 - kept);
      CHECK(spill.last_number() == kept);
      const auto number = spill.push("anew", 3);
      REQUIRE(number.ok());
      CHECK(*number == kept + 1);
    }
    Spill spill = open_spill(folder, {.segment = 60});
    const auto all = take_all(spill);
    CHECK(all.size() == kept + (saved > 0 ? 0 : 1));
    CHECK(all.back() == "anew");
    CHECK(spill.tallies().damaged_records == 0);
  }
}

TEST_CASE("over the limit the oldest go first, and are counted") {
  const Folder folder;
  const SpillLimits limits{.bytes = 1000, .segment = 200};
  Spill spill = open_spill(folder, limits);
  std::uint64_t told = 0;
  spill.on_lost([&](Drop reason, std::string_view begin, std::uint32_t items) {
    CHECK(reason == Drop::spill_full);
    CHECK(begin == std::string(50, static_cast<char>('a' + told % 26)));
    CHECK(items == 3);
    ++told;
  });
  for (int n = 0; n < 100; ++n) {
    REQUIRE(spill.push(std::string(50, static_cast<char>('a' + n % 26)), 3).ok());
    CHECK(spill.bytes() <= limits.bytes);
  }
  const SpillTallies& tallies = spill.tallies();
  CHECK(tallies.dropped_records > 80);
  CHECK(told == tallies.dropped_records);
  CHECK(tallies.dropped_items == 3 * tallies.dropped_records);
  CHECK(tallies.dropped_records + spill.records() == 100);
  const std::uint64_t left = spill.records();
  const auto all = take_all(spill);
  CHECK(all.size() == left);
  CHECK(all.back() == std::string(50, static_cast<char>('a' + 99 % 26)));
  CHECK(folder.segments().empty());
}

TEST_CASE("what was handed out is not lost when its segment goes, and is done later without harm") {
  const Folder folder;
  Spill spill = open_spill(folder, {.bytes = 400, .segment = 150});
  for (int n = 1; n <= 2; ++n) REQUIRE(spill.push(std::string(50, 'x'), 1).ok());
  REQUIRE(spill.next()->number == 1);
  for (int n = 3; n <= 12; ++n) REQUIRE(spill.push(std::string(50, 'x'), 1).ok());
  CHECK(spill.tallies().dropped_records + spill.records() == 11);
  spill.done(1);
  CHECK(spill.tallies().dropped_records + spill.records() == 11);
  CHECK(take_all(spill).size() + spill.tallies().dropped_records == 11);
}

TEST_CASE("a record that a death cut off is cut off for good, and what was before it is there") {
  const Folder whole;
  {
    Spill spill = open_spill(whole);
    for (const char* text : {"one", "two", "three"}) REQUIRE(spill.push(text, 1).ok());
  }
  const fs::path segment = whole.segments().at(0);
  const std::uintmax_t size = fs::file_size(segment);
  const std::uintmax_t third = size - kHead - 5;
  for (std::uintmax_t cut = third; cut < size; ++cut) {
    CAPTURE(cut);
    const Folder folder;
    const fs::path copy = fs::path(folder.path) / segment.filename();
    fs::copy(segment, copy);
    fs::resize_file(copy, cut);
    Spill spill = open_spill(folder);
    CHECK(spill.tallies().damaged_records == (cut == third ? 0 : 1));
    CHECK(fs::file_size(copy) == third);
    REQUIRE(spill.push("four", 1).ok());
    CHECK(take_all(spill) == std::vector<std::string>{"one", "two", "four"});
  }
}

TEST_CASE("a record of another checksum is left out, and a head that is none ends its segment") {
  const Folder folder;
  {
    Spill spill = open_spill(folder);
    for (const char* text : {"one", "two", "three"}) REQUIRE(spill.push(text, 7).ok());
  }
  SECTION("in a payload") {
    overwrite(folder.segments()[0], kHead + 3 + kHead, "TWO");
    Spill spill = open_spill(folder);
    CHECK(take_all(spill) == std::vector<std::string>{"one", "three"});
    CHECK(spill.tallies().damaged_records == 1);
    CHECK(spill.tallies().damaged_items == 7);
  }
  SECTION("in the last payload, which is the torn tail") {
    overwrite(folder.segments()[0], 3 * kHead + 3 + 3, "THREE");
    Spill spill = open_spill(folder);
    CHECK(take_all(spill) == std::vector<std::string>{"one", "two"});
    CHECK(spill.tallies().damaged_records == 1);
  }
  SECTION("in a head") {
    overwrite(folder.segments()[0], kHead + 3, "nonsense");
    Spill spill = open_spill(folder);
    CHECK(take_all(spill) == std::vector<std::string>{"one"});
    CHECK(spill.tallies().damaged_records == 1);
  }
  SECTION("in what tells how far it was taken: it is taken again") {
    {
      Spill spill = open_spill(folder);
      spill.done(spill.next()->number);
    }
    overwrite(folder.path + "/read", 8, "x");
    Spill spill = open_spill(folder);
    CHECK(take_all(spill) == std::vector<std::string>{"one", "two", "three"});
  }
  SECTION("while it is open") {
    Spill spill = open_spill(folder);
    fs::resize_file(folder.segments()[0], kHead + 3);
    CHECK(take_all(spill) == std::vector<std::string>{"one"});
    CHECK(spill.tallies().damaged_records == 2);
    CHECK(spill.tallies().damaged_items == 14);
    CHECK(spill.empty());
  }
}

TEST_CASE("a segment that was taken and not removed in time is not taken again") {
  const Folder folder;
  const fs::path kept = fs::path(folder.path) / "kept";
  fs::path segment;
  {
    Spill spill = open_spill(folder);
    REQUIRE(spill.push("one", 1).ok());
    segment = folder.segments()[0];
    fs::copy(segment, kept);
    CHECK(take_all(spill).size() == 1);
  }
  fs::copy(kept, segment);
  Spill spill = open_spill(folder);
  CHECK(take_all(spill).empty());
  CHECK_FALSE(fs::exists(segment));
  // A new one has a higher number, else it would count as taken at the next start.
  REQUIRE(spill.push("two", 1).ok());
  Spill next = open_spill(folder);
  CHECK(take_all(next) == std::vector<std::string>{"two"});
}

TEST_CASE("random bytes in segments are no records") {
  const std::uint64_t seed = 8;
  CAPTURE(seed);
  Random random(seed);
  for (int round = 0; round < 100; ++round) {
    const Folder folder;
    {
      Spill spill = open_spill(folder, {.segment = 60});
      for (int i = 0; i < 6; ++i) REQUIRE(spill.push("payload", 1).ok());
    }
    for (const fs::path& path : folder.segments()) {
      const auto at = static_cast<std::streamoff>(random.below(fs::file_size(path)));
      overwrite(path, at, random.bytes(random.below(30)));
    }
    overwrite(folder.path + "/read", 0, random.bytes(random.below(32)));
    std::ofstream(folder.path + "/0000000000000000.spill") << random.bytes(40);
    std::ofstream(folder.path + "/zz.spill") << "not ours";
    Spill spill = open_spill(folder, {.segment = 60});
    for (const std::string& payload : take_all(spill)) CHECK(payload == "payload");
    CHECK(spill.empty());
    REQUIRE(spill.push("after", 1).ok());
    CHECK(spill.next()->payload == "after");
    CHECK(fs::exists(folder.path + "/zz.spill"));
  }
}

TEST_CASE("where nothing can be written, nothing has changed") {
  CHECK_FALSE(Spill::open("/nowhere/at/all").ok());
  const Folder folder;
  Spill spill = open_spill(folder, {.record = 10});
  const auto refused = spill.push("more than ten bytes", 1);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == EFBIG);
  CHECK(spill.empty());
}

TEST_CASE("a parcel is the same after the disk") {
  Parcel parcel{{ServiceId{4}, 3, 2, 1}, {Signal::logs, std::string("\0bytes", 6), 17}, true};
  const auto back = unpack(pack(parcel));
  REQUIRE(back);
  CHECK(back->worker == parcel.worker);
  CHECK(back->request.signal == Signal::logs);
  CHECK(back->request.bytes == parcel.request.bytes);
  CHECK(back->request.items == 17);
  CHECK(back->may_have_arrived);
  CHECK_FALSE(unpack("").has_value());
  CHECK_FALSE(unpack(std::string(6, '\xff')).has_value());
}
