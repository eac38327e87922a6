#include "telemetry/lifecycle.hpp"

#include <sys/wait.h>

#include <algorithm>
#include <protozero/pbf_writer.hpp>

#include "telemetry/attribute.hpp"
#include "telemetry/mailbox_cursor.hpp"
#include "telemetry/reconstructed.hpp"
#include "telemetry/schema.hpp"
#include "telemetry/utf8.hpp"

namespace runmain::telemetry {
namespace {

using core::Fact;
using core::FactType;

constexpr std::int32_t kInternal = 1;
constexpr std::int32_t kError = 2;
constexpr std::size_t kMessageMax = 1024;  // bytes

bool is_none(const SpanIdentity& id) {
  return std::all_of(id.span.begin(), id.span.end(), [](std::uint8_t b) { return b == 0; });
}

template <std::size_t N>
void add_id(protozero::pbf_writer& out, std::uint32_t field, const std::array<std::uint8_t, N>& id) {
  out.add_bytes(field, reinterpret_cast<const char*>(id.data()), id.size());
}

void add_value(protozero::pbf_writer& any, const LifecycleSpan::Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    any.add_string(kAnyString, to_utf8(*text));
  } else if (const auto* number = std::get_if<std::int64_t>(&value)) {
    any.add_int64(kAnyInt, *number);
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    any.add_bool(kAnyBool, *flag);
  } else {
    protozero::pbf_writer list(any, kAnyArray);
    for (const std::string& element : std::get<std::vector<std::string>>(value)) {
      protozero::pbf_writer one(list, 1);
      one.add_string(kAnyString, to_utf8(element));
    }
  }
}

std::uint64_t unix_nanos(Time time, std::int64_t wall) {
  return static_cast<std::uint64_t>(wall + time.time_since_epoch().count());
}

// How the main process has ended, as the semantic conventions say it.
void add_ending(LifecycleSpan& span, const Fact& fact) {
  const auto status = static_cast<int>(fact.number);
  if (fact.number >= 0 && WIFEXITED(status)) {
    span.attributes.emplace_back("process.exit.code", std::int64_t{WEXITSTATUS(status)});
  } else if (fact.number >= 0 && WIFSIGNALED(status)) {
    span.attributes.emplace_back("runmain.exit.signal", signal_name(WTERMSIG(status)));
  }
  if (!fact.text.empty()) span.attributes.emplace_back("runmain.exit.reason", fact.text);
}

}  // namespace

std::string to_otlp(const LifecycleSpan& span, std::int64_t wall) {
  std::string bytes;
  protozero::pbf_writer out{bytes};
  add_id(out, kSpanTraceId, span.id.trace);
  add_id(out, kSpanSpanId, span.id.span);
  if (!is_none(span.parent)) add_id(out, kSpanParentId, span.parent.span);
  out.add_string(kSpanName, span.name);
  out.add_enum(kSpanKind, kInternal);
  out.add_fixed64(kSpanStart, unix_nanos(span.start, wall));
  out.add_fixed64(kSpanEnd, unix_nanos(std::max(span.start, span.end), wall));
  for (const auto& [key, value] : span.attributes) {
    add_attribute(out, kSpanAttributes, key, [&v = value](auto& any) { add_value(any, v); });
  }
  for (const SpanIdentity& link : span.links) {
    protozero::pbf_writer one(out, kSpanLinks);
    add_id(one, kLinkTraceId, link.trace);
    add_id(one, kLinkSpanId, link.span);
  }
  if (span.error) {
    protozero::pbf_writer status(out, kSpanStatus);
    status.add_string(kStatusMessage, to_utf8(span.message.substr(0, kMessageMax)));
    status.add_enum(kStatusCode, kError);
  }
  return bytes;
}

Lifecycle::Lifecycle(std::string secret, NameOf name_of, std::optional<SpanIdentity> outer)
    : secret_(std::move(secret)), name_of_(std::move(name_of)), outer_(outer) {}

Lifecycle::Service* Lifecycle::at(ServiceId service) {
  if (service == kNoService) return nullptr;
  const auto found = services_.find(service);
  if (found != services_.end()) return &found->second;
  if (services_.size() >= kLifecycleOpenMax) {
    ++dropped_;
    return nullptr;
  }
  return &services_[service];
}

LifecycleSpan Lifecycle::span(const Fact& fact, const SpanIdentity& id, const SpanIdentity& parent,
                              std::string name, Time start) const {
  LifecycleSpan span;
  span.id = id;
  span.parent = parent;
  span.name = std::move(name);
  span.start = start == kNever ? fact.time : start;
  span.end = fact.time;
  span.attributes.emplace_back("runmain.service", name_of_(fact.service));
  return span;
}

void Lifecycle::on_change(ServiceId service, const std::vector<std::string>& paths, std::uint32_t count,
                          Time now) {
  Service* s = at(service);
  if (s == nullptr) return;
  Coming& coming = s->coming;
  if (coming.since == kNever) begin_coming(*s, now);
  coming.file_count += std::max<std::size_t>(count, paths.size());
  for (const std::string& path : paths) {
    const bool known = std::find(coming.files.begin(), coming.files.end(), path) != coming.files.end();
    if (!known && coming.files.size() < kChangedFilesMax) coming.files.push_back(path);
  }
}

