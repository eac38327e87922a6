// What a span costs the observer, in CPU time: out of a mailbox, checked, into a request, and compressed.
// Usage: SPANS=500000 b_spans_read. Spans have 10 attributes of 20 + 20 characters, as the specification's
// benchmark.
#include <sys/resource.h>

#include <cstdlib>

#include "bench/bench.hpp"
#include "telemetry/batch.hpp"
#include "telemetry/gzip.hpp"
#include "unit/telemetry/mailbox_world.hpp"

using namespace runmain;
using namespace runmain::telemetry;
using namespace runmain::telemetry::test;

namespace {

double cpu_ns() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto ns = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_usec) * 1e3;
  };
  return ns(used.ru_utime) + ns(used.ru_stime);
}

struct Costs {
  double read = 0;
  double batch = 0;
  double gzip = 0;
  std::uint64_t spans = 0;
  std::uint64_t bytes = 0;
  std::uint64_t compressed = 0;
};

void compress(Costs& costs, const Request& request) {
  const double before = cpu_ns();
  costs.compressed += gzip(request.bytes)->size();
  costs.gzip += cpu_ns() - before;
  costs.bytes += request.bytes.size();
}

void take(Costs& costs, MailboxReader& reader, Batch& batch) {
  double before = cpu_ns();
  const auto items = reader.drain(4U << 20U);
  costs.read += cpu_ns() - before;
  costs.spans += items.size();
  before = cpu_ns();
  std::vector<Request> requests;
  for (const Item& item : items) {
    if (batch.add(item) == Batch::Added::added) continue;
    requests.push_back(batch.take());
    (void)batch.add(item);
  }
  costs.batch += cpu_ns() - before;
  reader.commit();
  for (const Request& request : requests) compress(costs, request);
}

}  // namespace

TEST_CASE("b_spans_read") {
  const char* asked = std::getenv("SPANS");
  const std::uint64_t wanted = asked != nullptr ? std::strtoull(asked, nullptr, 10) : 500'000;
  World world(standard_geometry("bench"));
  Lane lane(world, 0);
  REQUIRE(lane.take());
  const std::uint32_t scope = lane.scope("lib");
  SpanSpec spec;
  for (int i = 0; i < 10; ++i) {
    spec.attributes.push_back(attribute("key.of.20.characters" + std::to_string(i), "value.of.20.charactr"));
  }
  const std::string span = make_span(spec);
  MailboxReader reader = world.reader();
  Batch batch(Signal::traces);
  Costs costs;
  while (costs.spans < wanted) {
    while (lane.record(RUNMAIN_RECORD_SPAN, scope, span)) {
    }
    take(costs, reader, batch);
  }
  const auto per = [&](double ns) { return bench::number(ns / static_cast<double>(costs.spans), " ns", 0); };
  bench::row("a span of " + std::to_string(span.size()) + " bytes out of the mailbox, checked",
             per(costs.read), "");
  bench::row("into a request", per(costs.batch), "");
  bench::row("compressed to " + std::to_string(100 * costs.compressed / costs.bytes) + " %", per(costs.gzip),
             "");
  bench::row("CPU at 100,000 spans/s, without compression",
             bench::number((costs.read + costs.batch) / static_cast<double>(costs.spans) / 100, " %", 1), "");
}
