#include "app/own_telemetry.hpp"

#include <unistd.h>

#include <cstdlib>
#include <optional>

#include "base/identity.hpp"
#include "base/wall_time.hpp"
#include "telemetry/line_log.hpp"
#include "telemetry/resource.hpp"

namespace runmain::app {
namespace {

// Nanoseconds since 1970 at Time{}: a wall clock that is set shows in later spans only.
std::int64_t wall_at_zero() { return wall_now_ns() - os::Loop::now().time_since_epoch().count(); }

// Who has started us may be traced.
std::optional<SpanIdentity> outer_span() {
  const char* text = std::getenv("TRACEPARENT");
  return text != nullptr ? parse_traceparent(text) : std::nullopt;
}

}  // namespace

OwnTelemetry::OwnTelemetry(os::Loop& loop, std::string secret, std::function<std::string(ServiceId)> name_of,
                           bool disabled)
    : name_of_(name_of),
      disabled_(disabled),
      lifecycle_(std::move(secret), std::move(name_of), outer_span()),
      metrics_timer_(loop.timer([this] { tell_metrics(); })) {}

Result<void> OwnTelemetry::begin(os::UniqueFd mailbox, os::UniqueFd wake, const std::string& instance_id,
                                 bool dev) {
  if (begun()) return {};
  auto writer = telemetry::LaneWriter::open(std::move(mailbox), std::move(wake),
                                            telemetry::own_resource(instance_id, getpid()), "runmain");
  if (!writer) return writer.error();
  writer_ = std::make_unique<telemetry::LaneWriter>(std::move(*writer));
  begin_wall_ = wall_now_ns();
  interval_ = dev ? kOwnMetricsInterval / 10 : kOwnMetricsInterval;
  return {};
}

void OwnTelemetry::on_change(const core::Changed& changed, Time now) {
  if (begun() && !disabled_) lifecycle_.on_change(changed.service, changed.paths, changed.count, now);
}

void OwnTelemetry::on_fact(const core::Fact& fact) {
  if (!begun() || disabled_) return;
  lifecycle_.on_fact(fact);
  const std::int64_t wall = wall_at_zero();
  for (const telemetry::LifecycleSpan& span : lifecycle_.take())
    (void)writer_->write_span(to_otlp(span, wall));  // what finds no room is counted there
  counts_.on_fact(fact);
  if (fact.type == core::FactType::shutdown_done) return tell_metrics();
  if (!counts_.take_changed() || metrics_due_) return;
  metrics_due_ = true;
  metrics_timer_->set(os::Loop::now() + interval_);
}

void OwnTelemetry::on_line(const drive::OutputLine& line) {
  if (!begun()) return;
  (void)writer_->write_log(telemetry::to_log_record(
      {line.text, static_cast<std::uint64_t>(line.time_ns), line.service_name, line.slot, line.generation}));
}

void OwnTelemetry::tell_metrics() {
  metrics_due_ = false;
  const auto begin = static_cast<std::uint64_t>(begin_wall_);
  const auto now = static_cast<std::uint64_t>(wall_now_ns());
  for (const telemetry::OwnMetric& metric : counts_.metrics(name_of_))
    (void)writer_->write_metric(to_otlp(metric, begin, now));
}

}  // namespace runmain::app