void Lifecycle::begin_coming(Service& service, Time now) {
  service.coming = Coming{};
  service.coming.since = now;
}

void Lifecycle::on_fact(const Fact& fact) {
  Service* s = at(fact.service);
  if (s == nullptr) return;
  Coming& coming = s->coming;
  switch (fact.type) {
    case FactType::service_starting:
      if (coming.since == kNever) begin_coming(*s, fact.time);
      coming.first = coming.first || s->generation == 0;
      break;
    case FactType::reload_settling:
      if (coming.since == kNever) begin_coming(*s, fact.time);
      break;
    case FactType::reload_building:
      if (coming.since == kNever) begin_coming(*s, fact.time);
      coming.build = fact.time;
      coming.build_key = {fact.service, kBuildSlot, fact.generation, static_cast<std::uint32_t>(fact.number)};
      break;
    case FactType::reload_build_failed: return build_failed(*s, fact);
    case FactType::reload_starting:
      if (coming.since == kNever) begin_coming(*s, fact.time);
      coming.launch = fact.time;
      coming.generation = static_cast<std::uint32_t>(fact.number);
      break;
    case FactType::reload_done: return coming_ended(*s, fact, false);
    case FactType::service_ready:
      if (coming.since != kNever && coming.first) coming_ended(*s, fact, false);
      break;
    case FactType::reload_failed:
    case FactType::service_failed:
      if (coming.since != kNever && coming.launch != kNever) coming_ended(*s, fact, true);
      break;
    case FactType::child_started: return child_started(fact);
    case FactType::child_ready: return child_came(fact, true);
    case FactType::child_drained: {
      const auto worker = workers_.find({{fact.service, fact.slot}, fact.generation});
      if (worker != workers_.end()) worker->second.drained = fact.time;
      break;
    }
    case FactType::child_exited:
    case FactType::child_stopped: return child_gone(fact);
    case FactType::service_stopping:
      if (s->stopping != kNever) break;
      s->stopping = fact.time;
      s->stop =
          trace_of(secret_, "stop " + std::to_string(fact.cause), {fact.service, 0, fact.generation, 0});
      break;
    case FactType::service_stopped:
    case FactType::service_removed: return stopped(*s, fact);
    default: break;
  }
}

// ---- a generation comes

void Lifecycle::build_failed(Service& service, const Fact& fact) {
  Coming& coming = service.coming;
  const SpanIdentity root = trace_of(secret_, "failed build", coming.build_key);
  LifecycleSpan build =
      span(fact, part_of(secret_, "build", root, coming.build_key), root, "build", coming.build);
  build.error = true;
  build.message = fact.text;
  add_ending(build, fact);
  add(std::move(build));
  LifecycleSpan whole = span(fact, root, {}, "reload " + name_of_(fact.service), coming.since);
  whole.error = true;
  whole.message = "the build failed: " + fact.text;
  whole.attributes.emplace_back("runmain.generation", std::int64_t{coming.build_key.generation});
  whole.attributes.emplace_back("runmain.changed_files", coming.files);
  whole.attributes.emplace_back("runmain.changed_count", static_cast<std::int64_t>(coming.file_count));
  if (!is_none(service.latest)) whole.links.push_back(service.latest);
  add(std::move(whole));
  coming = Coming{};
}

void Lifecycle::coming_ended(Service& service, const Fact& fact, bool error) {
  Coming coming = std::exchange(service.coming, Coming{});
  if (coming.since == kNever) coming.since = fact.time;
  if (fact.type == FactType::reload_done) {  // since the first change, also where a head before us saw it
    coming.since = std::min(coming.since, fact.time - std::chrono::milliseconds(fact.number));
  }
  const std::uint32_t generation = coming.generation != 0 ? coming.generation : fact.generation;
  const ChildKey key{fact.service, 0, generation, 1};
  const SpanIdentity root = coming_of(secret_, key);
  const auto part = [&](const char* name, Time from, Time to) {
    if (from == kNever || to == kNever || to <= from) return;
    LifecycleSpan one = span(fact, part_of(secret_, name, root, key), root, name, from);
    one.end = to;
    add(std::move(one));
  };
  part("settle", coming.since, coming.build != kNever ? coming.build : coming.launch);
  part("build", coming.build, coming.launch);
  const char* what = coming.first ? "start " : "reload ";
  LifecycleSpan whole = span(fact, root, {}, what + name_of_(fact.service), coming.since);
  whole.error = error;
  if (error) whole.message = fact.text;
  whole.attributes.emplace_back("runmain.generation", std::int64_t{generation});
  if (!coming.files.empty()) whole.attributes.emplace_back("runmain.changed_files", coming.files);
  if (coming.file_count > 0)
    whole.attributes.emplace_back("runmain.changed_count", static_cast<std::int64_t>(coming.file_count));
  if (!is_none(service.latest) && service.latest != root) whole.links.push_back(service.latest);
  if (coming.first && outer_) whole.links.push_back(*outer_);
  add(std::move(whole));
  if (error) return;
  service.latest = root;
  service.generation = generation;
}

