// Threads that end, processes that are gone, and the spans that they leave open.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <map>
#include <protozero/pbf_reader.hpp>
#include <thread>

#include "base/archive.hpp"
#include "mailbox_world.hpp"
#include "telemetry/ledger.hpp"
#include "telemetry/otlp_json.hpp"
#include "telemetry/otlp_wire.hpp"
#include "telemetry/reconstructed.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

namespace {

MailboxReader::Ask gone(std::uint32_t pid, Ending ending) {
  return
      [=](std::uint32_t asked, std::uint64_t) { return asked == pid ? std::optional(ending) : std::nullopt; };
}

const Ending kKilled{Ending::How::killed, SIGKILL, 9000};

std::string json_of(const Item& item) {
  const auto json = to_json(kSpan, item.bytes);
  REQUIRE(json.ok());
  return *json;
}

}  // namespace

TEST_CASE(
    "a lane whose thread has ended is free once all of it is saved, and its next dictionary is its own") {
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("old");
  MailboxReader reader = world.reader();
  REQUIRE(lane.span(scope, span_number(1)));
  CHECK(reader.at_rest());  // nothing was seen yet
  lane.close();
  CHECK(reader.drain(1U << 20U).size() == 1);
  CHECK_FALSE(reader.at_rest());
  CHECK(lane.words().state == RUNMAIN_LANE_CLOSED);
  CHECK_FALSE(lane.take());
  reader.commit();
  CHECK(reader.at_rest());
  CHECK(lane.words().state == RUNMAIN_LANE_FREE);
  CHECK(lane.words().write == lane.words().read);
  CHECK(lane.words().ended == 0);

  Lane again(world, 0, RUNMAIN_LANE_BY_CHECKSUM);
  REQUIRE(again.take(101, 8));
  const std::uint32_t other = again.scope("new");
  REQUIRE(again.span(other, span_number(2)));
  const auto items = reader.drain(1U << 20U);
  REQUIRE(items.size() == 1);
  CHECK(items[0].origin.scope == make_scope("new"));
  CHECK(reader.tallies().counters.ended == 2);
  CHECK(reader.unread_spans() == 0);
}

TEST_CASE("what a dead process had not ended is ended for it") {
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("lib");
  lane.open(3, id16(5), id8(50), "GET /slow", scope);
  REQUIRE(lane.span(scope, span_number(1)));
  MailboxReader reader = world.reader();
  CHECK(reader.drain(1U << 20U).size() == 1);
  CHECK(reader.drain(1U << 20U).empty());  // it lives
  reader.find_gone(gone(100, kKilled));
  const auto items = reader.drain(1U << 20U);
  REQUIRE(items.size() == 1);
  CHECK(items[0].reconstructed);
  CHECK(items[0].origin.scope == make_scope("lib"));
  CHECK(items[0].origin.resource == make_resource("web"));
  CHECK(check(kSpan, items[0].bytes).sound());
  CHECK(
      json_of(items[0]) ==
      R"({"traceId":"01010101010101010101010101010105","spanId":"0202000000000032","name":"GET /slow","kind":2,)"
      R"("startTimeUnixNano":"500","endTimeUnixNano":"9000","attributes":[{"key":"runmain.reconstructed",)"
      R"("value":{"boolValue":true}},{"key":"runmain.exit.signal","value":{"stringValue":"SIGKILL"}}],)"
      R"("status":{"message":"its process was killed by SIGKILL","code":2}})");
  reader.commit();
  CHECK(lane.words().state == RUNMAIN_LANE_FREE);
  CHECK(world.memory.slots(0)[3].state == 0);
  CHECK(read_all(reader).empty());
  CHECK(reader.tallies().reconstructed == 1);
}

TEST_CASE("a span that was written and whose slot was not given back is not ended twice, in whatever lane") {
  World world;
  Lane began(world, 0);
  Lane ended(world, 1);
  REQUIRE(began.take());
  REQUIRE(ended.take());
  began.scope("lib");
  const std::uint32_t scope = ended.scope("lib");
  began.open(0, id16(1), id8(7), "moved to another thread", scope);
  began.open(1, id16(1), id8(8), "open", scope);
  REQUIRE(ended.span(scope, span_number(7)));
  MailboxReader reader = world.reader();
  reader.drain(1U << 20U);
  // Also when the reader that has seen it is not the one that ends the rest.
  MailboxCursor cursor;
  REQUIRE(from_binary(to_binary(reader.cursor()), cursor));
  MailboxReader next = world.reader(std::move(cursor));
  next.find_gone(gone(100, {}));
  const auto items = next.drain(1U << 20U);
  REQUIRE(items.size() == 1);
  CHECK(std::string(items[0].ids.span.begin(), items[0].ids.span.end()) == id8(8));
}

