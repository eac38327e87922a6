#include "telemetry/lane_writer.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>

#include <map>
#include <string>

#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/lifecycle.hpp"
#include "telemetry/line_log.hpp"
#include "telemetry/mailbox_memory.hpp"
#include "telemetry/mailbox_reader.hpp"
#include "telemetry/own_metrics.hpp"

using namespace runmain;
using namespace runmain::telemetry;

namespace {

struct World {
  os::UniqueFd memfd = std::move(*make_mailbox(standard_geometry("of-the-supervisor")));
  os::UniqueFd wake = os::UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));

  os::UniqueFd again(const os::UniqueFd& fd) const {
    return os::UniqueFd(fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  }
  LaneWriter writer() const {
    auto made = LaneWriter::open(again(memfd), again(wake), test::make_resource("runmain"), "runmain");
    REQUIRE(made.ok());
    return std::move(*made);
  }
};

std::string a_span() {
  LifecycleSpan span;
  span.id = trace_of("secret", "test", ChildKey{});
  span.name = "reload web";
  return to_otlp(span, 1);
}

}  // namespace

TEST_CASE("what the supervisor writes of itself is read as anybody's") {
  World world;
  LaneWriter writer = world.writer();
  CHECK(writer.write_span(a_span()));
  CHECK(writer.write_log(to_log_record({"hello", 5, "web", 0, 1})));
  OwnMetric metric{"runmain.reloads", "{reload}", "", true, {{{}, 1}}};
  CHECK(writer.write_metric(to_otlp(metric, 1, 2)));
  auto reader = MailboxReader::open(world.again(world.memfd));
  REQUIRE(reader.ok());
  std::map<Signal, int> seen;
  for (const Item& item : reader->drain(1U << 20U)) {
    ++seen[item.signal];
    CHECK(item.origin.scope.find("runmain") != std::string_view::npos);
    CHECK_FALSE(item.origin.resource.empty());
  }
  CHECK(seen == std::map<Signal, int>{{Signal::traces, 1}, {Signal::metrics, 1}, {Signal::logs, 1}});
  CHECK(reader->tallies().counters.ended == 1);
  CHECK(reader->tallies().spans == 1);
}

TEST_CASE("a second writer takes another lane, and what is full or too big is counted") {
  World world;
  LaneWriter first = world.writer();
  LaneWriter second = world.writer();
  CHECK(first.write_span(a_span()));
  CHECK(second.write_span(a_span()));
  CHECK_FALSE(second.write_span(std::string(RUNMAIN_RECORD_MAX, 'x')));
  CHECK_FALSE(second.write_log(std::string(RUNMAIN_RECORD_MAX, 'x')));
  CHECK(second.others_lost() == 1);
  const std::string log = to_log_record({std::string(30'000, 'x'), 5, "web", 0, 1});
  while (second.write_log(log)) {
  }
  CHECK(second.others_lost() == 2);
  auto reader = MailboxReader::open(world.again(world.memfd));
  REQUIRE(reader.ok());
  std::size_t logs = 0;
  std::size_t spans = 0;
  do {
    for (const Item& item : reader->drain(1U << 20U)) {
      (item.signal == Signal::logs ? logs : spans) += 1;
    }
    reader->commit();
  } while (reader->has_more());
  CHECK(spans == 2);
  CHECK(logs > RUNMAIN_MAILBOX_RING_SIZE / (log.size() + 64) - 2);
  CHECK(second.write_log(log));
  CHECK(reader->tallies().counters.lost[RUNMAIN_LOST_TOO_BIG] == 1);
}
