// What the head writes of itself into its mailbox.
#include "app/own_telemetry.hpp"

#include <unistd.h>

#include "support/catch.hpp"
#include "telemetry/mailbox_memory.hpp"
#include "telemetry/mailbox_reader.hpp"

using namespace runmain;
using namespace runmain::app;

namespace {

struct World {
  os::Loop loop;
  os::UniqueFd mailbox;

  World() {
    auto made = telemetry::make_mailbox(telemetry::standard_geometry("instance-1"));
    REQUIRE(made.ok());
    mailbox = std::move(*made);
  }
  os::UniqueFd copy() const { return os::UniqueFd(dup(mailbox.get())); }

  // A service that starts, prints a line and is stopped with runmain.
  void live(bool disabled) {
    OwnTelemetry own(
        loop, "0123456789abcdef", [](ServiceId) { return std::string("web"); }, disabled);
    REQUIRE(own.begin(copy(), {}, "instance-1", true).ok());
    fact(own, core::FactType::service_starting, 0, 0);
    own.on_change({ServiceId{3}, {"/srv/a"}, 1}, Time(std::chrono::milliseconds(5)));
    fact(own, core::FactType::child_started, 10, 1);
    fact(own, core::FactType::child_ready, 20, 1);
    fact(own, core::FactType::service_ready, 20, 1);
    drive::OutputLine line;
    line.service_name = "web";
    line.text = "listening";
    own.on_line(line);
    fact(own, core::FactType::shutdown_done, 30, 1);
    CHECK(own.spans_dropped() == 0);
  }

  telemetry::MailboxTallies tallies() const {
    auto reader = telemetry::MailboxReader::open(copy());
    REQUIRE(reader.ok());
    (void)reader->drain(1U << 20U);
    return reader->tallies();
  }

 private:
  static void fact(OwnTelemetry& own, core::FactType type, int ms, std::uint32_t generation) {
    core::Fact fact;
    fact.type = type;
    fact.time = Time(std::chrono::milliseconds(ms));
    fact.service = ServiceId{3};
    fact.generation = generation;
    fact.number = 1;
    own.on_fact(fact);
  }
};

}  // namespace

TEST_CASE("a start and its metrics and what a service prints are told") {
  World w;
  w.live(false);
  const telemetry::MailboxTallies told = w.tallies();
  CHECK(told.spans > 0);
  CHECK(told.counters.started > 0);
  CHECK(told.metrics > 0);
  CHECK(told.logs == 1);
}

TEST_CASE(
    "with the SDK disabled runmain begins no span of its own, and what services print is still theirs") {
  World w;
  w.live(true);
  const telemetry::MailboxTallies told = w.tallies();
  CHECK(told.spans == 0);
  CHECK(told.counters.started == 0);  // none that could be counted as dropped
  CHECK(told.counters.ended == 0);
  CHECK(told.metrics == 0);
  CHECK(told.logs == 1);
}
