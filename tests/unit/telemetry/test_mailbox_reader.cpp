// A reader and writers of one mailbox.
#include <fcntl.h>
#include <sys/mman.h>

#include "base/archive.hpp"
#include "mailbox_world.hpp"
#include "telemetry/ledger.hpp"
#include "telemetry/otlp_wire.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

TEST_CASE("what was written is read once, in order, with its resource and scope") {
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("lib", "https://schema");
  MailboxReader reader = world.reader();
  CHECK(reader.geometry().instance_id == "instance-1");
  CHECK(reader.drain(1U << 20U).empty());
  for (std::uint64_t n = 1; n <= 3; ++n) REQUIRE(lane.span(scope, span_number(n)));
  const auto items = reader.drain(1U << 20U);
  REQUIRE(items.size() == 3);
  CHECK(items[0].bytes == span_number(1));
  CHECK(items[2].bytes == span_number(3));
  CHECK(items[2].origin.resource == make_resource("web"));
  CHECK(items[2].origin.scope == make_scope("lib"));
  CHECK(items[2].origin.scope_schema == "https://schema");
  CHECK(std::string(items[2].ids.span.begin(), items[2].ids.span.end()) == id8(3));
  CHECK(reader.drain(1U << 20U).empty());
  CHECK(reader.tallies().spans == 3);
  CHECK(reader.tallies().counters.ended == 3);
  CHECK(reader.unread_spans() == 0);
}

TEST_CASE("a ring goes round and round, in both modes") {
  for (const std::uint32_t mode : {RUNMAIN_LANE_BY_POSITION, RUNMAIN_LANE_BY_CHECKSUM}) {
    CAPTURE(mode);
    World world;
    Lane lane(world, 1, mode);
    REQUIRE(lane.take());
    const std::uint32_t scope = lane.scope("lib");
    MailboxReader reader = world.reader();
    std::uint64_t written = 0;
    std::uint64_t read = 0;
    while (written < 2000) {
      SpanSpec spec;
      spec.span = id8(written + 1);
      spec.name = std::string(written * 7 % 300, 'n');  // every way to meet the end of the ring
      if (lane.span(scope, make_span(spec))) {
        ++written;
        continue;
      }
      Lane::lane_count(lane.words().started);
      for (const Item& item : reader.drain(1U << 20U)) {
        ++read;
        REQUIRE(std::string(item.ids.span.begin(), item.ids.span.end()) == id8(read));
      }
      reader.commit();
    }
    read += read_all(reader).size();
    CHECK(read == written);
    CHECK(reader.tallies().counters.lost[RUNMAIN_LOST_FULL] == lane.words().started);
    CHECK(lane.position() > 20 * world.geometry.ring_size);
    CHECK(reader.take_faults().empty());
  }
}

TEST_CASE("until what was read is saved, its writer may not overwrite it") {
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("lib");
  MailboxReader reader = world.reader();
  while (lane.span(scope, span_number(1))) {
  }
  const std::size_t first = reader.drain(1U << 20U).size();
  CHECK(first > 10);
  CHECK_FALSE(lane.span(scope, span_number(2)));
  reader.commit();
  CHECK(lane.span(scope, span_number(2)));
}

TEST_CASE("a reader that dies goes on where its cursor was saved, and knows all scopes again") {
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("lib");
  REQUIRE(lane.span(scope, span_number(1)));
  std::string saved;
  {
    MailboxReader reader = world.reader();
    CHECK(reader.drain(1U << 20U).size() == 1);
    saved = to_binary(reader.cursor());
    // It dies here: between the save and the commit.
  }
  REQUIRE(lane.span(scope, span_number(2)));
  MailboxCursor cursor;
  REQUIRE(from_binary(saved, cursor));
  MailboxReader reader = world.reader(std::move(cursor));
  const auto items = reader.drain(1U << 20U);
  REQUIRE(items.size() == 1);
  CHECK(items[0].bytes == span_number(2));
  CHECK(items[0].origin.scope == make_scope("lib"));
  CHECK(reader.tallies().spans == 2);
}

TEST_CASE("a cursor that was lost goes on with what was told to the writer") {
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("lib");
  MailboxReader first = world.reader();
  for (std::uint64_t n = 0; n < 200; ++n) {
    if (!lane.span(scope, span_number(n + 1))) read_all(first);
  }
  read_all(first);
  REQUIRE(lane.span(scope, span_number(777)));
  MailboxReader second = world.reader();
  CHECK(read_all(second) == std::vector<std::string>{span_number(777)});
}

