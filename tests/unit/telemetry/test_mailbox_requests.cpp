// Records of a mailbox that are not one span: logs, metrics, and whole requests of an SDK.
#include "mailbox_world.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

TEST_CASE("requests, logs and metrics come out as their items") {
  World world;
  Lane lane(world, 0, RUNMAIN_LANE_BY_CHECKSUM);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("lib");
  std::string log;
  protozero::pbf_writer{log}.add_string(3, "INFO");
  std::string metric;
  protozero::pbf_writer{metric}.add_string(1, "requests");
  REQUIRE(lane.record(RUNMAIN_RECORD_LOG, scope, log));
  REQUIRE(lane.record(RUNMAIN_RECORD_METRIC, scope, metric));
  const std::string request = make_request(make_resource("other"), make_scope("sdk"),
                                           {span_number(1), span_number(2), make_span({.span = ""})});
  REQUIRE(lane.record(RUNMAIN_RECORD_REQUEST, 0, request));
  REQUIRE(lane.record(RUNMAIN_RECORD_REQUEST, 9, request));     // a signal that is none
  REQUIRE(lane.record(RUNMAIN_RECORD_REQUEST, 0, "\x0a\x7f"));  // cut off
  REQUIRE(lane.record(99, 0, "of a minor version to come"));
  MailboxReader reader = world.reader();
  const auto items = reader.drain(1U << 20U);
  REQUIRE(items.size() == 4);
  CHECK(items[0].signal == Signal::logs);
  CHECK(items[1].signal == Signal::metrics);
  CHECK(items[2].origin.resource == make_resource("other"));
  CHECK(items[3].origin.scope == make_scope("sdk"));
  CHECK(reader.tallies().spans == 3);
  CHECK(reader.tallies().invalid_spans == 1);
  CHECK(reader.tallies().unknown_records == 3);
  CHECK(reader.tallies().logs == 1);
}

TEST_CASE("a drain gives so many items, and of one request so many are taken and the others counted") {
  Geometry geometry = small_geometry();
  geometry.ring_size = 1U << 20U;
  geometry.lane_stride = geometry.ring_offset() + geometry.ring_size;
  World world(geometry);
  const std::uint32_t mode = GENERATE(RUNMAIN_LANE_BY_POSITION, RUNMAIN_LANE_BY_CHECKSUM);
  Lane lane(world, 0, mode);
  REQUIRE(lane.take());
  const std::string logs =  // an empty one is two bytes
      make_request(make_resource("web"), make_scope("lib"), std::vector<std::string>(kDrainItemsMax + 10));
  const auto logs_number = static_cast<std::uint32_t>(Signal::logs);
  for (int n = 0; n < 3; ++n) REQUIRE(lane.record(RUNMAIN_RECORD_REQUEST, logs_number, logs));
  MailboxReader reader = world.reader();
  for (std::uint64_t n = 1; n <= 3; ++n) {
    CHECK(reader.drain(1U << 20U).size() == kDrainItemsMax);
    CHECK(reader.has_more());
    CHECK(reader.tallies().logs == n * kDrainItemsMax);
    CHECK(reader.tallies().invalid_others == n * 10);
    reader.commit();
  }
  CHECK(reader.drain(1U << 20U).empty());
  CHECK_FALSE(reader.has_more());
}