TEST_CASE("a lane that was taken after the last look ends with the others of its process") {
  World world;
  Lane seen(world, 0);
  REQUIRE(seen.take());
  const std::uint32_t scope = seen.scope("lib");
  seen.open(0, id16(1), id8(7), "ended in the other lane", scope);
  MailboxReader reader = world.reader();
  read_all(reader);
  Lane unseen(world, 1);
  REQUIRE(unseen.take());
  unseen.scope("lib");
  REQUIRE(unseen.span(scope, span_number(7)));
  reader.find_gone(gone(100, kKilled));
  CHECK(read_all(reader) == std::vector<std::string>{span_number(7)});
  CHECK(seen.words().state == RUNMAIN_LANE_FREE);
  CHECK(unseen.words().state == RUNMAIN_LANE_FREE);
}

TEST_CASE("a lane whose process died while it took it is free again, and only then") {
  World world;
  runmain_lane& lane = world.memory.lane(1);
  lane.write = 64;  // of a round before
  lane.read = 64;
  lane.round = 3;
  lane.state = RUNMAIN_LANE_TAKEN;
  MailboxReader reader = world.reader();
  CHECK(read_all(reader).empty());
  reader.find_gone(gone(100, kKilled));  // it does not say whose it is
  CHECK(read_all(reader).empty());
  CHECK(lane.state == RUNMAIN_LANE_TAKEN);
  lane.pid = 100;
  lane.round = 4;
  std::uint64_t asked = 1;
  reader.find_gone([&](std::uint32_t, std::uint64_t started) {
    asked = started;
    return std::optional<Ending>();
  });
  CHECK(asked == 0);
  CHECK(read_all(reader).empty());
  CHECK(lane.state == RUNMAIN_LANE_TAKEN);  // it lives
  SECTION("it goes on") {
    lane.pid_started = 7;
    CHECK(read_all(reader).empty());
    CHECK_FALSE(reader.at_rest());
  }
  SECTION("it went on while we asked, and left a span") {
    reader.find_gone([&](std::uint32_t, std::uint64_t) {
      lane.pid_started = 7;
      return std::optional(kKilled);
    });
    reader.commit();
    CHECK(lane.state == RUNMAIN_LANE_TAKEN);
    CHECK(read_all(reader).empty());
    CHECK_FALSE(reader.at_rest());
  }
  SECTION("it is gone, and so is the reader that saw it: the next one frees no lane that is being taken") {
    reader.find_gone(gone(100, kKilled));
    reader.drain(1U << 20U);
    MailboxCursor cursor;
    REQUIRE(from_binary(to_binary(reader.cursor()), cursor));
    reader.commit();
    CHECK(lane.state == RUNMAIN_LANE_FREE);
    lane.state = RUNMAIN_LANE_TAKEN;
    lane.pid = 101;
    MailboxReader next = world.reader(std::move(cursor));
    next.drain(1U << 20U);
    next.commit();
    CHECK(lane.state == RUNMAIN_LANE_TAKEN);
    CHECK(next.has_half_taken());
  }
  SECTION("it is gone") {
    CHECK(reader.has_half_taken());
    reader.find_gone(gone(100, kKilled));
    CHECK_FALSE(reader.has_half_taken());
    CHECK_FALSE(reader.at_rest());
    CHECK(read_all(reader).empty());
    CHECK(lane.state == RUNMAIN_LANE_FREE);
    CHECK(lane.pid == 0);
    CHECK(reader.at_rest());
    Lane next(world, 1);
    REQUIRE(next.take());
    REQUIRE(next.span(next.scope("lib"), span_number(1)));
    CHECK(read_all(reader) == std::vector<std::string>{span_number(1)});
  }
}

TEST_CASE("a lane that was to be freed and is taken again is not freed by the next reader") {
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  REQUIRE(lane.span(lane.scope("old"), span_number(1)));
  MailboxReader reader = world.reader();
  CHECK(reader.drain(1U << 20U).size() == 1);
  reader.find_gone(gone(100, kKilled));
  reader.drain(1U << 20U);
  MailboxCursor cursor;
  REQUIRE(from_binary(to_binary(reader.cursor()), cursor));
  reader.commit();
  CHECK(lane.words().state == RUNMAIN_LANE_FREE);
  Lane again(world, 0);
  REQUIRE(again.take());
  REQUIRE(again.span(again.scope("new"), span_number(2)));
  MailboxReader next = world.reader(std::move(cursor));
  next.commit();  // as after a drain that was full before it came to this lane
  CHECK(again.words().state == RUNMAIN_LANE_TAKEN);
  CHECK(read_all(next) == std::vector<std::string>{span_number(2)});
}