// ---- children

void Lifecycle::child_started(const Fact& fact) {
  if (fact.slot >= kHelperSlotFirst) return;
  if (workers_.size() >= kLifecycleOpenMax) {
    ++dropped_;
    return;
  }
  Worker& worker = workers_[{{fact.service, fact.slot}, fact.generation}];
  const auto gone = gone_.find({fact.service, fact.slot});
  worker = {static_cast<std::uint32_t>(fact.number), fact.time, kNever, kNever, false};
  if (worker.attempt > 1 && gone != gone_.end()) worker.restarts = gone->second;
  if (gone != gone_.end()) gone_.erase(gone);
}

// The start of a worker is over: it is ready, or gone before that.
void Lifecycle::child_came(const Fact& fact, bool ready) {
  const auto found = workers_.find({{fact.service, fact.slot}, fact.generation});
  if (found == workers_.end() || found->second.ready) return;
  Worker& worker = found->second;
  worker.ready = ready;
  const ChildKey key{fact.service, fact.slot, fact.generation, worker.attempt};
  const SpanIdentity root = coming_of(secret_, key);
  const auto describe = [&](LifecycleSpan& one) {
    one.attributes.emplace_back("runmain.worker", std::int64_t{fact.slot});
    one.attributes.emplace_back("runmain.generation", std::int64_t{fact.generation});
    one.attributes.emplace_back("process.pid", std::int64_t{fact.pid});
    one.error = !ready;
    if (ready) return;
    one.message = fact.text;
    add_ending(one, fact);
  };
  LifecycleSpan start = span(fact, start_of(secret_, key), root, "start worker", worker.started);
  describe(start);
  add(std::move(start));
  if (worker.attempt <= 1) return;
  const Time since = worker.restarts != kNever ? worker.restarts : worker.started;
  LifecycleSpan again = span(fact, root, {}, "restart " + name_of_(fact.service), since);
  describe(again);
  again.links.push_back(start_of(secret_, {fact.service, fact.slot, fact.generation, worker.attempt - 1}));
  add(std::move(again));
}

void Lifecycle::child_gone(const Fact& fact) {
  if (fact.slot >= kHelperSlotFirst) return;
  const auto found = workers_.find({{fact.service, fact.slot}, fact.generation});
  if (found == workers_.end()) return;
  if (!found->second.ready) child_came(fact, false);
  const Worker worker = found->second;
  workers_.erase(found);
  Service* s = at(fact.service);
  if (s == nullptr) return;
  const ChildKey key{fact.service, fact.slot, fact.generation, worker.attempt};
  if (fact.type == FactType::child_exited) gone_[{fact.service, fact.slot}] = fact.time;
  // It ends for what has come after it, or for a stop; else alone.
  const bool replaced = s->generation > fact.generation || s->coming.generation > fact.generation;
  SpanIdentity trace = trace_of(secret_, "end", key);
  SpanIdentity parent;
  if (s->stopping != kNever) {
    trace = parent = s->stop;
  } else if (replaced && fact.type == FactType::child_stopped) {
    const std::uint32_t newest = std::max(s->generation, s->coming.generation);
    trace = parent = coming_of(secret_, {fact.service, 0, newest, 1});
  }
  const auto tell = [&](const char* name, Time from, Time to, bool last) {
    LifecycleSpan one = span(fact, part_of(secret_, name, trace, key), parent, name, from);
    one.end = to;
    one.attributes.emplace_back("runmain.worker", std::int64_t{fact.slot});
    one.attributes.emplace_back("runmain.generation", std::int64_t{fact.generation});
    one.attributes.emplace_back("process.pid", std::int64_t{fact.pid});
    one.links.push_back(start_of(secret_, key));
    if (last) {
      add_ending(one, fact);
      one.error = fact.type == FactType::child_exited;
      if (one.error) one.message = fact.text;
    }
    add(std::move(one));
  };
  if (fact.type == FactType::child_exited) return tell("exit worker", fact.time, fact.time, true);
  const Time asked = fact.time - fact.drained_for;
  if (worker.drained == kNever) return tell("drain", asked, fact.time, true);
  tell("drain", asked, worker.drained, false);
  tell("flush", worker.drained, fact.time, true);
}

void Lifecycle::stopped(Service& service, const Fact& fact) {
  if (service.stopping != kNever) {
    LifecycleSpan whole = span(fact, service.stop, {}, "stop " + name_of_(fact.service), service.stopping);
    whole.attributes.emplace_back("runmain.generation", std::int64_t{service.generation});
    if (!is_none(service.latest)) whole.links.push_back(service.latest);
    add(std::move(whole));
  }
  service.stopping = kNever;
  service.coming = Coming{};
  std::erase_if(gone_, [&](const auto& slot) { return slot.first.first == fact.service; });  // nobody follows
  if (fact.type == FactType::service_removed) services_.erase(fact.service);
}

}  // namespace runmain::telemetry
