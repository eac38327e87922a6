// A mailbox's header, records and dictionary, as bytes.
#include <cstring>

#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/crc32c.hpp"
#include "telemetry/mailbox_layout.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

namespace {

constexpr std::uint64_t kRing = 4096;

std::string bytes_of(const auto& value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }

std::string record(std::uint32_t length, std::uint16_t kind, std::uint64_t checksum_position = 0) {
  const std::string payload(std::min<std::size_t>(length, 1U << 20U), 'p');
  runmain_record head{length, kind, 0, 0, 0};
  const std::string_view covered =
      kind == RUNMAIN_RECORD_PAD ? std::string_view() : std::string_view(payload);
  head.checksum = record_checksum(checksum_position, length, kind, 0, covered);
  std::string bytes = bytes_of(head) + payload;
  bytes.resize(padded(bytes.size()));
  return bytes;
}

}  // namespace

TEST_CASE("crc32c is Castagnoli's") {
  CHECK(crc32c("123456789") == 0xe3069283U);
  CHECK(crc32c("") == 0);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aaU);
  CHECK(crc32c("56789", crc32c("1234")) == 0xe3069283U);
  CHECK(crc32c_by_tables("123456789") == 0xe3069283U);
  const std::string bytes = "a CPU with an instruction for it, and one without, say the same of \x80\xff";
  for (std::size_t from = 0; from < bytes.size(); ++from) {
    const std::string_view part = std::string_view(bytes).substr(from);
    CHECK(crc32c(part, 0x12345678) == crc32c_by_tables(part, 0x12345678));
  }
}

TEST_CASE("what runmain makes is read as it was made") {
  const Geometry made = standard_geometry("a-b-c");
  const auto read = read_geometry(bytes_of(make_header(made)), made.size());
  REQUIRE(read.ok());
  CHECK(*read == made);
  CHECK(made.lane_offset(0) == RUNMAIN_MAILBOX_HEADER_SIZE);
  CHECK(made.is_shared(RUNMAIN_MAILBOX_LANES - 1));
  CHECK_FALSE(made.is_shared(0));
  const Geometry named = standard_geometry(std::string(100, 'x'));
  CHECK(named.instance_id.size() == RUNMAIN_MAILBOX_INSTANCE_MAX - 1);
}

TEST_CASE("a header that lies is refused") {
  using Change = void (*)(runmain_mailbox&);
  struct Case {
    const char* what;
    Change change;
  };
  const Case cases[] = {
      {"magic", [](runmain_mailbox& h) { h.magic ^= 1; }},
      {"major", [](runmain_mailbox& h) { h.major = 2; }},
      {"header size 0", [](runmain_mailbox& h) { h.header_size = 0; }},
      {"header size odd", [](runmain_mailbox& h) { h.header_size = 4097; }},
      {"header size huge", [](runmain_mailbox& h) { h.header_size = 0xfffff000U; }},
      {"no lanes", [](runmain_mailbox& h) { h.lane_count = 0; }},
      {"many lanes", [](runmain_mailbox& h) { h.lane_count = 0xffffffffU; }},
      {"one lane too many", [](runmain_mailbox& h) { ++h.lane_count; }},
      {"shared lanes", [](runmain_mailbox& h) { h.lanes_shared = h.lane_count + 1; }},
      {"stride 0", [](runmain_mailbox& h) { h.lane_stride = 0; }},
      {"stride too short", [](runmain_mailbox& h) { h.lane_stride -= 4096; }},
      {"stride near 2^64", [](runmain_mailbox& h) { h.lane_stride = ~0ULL - 4095; }},
      {"dictionary", [](runmain_mailbox& h) { h.dictionary_size = 0xffffffffU; }},
      {"slots", [](runmain_mailbox& h) { h.open_slots = 0xffffffffU; }},
      {"ring 0", [](runmain_mailbox& h) { h.ring_size = 0; }},
      {"ring no power of two", [](runmain_mailbox& h) { h.ring_size -= 4096; }},
      {"ring of 2^63", [](runmain_mailbox& h) { h.ring_size = 1ULL << 63U; }},
  };
  const Geometry made = standard_geometry("x");
  for (const Case& c : cases) {
    CAPTURE(c.what);
    runmain_mailbox header = make_header(made);
    c.change(header);
    const auto read = read_geometry(bytes_of(header), made.size());
    REQUIRE_FALSE(read.ok());
    CHECK((read.error().code == kUnknownVersion) == (std::string(c.what) == "major"));
  }
  CHECK_FALSE(read_geometry("", made.size()).ok());
  CHECK_FALSE(read_geometry(bytes_of(make_header(made)), made.size() - 1).ok());
  runmain_mailbox newer = make_header(made);
  newer.minor = 99;  // additions only
  CHECK(read_geometry(bytes_of(newer), made.size()).ok());
}