TEST_CASE("open slots with nonsense in them are counted, not told") {
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("lib");
  lane.open(0, std::string(16, '\0'), id8(1), "no trace", scope);
  lane.open(1, id16(1), id8(2), "a length beyond", scope);
  world.memory.slots(0)[1].name_length = 65;
  lane.open(2, id16(1), std::string(8, '\0'), "no span id", scope);
  lane.open(4, id16(1), id8(4), "caf\xc3\xa9 of a kind that is none", 99);
  world.memory.slots(0)[4].state = 3;  // its name was being changed
  world.memory.slots(0)[4].kind = 1000;
  world.memory.slots(0)[4].flags = ~0U;
  MailboxReader reader = world.reader();
  read_all(reader);
  reader.find_gone(gone(100, {Ending::How::exited, 3, 100}));
  const auto items = reader.drain(1U << 20U);
  REQUIRE(items.size() == 1);
  CHECK(check(kSpan, items[0].bytes).sound());
  const std::string json = json_of(items[0]);
  CHECK(json.find(R"("kind":0)") != std::string::npos);
  CHECK(json.find(R"("endTimeUnixNano":"500")") != std::string::npos);  // never before its start
  CHECK(json.find(R"({"key":"process.exit.code","value":{"intValue":"3"}})") != std::string::npos);
  CHECK(json.find("its process exited with status 3") != std::string::npos);
  CHECK(json.find(R"("flags":1023)") != std::string::npos);
  CHECK(reader.tallies().open_invalid == 3);
}

TEST_CASE("a lane of a living process is kept while a span of it is open elsewhere, but not for ever") {
  World world;
  MailboxReader reader = world.reader();
  std::vector<Lane> lanes;
  for (std::uint32_t n = 0; n < 4; ++n) {
    lanes.emplace_back(world, n);
    REQUIRE(lanes[n].take());
    const std::uint32_t scope = lanes[n].scope("lib");
    lanes[n].open(0, id16(1), id8(n + 1), "goes on elsewhere", scope);
    lanes[n].close();
    read_all(reader);
  }
  std::size_t kept = 0;
  for (Lane& lane : lanes) kept += lane.words().state == RUNMAIN_LANE_CLOSED ? 1 : 0;
  CHECK(kept == world.geometry.lane_count / kPinnedPart);
  CHECK(reader.tallies().open_forgotten == world.geometry.lane_count - kept);
  CHECK(reader.fall_asleep());
  reader.find_gone(gone(100, kKilled));
  CHECK(read_all(reader).size() == kept);
  for (Lane& lane : lanes) CHECK(lane.words().state == RUNMAIN_LANE_FREE);
}

TEST_CASE("a process that died between writing a span and counting it is not called a liar") {
  for (const int difference : {-1, 1}) {
    World world;
    Lane lane(world, 0);
    REQUIRE(lane.take());
    const std::uint32_t scope = lane.scope("lib");
    REQUIRE(lane.span(scope, span_number(1)));
    REQUIRE(lane.span(scope, span_number(2)));
    lane.words().ended = static_cast<std::uint64_t>(2 + difference);
    MailboxReader reader = world.reader();
    read_all(reader);
    reader.find_gone(gone(100, kKilled));
    read_all(reader);
    CHECK(reader.tallies().counters.ended == 2);
  }
}

TEST_CASE("a lane that was freed while its reader died is not counted twice") {
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("lib");
  REQUIRE(lane.span(scope, span_number(1)));
  lane.close();
  MailboxReader reader = world.reader();
  reader.drain(1U << 20U);
  const MailboxCursor saved = reader.cursor();
  reader.commit();  // and dies
  SECTION("nobody has it yet") {
    MailboxReader next = world.reader(saved);
    CHECK(read_all(next).empty());
    CHECK(next.tallies().counters.ended == 1);
    CHECK(next.unread_spans() == 0);
  }
  SECTION("somebody has taken it meanwhile") {
    REQUIRE(lane.take(101, 9));
    lane.scope("lib");
    REQUIRE(lane.span(scope, span_number(2)));
    MailboxReader next = world.reader(saved);
    CHECK(read_all(next) == std::vector<std::string>{span_number(2)});
    CHECK(next.tallies().counters.ended == 2);
    CHECK(next.unread_spans() == 0);
  }
}

