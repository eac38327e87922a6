#include "telemetry/own_metrics.hpp"

#include <map>
#include <string>

#include "support/catch.hpp"
#include "telemetry/otlp_wire.hpp"
#include "telemetry/schema.hpp"

using namespace runmain;
using namespace runmain::telemetry;

namespace {

std::string name_of(ServiceId id) { return "service" + std::to_string(id.value); }

// "name=value{generation,error}" of each point.
std::string text_of(const std::vector<OwnMetric>& metrics) {
  std::string out;
  for (const OwnMetric& metric : metrics) {
    for (const MetricPoint& point : metric.points) {
      out += std::string(out.empty() ? "" : " ") + metric.name + "=" + std::to_string(point.value);
      for (const auto& [key, value] : point.attributes) {
        if (key == "error.type") out += "{" + value + "}";
      }
    }
  }
  return out;
}

}  // namespace

// Requirement 55.
TEST_CASE("ledgers of a generation are one point, losses one for each reason") {
  Ledgers ledgers;
  for (std::uint32_t slot = 0; slot < 2; ++slot) {
    Ledger& ledger = ledgers.of({ServiceId{1}, slot, 4, 1});
    ledger.started = 10;
    ledger.read = 8;
    ledger.exported = 5;
    ledger.waiting = 3;
    ledger.dropped[static_cast<std::size_t>(Drop::ring_full)] = 2;
  }
  CHECK(text_of(metrics_of(ledgers, name_of)) ==
        "otel.sdk.span.started=20 otel.sdk.processor.span.processed=16 "
        "otel.sdk.processor.span.processed=4{queue_full} otel.sdk.exporter.span.exported=10 "
        "otel.sdk.processor.span.queue.size=6");
}

TEST_CASE("several reasons that have one name are one point") {
  Ledgers ledgers;
  Ledger& ledger = ledgers.of({ServiceId{1}, 0, 4, 1});
  std::uint64_t count = 1;
  for (const Drop reason : {Drop::ring_full, Drop::queue_full, Drop::spill_full, Drop::other_1, Drop::other_2,
                            Drop::no_destination}) {
    ledger.dropped[static_cast<std::size_t>(reason)] = count;
    count *= 10;
  }
  CHECK(
      text_of(metrics_of(ledgers, name_of)) ==
      "otel.sdk.span.started=0 otel.sdk.processor.span.processed=0 "
      "otel.sdk.processor.span.processed=100000{no endpoint} otel.sdk.processor.span.processed=11000{other} "
      "otel.sdk.processor.span.processed=111{queue_full} otel.sdk.exporter.span.exported=0 "
      "otel.sdk.processor.span.queue.size=0");
}

TEST_CASE("counters do not go back when ledgers are forgotten") {
  Ledgers ledgers(FoldLimits{1, 8});
  for (std::uint32_t generation = 1; generation <= 3; ++generation) {
    for (std::uint32_t slot = 0; slot < 2; ++slot)
      ledgers.of({ServiceId{1}, slot, generation, 1}).receive(generation * 10);
  }
  const auto started = [&] {
    std::map<std::string, std::int64_t> all;
    const std::vector<OwnMetric> metrics = metrics_of(ledgers, name_of);
    for (const MetricPoint& point : metrics[0].points) {
      std::string generation = "none";
      for (const auto& [key, value] : point.attributes) {
        if (key == "runmain.generation") generation = value;
      }
      CHECK(all.count(generation) == 0);
      all[generation] = point.value;
    }
    return all;
  };
  using Points = std::map<std::string, std::int64_t>;
  CHECK(started() == Points{{"1", 20}, {"2", 40}, {"3", 60}});
  ledgers.forget({ServiceId{1}, 0, 1, 1});
  CHECK(started() == Points{{"1", 20}, {"2", 40}, {"3", 60}});
  for (const std::uint32_t slot : {0U, 1U}) ledgers.forget({ServiceId{1}, slot, 2, 1});
  CHECK(started() == Points{{"none", 20}, {"2", 40}, {"3", 60}});
  ledgers.forget({ServiceId{1}, 0, 3, 1});
  CHECK(started() == Points{{"none", 60}, {"3", 60}});
}

TEST_CASE("what happens to services is counted") {
  ServiceCounts counts;
  const auto tell = [&](core::FactType type, std::uint32_t slot) {
    core::Fact fact;
    fact.type = type;
    fact.service = ServiceId{2};
    fact.slot = slot;
    counts.on_fact(fact);
  };
  CHECK_FALSE(counts.take_changed());
  for (int i = 0; i < 3; ++i) tell(core::FactType::child_started, 0);
  tell(core::FactType::child_started, kBuildSlot);
  tell(core::FactType::child_exited, 0);
  tell(core::FactType::reload_done, 0);
  CHECK(counts.take_changed());
  CHECK_FALSE(counts.take_changed());
  CHECK(text_of(counts.metrics(name_of)) ==
        "runmain.reloads=1 runmain.worker.starts=3 runmain.worker.exits=1");
  tell(core::FactType::service_removed, 0);
  CHECK(counts.metrics(name_of).empty());
}

TEST_CASE("metrics are OTLP metrics") {
  Ledgers ledgers;
  ledgers.of({ServiceId{1}, 0, 1, 1}).started = 1;
  for (const OwnMetric& metric : metrics_of(ledgers, name_of)) {
    const std::string bytes = to_otlp(metric, 1000, 2000);
    CHECK(check(item_message(Signal::metrics), bytes).sound());
  }
}