TEST_CASE("a scope that is not there costs the scope, not the span") {
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  for (const std::uint32_t scope : {RUNMAIN_SCOPE_LOST, 5U, 0U}) REQUIRE(lane.span(scope, span_number(1)));
  MailboxReader reader = world.reader();
  const auto items = reader.drain(1U << 20U);
  REQUIRE(items.size() == 3);
  for (const Item& item : items) {
    CHECK(item.origin.scope.empty());
    CHECK(item.origin.resource == make_resource("web"));
  }
  CHECK(reader.tallies().bad_scopes == 3);
}

TEST_CASE("a lane that lies is put aside with a reason, and the others go on") {
  struct Case {
    const char* reason;
    void (*lie)(Lane&);
  };
  const Case cases[] = {
      {"a write position that is not aligned", [](Lane& l) { store(l.words().write, l.position() + 3); }},
      {"a write position behind what was read", [](Lane& l) { store(l.words().write, std::uint64_t{0}); }},
      {"more than its ring holds", [](Lane& l) { store(l.words().write, ~std::uint64_t{7}); }},
      {"a state that is none", [](Lane& l) { store(l.words().state, 77U); }},
      {"a record of no kind",
       [](Lane& l) {
         std::memset(l.ring() + l.position(), 0, 64);
         store(l.words().write, l.position() + 64);
       }},
      {"a length beyond the end of the ring",
       [](Lane& l) {
         std::memset(l.ring() + l.position(), 0x7f, 64);
         store(l.words().write, l.position() + 64);
       }},
      {"a length beyond what is written",
       [](Lane& l) {
         const runmain_record record{200, RUNMAIN_RECORD_SPAN, 0, 0, 0};
         std::memcpy(l.ring() + l.position(), &record, sizeof record);
         store(l.words().write, l.position() + 64);
       }},
  };
  for (const Case& c : cases) {
    CAPTURE(c.reason);
    World world;
    Lane liar(world, 0);
    Lane honest(world, 2);
    REQUIRE(liar.take());
    REQUIRE(honest.take(200));
    const std::uint32_t scope = liar.scope("lib");
    honest.scope("lib");
    MailboxReader reader = world.reader();
    REQUIRE(liar.span(scope, span_number(1)));
    CHECK(read_all(reader).size() == 1);
    c.lie(liar);
    REQUIRE(honest.span(scope, span_number(2)));
    CHECK(read_all(reader) == std::vector<std::string>{span_number(2)});
    REQUIRE(honest.span(scope, span_number(3)));
    CHECK(read_all(reader) == std::vector<std::string>{span_number(3)});
    const std::vector<LaneFault> faults = reader.take_faults();
    REQUIRE(faults.size() == 1);
    CHECK(faults[0].lane == 0);
    CHECK(faults[0].reason == c.reason);
    CHECK(reader.tallies().lanes_aside == 1);
    // Once its process is gone, somebody else may have the lane.
    reader.find_gone(
        [](std::uint32_t pid, std::uint64_t) { return pid == 100 ? std::optional(Ending{}) : std::nullopt; });
    reader.commit();
    CHECK(liar.words().state == RUNMAIN_LANE_FREE);
    REQUIRE(liar.take(300));
    liar.scope("lib");
    REQUIRE(liar.span(scope, span_number(4)));
    CHECK(read_all(reader) == std::vector<std::string>{span_number(4)});
  }
}

TEST_CASE("a mailbox that could be cut off is refused, and so is one that is shorter than it says") {
  const Geometry g = small_geometry();
  const auto header = make_header(g);
  const std::string_view bytes(reinterpret_cast<const char*>(&header), sizeof header);
  const auto make = [&](std::uint64_t size, int seals) {
    os::UniqueFd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(ftruncate(fd.get(), static_cast<off_t>(size)) == 0);
    if (size >= bytes.size()) REQUIRE(os::pwrite_all(fd.get(), bytes, 0).ok());
    if (seals != 0) REQUIRE(fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
    return fd;
  };
  const auto refusal = [](os::UniqueFd fd) {
    const auto opened = MailboxReader::open(std::move(fd));
    return opened.ok() ? std::string() : opened.error().text();
  };
  CHECK(refusal(make(g.size(), F_SEAL_SHRINK)).empty());
  CHECK(refusal(make(g.size(), 0)).find("not sealed") != std::string::npos);
  CHECK(refusal(make(g.size(), F_SEAL_GROW)).find("not sealed") != std::string::npos);
  CHECK(refusal(make(g.size() - 4096, F_SEAL_SHRINK)).find("more bytes than the file has") !=
        std::string::npos);
  CHECK(refusal(make(100, F_SEAL_SHRINK)).find("cut off") != std::string::npos);
  CHECK(refusal(make(0, F_SEAL_SHRINK)).find("cut off") != std::string::npos);
  CHECK_FALSE(refusal(os::UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC))).empty());
  CHECK_FALSE(refusal(os::UniqueFd()).empty());
}

