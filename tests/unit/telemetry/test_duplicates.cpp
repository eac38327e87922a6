#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/duplicates.hpp"
#include "telemetry/otlp_wire.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

namespace {

const ChildKey kOne{ServiceId{1}, 0, 4, 1};
const ChildKey kTwo{ServiceId{1}, 1, 4, 1};

class World {
 public:
  explicit World(DuplicateLimits limits = {}) : finder("0123456789abcdef", limits) {}

  Sighting see(const std::string& span, const ChildKey& worker = kOne) {
    const Checked found = check(kSpan, span);
    REQUIRE(found.valid());
    Item item;
    item.bytes = span;
    item.ids = found.ids;
    return finder.look(worker, arrival, item);
  }
  // One request with spans of these numbers; how many of them were duplicates.
  int request(std::uint64_t from, std::uint64_t to, std::uint64_t connection = 1,
              const ChildKey& worker = kOne) {
    arrival = {connection, arrival.request + 1};
    int found = 0;
    for (std::uint64_t n = from; n < to; ++n) found += see(span_number(n), worker).is_duplicate() ? 1 : 0;
    return found;
  }
  // "each_twice 1:0:4:1" a note.
  std::string notes() {
    static constexpr const char* kNames[] = {"each_twice", "some_twice", "reused_ids", "shared_ids"};
    std::string text;
    for (const DuplicateNote& note : finder.take_notes()) {
      text += (text.empty() ? "" : ", ") + std::string(kNames[static_cast<std::size_t>(note.cause)]) + " " +
              note.worker.text();
    }
    return text;
  }

  Duplicates finder;
  Arrival arrival{1, 1};
};

std::string with_ids(std::uint8_t trace, std::uint64_t span, const std::string& name) {
  SpanSpec spec;
  spec.trace = id16(trace);
  spec.span = id8(span);
  spec.name = name;
  return make_span(spec);
}

}  // namespace

TEST_CASE("a span is a copy if all of its bytes came before from the same child") {
  World world;
  CHECK_FALSE(world.see(span_number(1)).is_duplicate());
  CHECK(world.see(span_number(1)).copy == Copy::same_request);
  world.arrival = {1, 2};
  CHECK(world.see(span_number(1)).copy == Copy::same_connection);
  world.arrival = {2, 3};
  CHECK(world.see(span_number(1)).copy == Copy::other_connection);
  CHECK_FALSE(world.see(span_number(2)).is_duplicate());
  const DuplicateTally* tally = world.finder.tally(kOne);
  REQUIRE(tally != nullptr);
  CHECK(tally->spans == 5);
  CHECK(tally->duplicates() == 3);
  CHECK(tally->same_request == 1);
  CHECK(tally->same_connection == 1);
  CHECK(tally->other_connection == 1);
  CHECK(tally->reused_ids == 0);
  CHECK(world.finder.tally(kTwo) == nullptr);
}

TEST_CASE("the same span id in another trace is no duplicate and nothing else") {
  World world;
  for (std::uint8_t trace = 1; trace < 50; ++trace) {
    const Sighting found = world.see(with_ids(trace, 7, "GET /"));
    CHECK_FALSE(found.is_duplicate());
    CHECK_FALSE(found.reused_ids);
    CHECK_FALSE(found.other_child);
  }
  CHECK(world.notes().empty());
}

TEST_CASE("the same ids with other content are told apart from copies") {
  World world;
  CHECK_FALSE(world.see(with_ids(1, 1, "a")).reused_ids);
  const Sighting other = world.see(with_ids(1, 1, "b"));
  CHECK_FALSE(other.is_duplicate());
  CHECK(other.reused_ids);
  // Both versions are remembered.
  CHECK(world.see(with_ids(1, 1, "a")).is_duplicate());
  CHECK(world.see(with_ids(1, 1, "b")).is_duplicate());
  for (std::uint64_t n = 10; n < 13; ++n) {
    world.see(with_ids(1, n, "a"));
    CHECK(world.see(with_ids(1, n, "b")).reused_ids);
  }
  CHECK(world.notes().find("reused_ids 1:0:4:1") != std::string::npos);
}

TEST_CASE("the same ids from two children are told and are no copies") {
  World world;
  CHECK_FALSE(world.see(span_number(1), kOne).other_child);
  const Sighting found = world.see(span_number(1), kTwo);
  CHECK_FALSE(found.is_duplicate());
  CHECK_FALSE(found.reused_ids);
  REQUIRE(found.other_child);
  CHECK(*found.other_child == kOne);
  CHECK(world.notes() == "shared_ids 1:1:4:1");
  CHECK(world.see(span_number(1), kTwo).is_duplicate());
  // Another attempt of the same slot is another child.
  const ChildKey again{ServiceId{1}, 0, 4, 2};
  CHECK(world.see(span_number(1), again).other_child.has_value());
}

