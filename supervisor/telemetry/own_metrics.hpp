// Numbers of our own as OTLP metrics: what became of spans (the ledger), and what happened to services.
// Names: otel.sdk.* of the semantic conventions (docs/otel/sdk-metrics.md) where they have one, else
// runmain.*.
//
// Invariant: pure; sums are cumulative since `begin`. Non-goal: when they are sent.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/effect.hpp"
#include "telemetry/ledger.hpp"

namespace runmain::telemetry {

struct MetricPoint {
  std::vector<std::pair<std::string, std::string>> attributes;
  std::int64_t value = 0;
};

struct OwnMetric {
  const char* name = "";
  const char* unit = "";
  const char* description = "";
  bool monotonic = true;  // false: it goes down, too
  std::vector<MetricPoint> points;
};

// The bytes of an OTLP Metric, a cumulative sum. Times: nanoseconds since 1970.
std::string to_otlp(const OwnMetric& metric, std::uint64_t begin, std::uint64_t now);

using ServiceNameOf = std::function<std::string(ServiceId)>;

// What the ledgers say of each service and generation; of generations that have no sum of their own any more
// (Ledgers::sums()) without one.
std::vector<OwnMetric> metrics_of(const Ledgers& ledgers, const ServiceNameOf& name_of);

// Counts what happens to services.
class ServiceCounts {
 public:
  void on_fact(const core::Fact& fact);
  std::vector<OwnMetric> metrics(const ServiceNameOf& name_of) const;
  // Whether anything was counted since the last call.
  bool take_changed() { return std::exchange(changed_, false); }

 private:
  struct Counts {
    std::int64_t reloads = 0;
    std::int64_t reloads_failed = 0;
    std::int64_t builds_failed = 0;
    std::int64_t starts = 0;
    std::int64_t exits = 0;  // not asked for
    std::int64_t hangs = 0;
    std::int64_t recycled = 0;
  };
  std::map<ServiceId, Counts> counts_;
  bool changed_ = false;
};

}  // namespace runmain::telemetry