TEST_CASE("a header that is overwritten later changes nothing") {
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("lib");
  MailboxReader first = world.reader();
  const MailboxCursor cursor = first.cursor();
  std::memset(&world.memory.header(), 0xff, sizeof(runmain_mailbox));
  REQUIRE(lane.span(scope, span_number(1)));
  MailboxReader second = world.reader(cursor);
  CHECK(second.geometry().instance_id == "instance-1");
  CHECK(read_all(second).size() == 1);
}

TEST_CASE("a reader gives what it was asked for at most, and each lane has its turn") {
  Geometry g = small_geometry();
  g.ring_size = 1U << 20U;
  g.lane_stride = g.ring_offset() + g.ring_size;
  World world(g);
  Lane first(world, 0);
  Lane second(world, 1);
  std::uint32_t scope = 0;
  for (Lane* lane : {&first, &second}) {
    REQUIRE(lane->take());
    scope = lane->scope("lib");
    SpanSpec spec;
    spec.name = std::string(10000, 'x');
    while (lane->span(scope, make_span(spec))) {
    }
  }
  MailboxReader reader = world.reader();
  std::size_t from[2] = {0, 0};
  std::size_t bytes = 0;
  for (const Item& item : reader.drain(600U << 10U)) {
    ++from[item.lane];
    bytes += item.bytes.size();
  }
  CHECK(reader.has_more());
  CHECK(bytes <= 600U << 10U);
  CHECK(from[0] > 10);
  CHECK(from[1] > 10);
  CHECK(read_all(reader, 300U << 10U).size() + from[0] + from[1] ==
        first.words().ended + second.words().ended - 2);
}

TEST_CASE("a lane that is always full starves no other one, however little is read at once") {
  Geometry g = small_geometry();
  g.ring_size = 512U << 10U;
  g.lane_stride = g.ring_offset() + g.ring_size;
  World world(g);
  Lane lanes[] = {{world, 0}, {world, 1}, {world, 2}};
  std::uint32_t scope = 0;
  for (Lane& lane : lanes) {
    REQUIRE(lane.take());
    scope = lane.scope("lib");
  }
  SpanSpec spec;
  spec.name = std::string(10000, 'x');
  const std::string span = make_span(spec);
  MailboxReader reader = world.reader();
  std::size_t from[3] = {};
  for (int turn = 0; turn < 12; ++turn) {
    for (Lane& lane : lanes) {
      while (lane.span(scope, span)) {
      }
    }
    for (const Item& item : reader.drain(RUNMAIN_RECORD_MAX)) ++from[item.lane];
    reader.commit();
  }
  for (const std::size_t n : from) CHECK(n >= 4U * (RUNMAIN_RECORD_MAX / (span.size() + 64)) - 8U);
}

TEST_CASE("a reader that says to sleep is woken, or has seen it itself") {
  World world;
  Lane lane(world, 0);
  MailboxReader reader = world.reader();
  CHECK(reader.fall_asleep());
  CHECK(world.memory.header().asleep == 1);
  CHECK(read_all(reader).empty());
  CHECK(world.memory.header().asleep == 0);
  REQUIRE(lane.take());  // a lane that had no memory before
  CHECK_FALSE(reader.fall_asleep());
  CHECK(world.memory.header().asleep == 0);
  const std::uint32_t scope = lane.scope("lib");
  read_all(reader);
  CHECK(reader.fall_asleep());
  REQUIRE(lane.span(scope, span_number(1)));
  CHECK_FALSE(reader.fall_asleep());
  CHECK(read_all(reader).size() == 1);
  CHECK(reader.fall_asleep());
  lane.close();
  CHECK_FALSE(reader.fall_asleep());
  read_all(reader);
  CHECK(reader.fall_asleep());

  Lane by_checksum(world, 1, RUNMAIN_LANE_BY_CHECKSUM);
  REQUIRE(by_checksum.take());
  by_checksum.scope("lib");
  read_all(reader);
  CHECK(reader.fall_asleep());
  REQUIRE(by_checksum.span(scope, span_number(2)));
  CHECK_FALSE(reader.fall_asleep());
}