TEST_CASE("eight threads write while one reads: every span comes once") {
  constexpr std::uint32_t kThreads = 8;
  constexpr std::uint64_t kEach = 20000;
  Geometry g = small_geometry();
  g.lane_count = kThreads;
  g.ring_size = 64U << 10U;
  g.lane_stride = g.ring_offset() + g.ring_size;
  World world(g);
  std::vector<std::thread> writers;
  for (std::uint32_t t = 0; t < kThreads; ++t) {
    writers.emplace_back([&world, t] {
      Lane lane(world, t);
      if (!lane.take(100 + t)) return;
      const std::uint32_t scope = lane.scope("lib");
      for (std::uint64_t n = 0; n < kEach; ++n) {
        while (!lane.record(RUNMAIN_RECORD_SPAN, scope, span_number(t * kEach + n + 1)))
          std::this_thread::yield();
        Lane::lane_count(lane.words().ended);
      }
      lane.close();
    });
  }
  MailboxReader reader = world.reader();
  std::vector<std::uint64_t> last(kThreads, 0);
  std::uint64_t read = 0;
  bool in_order = true;
  while (read < kThreads * kEach && reader.tallies().lanes_aside == 0) {
    for (const Item& item : reader.drain(1U << 20U)) {
      std::uint64_t n = 0;
      for (std::size_t i = 2; i < 8; ++i) n = n << 8U | item.ids.span[i];
      in_order = in_order && n > last[item.lane];
      last[item.lane] = n;
      ++read;
    }
    reader.commit();
  }
  for (std::thread& writer : writers) writer.join();
  read += read_all(reader).size();
  CHECK(in_order);
  CHECK(read == kThreads * kEach);
  CHECK(reader.tallies().invalid_spans == 0);
  CHECK(reader.tallies().counters.ended == kThreads * kEach);
  CHECK(reader.take_faults().empty());
}

TEST_CASE("a process that is killed at any moment loses nothing that it had written") {
  const std::uint64_t seed = 99;
  CAPTURE(seed);
  Random random(seed);
  std::uint64_t all = 0;
  for (int round = 0; round < 20; ++round) {
    const std::uint32_t mode = round % 2 == 0 ? RUNMAIN_LANE_BY_POSITION : RUNMAIN_LANE_BY_CHECKSUM;
    World world(standard_geometry("x"));
    const pid_t child = fork();
    if (child == 0) {
      Lane lane(world, 0, mode);
      lane.take(static_cast<std::uint32_t>(getpid()));
      const std::uint32_t scope = lane.scope("lib");
      for (std::uint64_t n = 1;; ++n) {
        lane.open(0, id16(1), id8(n), "open", scope);
        while (!lane.record(RUNMAIN_RECORD_SPAN, scope, span_number(n))) {
        }
        Lane::lane_count(lane.words().ended);
        store(world.memory.slots(0)[0].state, std::uint64_t{0});
      }
    }
    MailboxReader reader = world.reader();
    std::uint64_t read = 0;
    std::uint64_t torn = 0;
    const std::uint64_t enough = 200 + random.below(3000);
    const auto take = [&](std::size_t bytes) {
      for (const Item& item : reader.drain(bytes)) {
        if (!item.reconstructed && item.bytes != span_number(++read)) ++torn;
      }
      reader.commit();
    };
    while (read < enough) take(RUNMAIN_RECORD_MAX);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    reader.find_gone(gone(static_cast<std::uint32_t>(child), kKilled));
    for (int i = 0; i < 100; ++i) take(1U << 20U);
    CAPTURE(round, read);
    CHECK(torn == 0);
    CHECK(reader.tallies().invalid_spans == 0);
    Ledger ledger;
    ledger.set_mailbox(reader.tallies());
    ledger.take(read + reader.tallies().reconstructed);
    CHECK(ledger.imbalance(true).empty());
    CHECK(reader.tallies().reconstructed <= 1);
    all += read;
  }
  CHECK(all > 20U * 200U);
}

