#include "telemetry/own_metrics.hpp"

#include <protozero/pbf_writer.hpp>

#include "telemetry/attribute.hpp"

namespace runmain::telemetry {
namespace {

using core::FactType;

// Of Metric, Sum and NumberDataPoint (opentelemetry-proto, metrics.proto).
constexpr std::uint32_t kMetricName = 1;
constexpr std::uint32_t kMetricDescription = 2;
constexpr std::uint32_t kMetricUnit = 3;
constexpr std::uint32_t kMetricSum = 7;
constexpr std::uint32_t kSumPoints = 1;
constexpr std::uint32_t kSumTemporality = 2;
constexpr std::uint32_t kSumMonotonic = 3;
constexpr std::uint32_t kPointStart = 2;
constexpr std::uint32_t kPointTime = 3;
constexpr std::uint32_t kPointInt = 6;
constexpr std::uint32_t kPointAttributes = 7;
constexpr std::int32_t kCumulative = 2;

void add_point(protozero::pbf_writer& sum, const MetricPoint& point, std::uint64_t begin, std::uint64_t now) {
  protozero::pbf_writer out(sum, kSumPoints);
  out.add_fixed64(kPointStart, begin);
  out.add_fixed64(kPointTime, now);
  out.add_sfixed64(kPointInt, point.value);
  for (const auto& [key, value] : point.attributes) add_text(out, kPointAttributes, key, value);
}

using Attributes = std::vector<std::pair<std::string, std::string>>;

Attributes with(Attributes base, const char* key, const char* value) {
  base.emplace_back(key, value);
  return base;
}

// What "otel.sdk.processor.span.processed" calls the reason. Several are one to it.
const char* error_type(Drop reason) {
  switch (reason) {
    case Drop::ring_full:
    case Drop::queue_full:
    case Drop::spill_full: return "queue_full";
    default: return to_text(reason);
  }
}

// A point for each: two with the same attributes would be two values of one.
std::map<std::string, std::uint64_t> losses_of(const Ledger& ledger) {
  std::map<std::string, std::uint64_t> losses;
  for (std::size_t i = 0; i < kDrops; ++i) {
    if (ledger.dropped[i] > 0) losses[error_type(static_cast<Drop>(i))] += ledger.dropped[i];
  }
  return losses;
}

}  // namespace

std::string to_otlp(const OwnMetric& metric, std::uint64_t begin, std::uint64_t now) {
  std::string bytes;
  protozero::pbf_writer out{bytes};
  out.add_string(kMetricName, metric.name);
  out.add_string(kMetricDescription, metric.description);
  out.add_string(kMetricUnit, metric.unit);
  protozero::pbf_writer sum(out, kMetricSum);
  for (const MetricPoint& point : metric.points) add_point(sum, point, begin, now);
  sum.add_enum(kSumTemporality, kCumulative);
  sum.add_bool(kSumMonotonic, metric.monotonic);
  return bytes;
}

std::vector<OwnMetric> metrics_of(const Ledgers& ledgers, const ServiceNameOf& name_of) {
  OwnMetric started{"otel.sdk.span.started", "{span}", "Spans that were started.", true, {}};
  OwnMetric processed{"otel.sdk.processor.span.processed",
                      "{span}",
                      "Spans that ended: taken, or lost for a reason.",
                      true,
                      {}};
  OwnMetric exported{
      "otel.sdk.exporter.span.exported", "{span}", "Spans that a destination has answered for.", true, {}};
  OwnMetric waiting{
      "otel.sdk.processor.span.queue.size", "{span}", "Spans that wait to be exported.", false, {}};
  OwnMetric resent{"runmain.span.resent", "{span}", "Spans that may have arrived twice.", true, {}};
  OwnMetric duplicates{
      "runmain.span.duplicates", "{span}", "Spans that came twice and went out once.", true, {}};
  OwnMetric reconstructed{
      "runmain.span.reconstructed", "{span}", "Spans that were open when their process died.", true, {}};
  for (const auto& [service, generation, ledger] : ledgers.sums()) {
    Attributes base{{"runmain.service", name_of(service)}};
    if (generation) base.emplace_back("runmain.generation", std::to_string(*generation));
    base.emplace_back("otel.component.type", "runmain_mailbox");
    const auto number = [](std::uint64_t n) { return static_cast<std::int64_t>(n); };
    started.points.push_back({base, number(ledger.started)});
    processed.points.push_back({base, number(ledger.read)});
    for (const auto& [error, count] : losses_of(ledger))
      processed.points.push_back({with(base, "error.type", error.c_str()), number(count)});
    exported.points.push_back({base, number(ledger.exported)});
    if (ledger.rejected > 0)
      exported.points.push_back({with(base, "error.type", "rejected"), number(ledger.rejected)});
    waiting.points.push_back({base, ledger.waiting});
    if (ledger.resent > 0) resent.points.push_back({base, number(ledger.resent)});
    if (ledger.duplicates > 0) duplicates.points.push_back({base, number(ledger.duplicates)});
    if (ledger.reconstructed > 0) reconstructed.points.push_back({base, number(ledger.reconstructed)});
  }
  std::vector<OwnMetric> all;
  for (OwnMetric* one : {&started, &processed, &exported, &waiting, &resent, &duplicates, &reconstructed}) {
    if (!one->points.empty()) all.push_back(std::move(*one));
  }
  return all;
}

void ServiceCounts::on_fact(const core::Fact& fact) {
  std::int64_t Counts::*which = nullptr;
  switch (fact.type) {
    case FactType::reload_done: which = &Counts::reloads; break;
    case FactType::reload_failed: which = &Counts::reloads_failed; break;
    case FactType::reload_build_failed: which = &Counts::builds_failed; break;
    case FactType::child_started: which = fact.slot < kHelperSlotFirst ? &Counts::starts : nullptr; break;
    case FactType::child_exited: which = fact.slot < kHelperSlotFirst ? &Counts::exits : nullptr; break;
    case FactType::child_hung: which = &Counts::hangs; break;
    case FactType::child_recycled: which = &Counts::recycled; break;
    case FactType::service_removed: counts_.erase(fact.service); return;
    default: return;
  }
  if (which == nullptr || fact.service == kNoService) return;
  ++(counts_[fact.service].*which);
  changed_ = true;
}

std::vector<OwnMetric> ServiceCounts::metrics(const ServiceNameOf& name_of) const {
  struct Row {
    const char* name;
    const char* unit;
    const char* description;
    std::int64_t Counts::*which;
  };
  static constexpr Row kRows[] = {
      {"runmain.reloads", "{reload}", "Reloads whose new generation serves.", &Counts::reloads},
      {"runmain.reloads.failed", "{reload}", "Reloads that left the old generation.",
       &Counts::reloads_failed},
      {"runmain.builds.failed", "{build}", "Build steps that failed.", &Counts::builds_failed},
      {"runmain.worker.starts", "{worker}", "Workers that were started.", &Counts::starts},
      {"runmain.worker.exits", "{worker}", "Workers that ended without being asked to.", &Counts::exits},
      {"runmain.worker.hangs", "{worker}", "Workers that were ended because they hung.", &Counts::hangs},
      {"runmain.worker.recycled", "{worker}", "Workers that were well and were replaced.", &Counts::recycled},
  };
  std::vector<OwnMetric> all;
  for (const Row& row : kRows) {
    OwnMetric metric{row.name, row.unit, row.description, true, {}};
    for (const auto& [service, counts] : counts_) {
      if (counts.*row.which > 0)
        metric.points.push_back({{{"runmain.service", name_of(service)}}, counts.*row.which});
    }
    if (!metric.points.empty()) all.push_back(std::move(metric));
  }
  return all;
}

}  // namespace runmain::telemetry