TEST_CASE("two processors with one exporter are named once and soon") {
  World world;
  CHECK(world.request(0, 100) == 0);
  CHECK(world.notes().empty());
  CHECK(world.request(0, 100) == 100);  // the same connection: it had its answer
  CHECK(world.notes() == "each_twice 1:0:4:1");
  CHECK(world.request(100, 200) == 0);
  CHECK(world.request(100, 200) == 100);
  CHECK(world.notes().empty());
}

TEST_CASE("one request that comes again by another connection is no habit and two are") {
  World world;
  world.request(0, 10, 1);
  CHECK(world.request(0, 10, 2) == 10);
  CHECK(world.notes().empty());
  world.request(10, 20, 1);
  CHECK(world.request(10, 20, 2) == 10);
  CHECK(world.notes() == "each_twice 1:0:4:1");
}

TEST_CASE("few copies among many spans are named otherwise and not at once") {
  World world;
  std::string all;
  for (std::uint64_t i = 0; i < 6; ++i) {
    world.request(i * 100, i * 100 + 100, 1);
    CHECK(world.request(i * 100, i * 100 + 2, 1) == 2);
    const std::string notes = world.notes();
    if (i < 2) CHECK(notes.empty());
    all += notes;
  }
  CHECK(all == "some_twice 1:0:4:1");
}

TEST_CASE("a clean program of many requests is never named") {
  World world;
  for (std::uint64_t i = 0; i < 50; ++i) {
    CHECK(world.request(i * 50, i * 50 + 50, i % 3, i % 2 == 0 ? kOne : kTwo) == 0);
  }
  CHECK(world.notes().empty());
}

TEST_CASE("the latest spans are remembered and old ones forgotten") {
  World world({.spans = 256, .all_spans = 4096, .children = 8});
  CHECK(world.request(0, 10000) == 0);
  CHECK(world.request(10000 - 192, 10000) == 192);
  CHECK(world.request(0, 100) == 0);
  CHECK(world.finder.remembered_max() <= 512);
}

TEST_CASE("when all is full the child that was silent longest is forgotten first") {
  World world({.spans = 256, .all_spans = 1024, .children = 64});
  const auto worker = [](std::uint32_t slot) { return ChildKey{ServiceId{1}, slot, 1, 1}; };
  for (std::uint32_t slot = 0; slot < 10; ++slot) {
    world.request(slot * 1000, slot * 1000 + 190, 1, worker(slot));
    CHECK(world.finder.remembered_max() <= 1024);
  }
  CHECK(world.request(9000, 9190, 1, worker(9)) == 190);
  CHECK(world.request(0, 190, 1, worker(0)) == 0);
  REQUIRE(world.finder.tally(worker(0)) != nullptr);
  CHECK(world.finder.tally(worker(0))->spans == 380);  // what was counted stays
}

TEST_CASE("children are remembered up to a number and can be forgotten") {
  World world({.spans = 64, .all_spans = 1U << 20U, .children = 4});
  const auto worker = [](std::uint32_t slot) { return ChildKey{ServiceId{1}, slot, 1, 1}; };
  for (std::uint32_t slot = 0; slot < 6; ++slot) world.request(0, 1, 1, worker(slot));
  CHECK(world.finder.tally(worker(0)) == nullptr);
  CHECK(world.finder.tally(worker(1)) == nullptr);
  CHECK(world.finder.tally(worker(2)) != nullptr);
  for (std::uint32_t slot = 0; slot < 6; ++slot) world.finder.forget(worker(slot));
  CHECK(world.finder.tally(worker(5)) == nullptr);
  CHECK(world.finder.remembered_max() == 0);
}

TEST_CASE("one pair of ids with ever other content costs no more than eight of it") {
  World world({.spans = 1024, .all_spans = 4096, .children = 4});
  for (int i = 0; i < 5000; ++i) {
    CHECK_FALSE(world.see(with_ids(1, 1, "name " + std::to_string(i))).is_duplicate());
  }
  CHECK(world.finder.remembered_max() == 64);
  CHECK(world.finder.tally(kOne)->reused_ids == 4999);
}

TEST_CASE("a note says who and how many and what it may be") {
  DuplicateNote note;
  note.worker = kOne;
  note.tally.spans = 200;
  note.tally.same_connection = 100;
  note.tally.reused_ids = 1;
  note.tally.shared_ids = 5;
  const std::string who = "worker 1 of web (generation 4)";
  CHECK(to_text(note, who, "")
            .starts_with("worker 1 of web (generation 4) sends each span twice, byte by byte (100 of 200 "
                         "spans so far are copies): "
                         "one exporter in two processors"));
  note.cause = DuplicateCause::some_twice;
  CHECK(to_text(note, who, "").find("100 of 200 spans") != std::string::npos);
  note.cause = DuplicateCause::reused_ids;
  CHECK(to_text(note, who, "").find("1 span so far") != std::string::npos);
  note.cause = DuplicateCause::shared_ids;
  CHECK(to_text(note, who, "worker 2 of web").find("the ids of spans of worker 2 of web (5 spans") !=
        std::string::npos);
}