TEST_CASE("a mailbox full of random bytes gives valid spans or none, and the reader goes on") {
  const std::uint64_t seed = 31337;
  CAPTURE(seed);
  Random random(seed);
  for (int round = 0; round < 300; ++round) {
    World world;
    Lane honest(world, 3);
    REQUIRE(honest.take());
    const std::uint32_t scope = honest.scope("lib");
    REQUIRE(honest.span(scope, span_number(1)));
    MailboxReader reader = world.reader();
    for (int step = 0; step < 4; ++step) {
      for (std::uint32_t n = 0; n < 3; ++n) {
        // Anything anywhere, then words that come close to what is sensible.
        char* begin = reinterpret_cast<char*>(&world.memory.lane(n));
        const std::string noise = random.bytes(world.geometry.lane_stride);
        std::memcpy(begin, noise.data(), noise.size());
        runmain_lane& lane = world.memory.lane(n);
        lane.state = static_cast<std::uint32_t>(random.below(3));
        lane.mode = static_cast<std::uint32_t>(random.below(2));
        lane.pid = static_cast<std::uint32_t>(100 + random.below(2));
        lane.pid_started = random.below(3);
        lane.round = static_cast<std::uint32_t>(random.below(3));
        lane.read = random.below(4) * RUNMAIN_RECORD_ALIGN;
        lane.write = random.below(300) * RUNMAIN_RECORD_ALIGN;
        lane.dictionary_used = random.below(600) * 8;
        std::memset(begin + world.geometry.ring_offset() + 4, 0, 4);
        begin[world.geometry.ring_offset() + 4] = static_cast<char>(random.below(7));
        begin[world.geometry.ring_offset()] = static_cast<char>(random.below(200));
        std::memset(begin + world.geometry.ring_offset() + 1, 0, 3);
      }
      if (random.below(2) == 0) {
        reader.find_gone([&](std::uint32_t pid, std::uint64_t) {
          return pid == 101 ? std::optional(kKilled) : std::nullopt;
        });
      }
      bool sound = true;
      for (const Item& item : reader.drain(512U << 10U)) {
        sound = sound && check(item_message(item.signal), item.bytes).sound() &&
                check(kResource, item.origin.resource).sound() && check(kScope, item.origin.scope).sound();
      }
      REQUIRE(sound);
      reader.commit();
      (void)reader.fall_asleep();
      if (random.below(2) == 0) {
        MailboxCursor cursor;
        REQUIRE(from_binary(to_binary(reader.cursor()), cursor));
        reader = world.reader(std::move(cursor));
      }
    }
    CHECK(reader.tallies().spans >= 1);
    CHECK(reader.tallies().lanes_aside <= 3 * 4);
  }
}

TEST_CASE("a lane with garbage in it ends with the process that it names, and is no work until then") {
  World world;
  Lane lane(world, 0);
  REQUIRE(lane.take());
  MailboxReader reader = world.reader();
  read_all(reader);
  lane.words().pid = 0xdeadbeef;
  store(lane.words().pid_started, ~std::uint64_t{0});
  lane.words().round = 77;
  store(lane.words().state, 0xffffffffU);
  for (int i = 0; i < 10; ++i) {
    CHECK(read_all(reader).empty());
    CHECK(reader.take_faults().size() == (i == 0 ? 1 : 0));
    CHECK(reader.fall_asleep());
    CHECK_FALSE(reader.at_rest());
  }
  std::vector<std::uint32_t> asked;
  reader.find_gone([&](std::uint32_t pid, std::uint64_t) {
    asked.push_back(pid);
    return std::optional<Ending>(Ending{});
  });
  CHECK(asked == std::vector<std::uint32_t>{0xdeadbeef});
  read_all(reader);
  CHECK(reader.at_rest());
  CHECK(lane.words().state == RUNMAIN_LANE_FREE);
  CHECK(lane.take());
}

TEST_CASE("spans in requests are not their writer's: what it counts still balances at its end") {
  World world;
  Lane lane(world, 0, RUNMAIN_LANE_BY_CHECKSUM);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("lib");
  REQUIRE(lane.span(scope, span_number(1)));
  const std::string request = make_request(make_resource("other"), make_scope("sdk"),
                                           {span_number(2), span_number(3), make_span({.span = ""})});
  REQUIRE(lane.record(RUNMAIN_RECORD_REQUEST, 0, request));
  MailboxReader reader = world.reader();
  CHECK(reader.drain(1U << 20U).size() == 3);
  CHECK(reader.tallies().spans == 4);
  CHECK(reader.tallies().requested == 3);
  CHECK(reader.tallies().counters.ended == 1);
  // It is killed between writing a span and counting it.
  REQUIRE(lane.record(RUNMAIN_RECORD_SPAN, scope, span_number(4)));
  reader.find_gone([](std::uint32_t, std::uint64_t) { return std::optional(Ending{}); });
  reader.drain(1U << 20U);
  reader.commit();
  CHECK(reader.tallies().counters.ended == 2);
  CHECK(reader.unread_spans() == 0);
}