TEST_CASE("a record by position is cut, or the lie in it is named") {
  struct Case {
    const char* what;
    std::string bytes;
    std::uint64_t available;
    std::uint64_t position;
    CutKind expected;
    std::uint64_t size;
  };
  const std::string ten = record(10, RUNMAIN_RECORD_SPAN);
  const Case cases[] = {
      {"nothing", "", 0, 0, CutKind::none, 0},
      {"one", ten, 32, 0, CutKind::record, 32},
      {"one and more", ten + ten, 64, 0, CutKind::record, 32},
      {"not all was copied", ten.substr(0, 24), 32, 0, CutKind::partial, 0},
      {"not even its header was copied", ten.substr(0, 8), 32, 0, CutKind::partial, 0},
      {"half a header is said to be written", ten.substr(0, 8), 8, 0, CutKind::lie, 0},
      {"longer than what is written", ten, 24, 0, CutKind::lie, 0},
      {"length 2^32 - 1", record(0xffffffffU, RUNMAIN_RECORD_SPAN), 4096, 0, CutKind::lie, 0},
      {"beyond the end of the ring", record(40, RUNMAIN_RECORD_SPAN), 4096, kRing - 48, CutKind::lie, 0},
      {"up to the end of the ring", record(32, RUNMAIN_RECORD_SPAN), 48, kRing - 48, CutKind::record, 48},
      {"no kind", record(10, 0), 32, 0, CutKind::lie, 0},
      {"a kind to come", record(10, 77), 32, 0, CutKind::record, 32},
      {"a pad", record(32, RUNMAIN_RECORD_PAD).substr(0, 16), 48, kRing - 48, CutKind::pad, 48},
      {"eight bytes are left", "12345678", 8, kRing - 8, CutKind::pad, 8},
      {"eight bytes are left, and fewer written", "1234", 4, kRing - 8, CutKind::lie, 0},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const Cut cut = cut_by_position(c.bytes, c.available, c.position, kRing);
    CHECK(static_cast<int>(cut.what) == static_cast<int>(c.expected));
    CHECK(cut.size == c.size);
    if (cut.what == CutKind::record) CHECK(cut.payload.size() <= c.bytes.size());
    if (cut.what == CutKind::lie) CHECK(std::string(cut.reason) != "");
  }
  constexpr std::uint64_t kBig = 1U << 20U;
  CHECK(cut_by_position(record(RUNMAIN_RECORD_MAX, 2), kBig, 0, kBig).what == CutKind::lie);
  CHECK(cut_by_position(record(RUNMAIN_RECORD_MAX - 16, 2), kBig, 0, kBig).what == CutKind::record);
}

TEST_CASE("a record by checksum is there when all of it is, at its position") {
  CHECK(record_checksum(64, 10, RUNMAIN_RECORD_SPAN, 0, "0123456789") == 0x9c25bfbaU);  // computed elsewhere
  const std::string at_64 = record(10, RUNMAIN_RECORD_SPAN, 64);
  CHECK(cut_by_checksum(at_64, 64, kRing).what == CutKind::record);
  CHECK(cut_by_checksum(at_64, 64 + kRing, kRing).what == CutKind::none);  // of a lap before
  CHECK(cut_by_checksum(at_64.substr(0, 20), 64, kRing).what == CutKind::none);
  CHECK(cut_by_checksum(std::string(256, '\0'), 64, kRing).what == CutKind::none);
  for (std::size_t i = 0; i < 26; ++i) {
    if (i >= 12 && i < 16) continue;  // the reserved word is not covered
    std::string torn = at_64;
    torn[i] = static_cast<char>(torn[i] ^ 0x40);
    CAPTURE(i);
    CHECK(cut_by_checksum(torn, 64, kRing).what == CutKind::none);
  }
  const Cut pad =
      cut_by_checksum(record(32, RUNMAIN_RECORD_PAD, kRing - 48).substr(0, 16), kRing - 48, kRing);
  CHECK(pad.what == CutKind::pad);
  CHECK(pad.size == 48);
}

TEST_CASE("a dictionary with a fault keeps the numbers of its entries") {
  const auto entry = [](std::uint16_t kind, const std::string& payload) {
    std::string bytes =
        bytes_of(runmain_entry{static_cast<std::uint32_t>(payload.size()), kind, 0}) + payload;
    bytes.resize(padded_entry(bytes.size()));
    return bytes;
  };
  const auto scope = [&](std::uint32_t schema, const std::string& rest) {
    return entry(RUNMAIN_ENTRY_SCOPE, bytes_of(schema) + std::string(4, '\0') + rest);
  };
  const std::string bytes =
      entry(RUNMAIN_ENTRY_RESOURCE, "resource") + scope(1000, "beyond") + scope(3, "urlscope");
  const DictionaryEntries read = read_dictionary(bytes, 100);
  CHECK(read.whole);
  REQUIRE(read.entries.size() == 3);
  CHECK(read.entries[0].payload == "resource");
  CHECK(read.entries[1].kind == 0);
  CHECK(read.entries[2].schema == "url");
  CHECK(read.entries[2].payload == "scope");
  CHECK_FALSE(read_dictionary(bytes.substr(0, bytes.size() - 8), 100).whole);
  CHECK_FALSE(read_dictionary(bytes, 2).whole);
}

TEST_CASE("random bytes are cut within their bounds") {
  const std::uint64_t seed = 4711;
  CAPTURE(seed);
  Random random(seed);
  for (int round = 0; round < 50000; ++round) {
    std::string bytes = random.bytes(random.below(200));
    if (round % 2 == 0 && bytes.size() >= 8) {  // lengths that may be
      const auto length = static_cast<std::uint32_t>(random.below(220));
      std::memcpy(bytes.data(), &length, sizeof length);
      bytes[4] = static_cast<char>(random.below(7));
      bytes[5] = 0;
    }
    const std::uint64_t position = random.below(3 * kRing / 8) * 8;
    const std::uint64_t available = std::max<std::uint64_t>(bytes.size(), random.below(400));
    const Cut cut = cut_by_position(bytes, available, position, kRing);
    if (cut.what == CutKind::record || cut.what == CutKind::pad) {
      REQUIRE(cut.size > 0);
      REQUIRE(cut.size <= available);
      REQUIRE(position % kRing + cut.size <= kRing);
    }
    (void)cut_by_checksum(bytes, position, kRing);
    std::size_t sum = 0;
    for (const DictionaryEntry& entry : read_dictionary(bytes, 50).entries) sum += entry.payload.size();
    REQUIRE(sum <= bytes.size());
  }
}