TEST_CASE("nothing of a lane is believed before it says who has it") {
  World world;
  runmain_lane& words = world.memory.lane(0);
  words.mode = 77;  // of whoever had it before
  store(words.state, static_cast<std::uint32_t>(RUNMAIN_LANE_TAKEN));
  MailboxReader reader = world.reader();
  CHECK(read_all(reader).empty());
  CHECK(reader.at_rest());
  CHECK(reader.fall_asleep());
  CHECK(reader.take_faults().empty());
  words.mode = RUNMAIN_LANE_BY_POSITION;
  words.pid = 100;
  store(words.pid_started, std::uint64_t{7});
  CHECK_FALSE(reader.fall_asleep());
  CHECK(read_all(reader).empty());
  CHECK_FALSE(reader.at_rest());
  CHECK(reader.take_faults().empty());
}

TEST_CASE("lanes that nobody has used cost no memory when they are looked for") {
  World world;
  MailboxReader reader = world.reader();
  read_all(reader);
  CHECK(reader.fall_asleep());
  CHECK(reader.cursor().lanes.empty());
  Lane lane(world, 3);
  REQUIRE(lane.take());
  read_all(reader);
  REQUIRE(reader.cursor().lanes.size() == 1);
  CHECK(reader.cursor().lanes[0].lane == 3);
}

TEST_CASE("what a drain took is given back between two drains") {
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("lib");
  MailboxReader reader = world.reader();
  for (int n = 1; n < 4; ++n) {
    REQUIRE(lane.span(scope, span_number(n)));
    CHECK(read_all(reader).size() == 1);
    CHECK(reader.memory() >= RUNMAIN_RECORD_MAX);
    REQUIRE(reader.fall_asleep());
    reader.let_go_of_memory();
    CHECK(reader.memory() == 0);
  }
}

TEST_CASE("counters that go back stay what they were, and what cannot be true is counted by us") {
  World world;
  Lane lane(world, 0);
  Lane honest(world, 1);
  REQUIRE(lane.take());
  REQUIRE(honest.take());
  const std::uint32_t scope = lane.scope("lib");
  const std::uint32_t other = honest.scope("lib");
  for (std::uint64_t n = 1; n <= 3; ++n) REQUIRE(lane.span(scope, span_number(n)));
  REQUIRE(honest.span(other, span_number(9)));
  lane.words().started = 10;
  MailboxReader reader = world.reader();
  CHECK(read_all(reader).size() == 4);
  lane.words().started = 3;
  read_all(reader);
  CHECK(reader.tallies().counters.started == 10);
  CHECK(reader.tallies().unlikely == 0);

  lane.words().ended = 1000;  // more than what was read and its ring could hold
  store(world.memory.header().no_lane, ~std::uint64_t{0});
  read_all(reader);
  CHECK(reader.tallies().unlikely == 2);
  CHECK(reader.tallies().counters.ended == 4);
  CHECK(reader.tallies().no_lane == 0);
  REQUIRE(lane.span(scope, span_number(4)));  // it is read all the same
  lane.words().ended = 5;
  store(world.memory.header().no_lane, std::uint64_t{7});
  CHECK(read_all(reader).size() == 1);
  CHECK(reader.tallies().counters.ended == 5);
  CHECK(reader.tallies().counters.started == 10);
  CHECK(reader.tallies().unlikely == 2);

  Ledger ledger;
  ledger.set_mailbox(reader.tallies());
  ledger.take(5);
  ledger.export_spans(5);
  CHECK(ledger.text() == "started 10, ended 5, exported 5");
  CHECK(ledger.imbalance(true) == "what 2 threads say to have counted cannot be true, and was counted by us");
}

TEST_CASE("a lane that is overwritten as a whole says nothing") {
  for (const bool also_ended : {true, false}) {
    World world;
    Lane lane(world, 0);
    REQUIRE(lane.take());
    REQUIRE(lane.span(lane.scope("lib"), span_number(1)));
    MailboxReader reader = world.reader();
    read_all(reader);
    for (std::uint64_t& word : lane.words().lost) store(word, ~std::uint64_t{0} / 16);
    if (also_ended) store(lane.words().ended, ~std::uint64_t{0} / 2);
    read_all(reader);
    CHECK(reader.tallies().unlikely == 1);
    CHECK(reader.tallies().counters.ended == 1);
    CHECK(reader.tallies().counters.lost_all() == 0);
  }
}

TEST_CASE("what was read before a cursor was lost is no lie") {
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("lib");
  {
    MailboxReader before = world.reader();
    for (std::uint64_t n = 1; n <= 500; ++n) {
      REQUIRE(lane.span(scope, span_number(n)));
      read_all(before);
    }
    CHECK(before.tallies().unlikely == 0);
  }
  MailboxReader reader = world.reader();
  REQUIRE(lane.span(scope, span_number(501)));
  CHECK(read_all(reader).size() == 1);
  CHECK(reader.tallies().unlikely == 0);
  CHECK(reader.tallies().counters.ended == 501);
}
