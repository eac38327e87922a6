#include "control/status_json.hpp"

#include <algorithm>
#include <string_view>

#include "base/wall_time.hpp"

namespace runmain::control {
namespace {

const char* name_of_mode(core::Mode mode) { return mode == core::Mode::prod ? "prod" : "dev"; }

long long ms_since(Time then, Time now) { return std::max(0LL, to_ms(now - then)); }

Json worker_json(const core::WorkerView& worker, Backend& backend, Time now) {
  const auto told = backend.requests(worker.key);
  Json requests;
  if (told) requests = Json{{"done", told->done}, {"in_flight", told->in_flight}};
  Json json{{"slot", worker.key.slot},
            {"generation", worker.key.generation},
            {"pid", worker.pid},
            {"state", core::name_of(worker.state)},
            {"since_ms", ms_since(worker.since, now)},
            {"instance_id", backend.instance_id(worker.key)},
            {"proof", core::name_of(worker.proof)},
            {"status", worker.status_text},
            {"leaving", worker.leaving},
            {"drained", worker.drained},
            {"frozen", worker.frozen},
            {"unwell", worker.unwell},
            {"requests", requests}};
  return json;
}

Json build_json(const core::WorkerView& build, Time now) {
  return Json{{"generation", build.key.generation},
              {"pid", build.pid},
              {"state", core::name_of(build.state)},
              {"since_ms", ms_since(build.since, now)}};
}

Json queues_json(ServiceId service, const Queues& all) {
  Json queues = Json::array();
  const auto found = all.find(service);
  if (found == all.end()) return queues;
  for (const QueueView& queue : found->second) {
    Json json{{"address", queue.address},
              {"slot", nullptr},
              {"waiting", queue.waiting},
              {"backlog", nullptr},
              {"full", queue.full()}};
    if (queue.slot) json["slot"] = *queue.slot;
    if (queue.backlog) json["backlog"] = *queue.backlog;
    queues.push_back(std::move(json));
  }
  return queues;
}

// slot, generation and pid are told of it. A socket is of a slot, or shared.
bool is_about_a_child(const core::Fact& fact) {
  const std::string_view type = core::type_name(fact.type);
  return type.starts_with("child.") || fact.type == core::FactType::slot_failed ||
         fact.type == core::FactType::slot_closed ||
         (fact.type == core::FactType::listener_shut && fact.slot != kNoSlot);
}

// What a Fact's `number` and `text` are called on the wire (their meaning: core/fact.cpp); null: not told.
struct DataKeys {
  const char* number;
  const char* text;
};

DataKeys data_keys(core::FactType type) {
  using F = core::FactType;
  switch (type) {
    case F::service_starting: return {nullptr, "reason"};
    case F::service_waiting: return {nullptr, "reason"};
    case F::service_ready: return {nullptr, nullptr};
    case F::service_backoff: return {"retry_in_ms", "reason"};
    case F::service_failed: return {nullptr, "reason"};
    case F::service_stopping: return {nullptr, nullptr};
    case F::service_stopped: return {nullptr, nullptr};
    case F::service_done: return {nullptr, nullptr};
    case F::service_removed: return {nullptr, "name"};
    case F::child_started: return {"attempt", "reason"};
    case F::child_spawn_failed: return {"errno", "text"};
    case F::child_ready: return {"took_ms", "proof"};
    case F::child_exited:
    case F::child_stopped: return {"status", "text"};
    case F::child_not_ready: return {"limit_ms", "text"};
    case F::child_stop_timeout: return {"limit_ms", nullptr};
    case F::child_survivors: return {"count", "survivors"};
    case F::child_status: return {nullptr, "text"};
    case F::child_claimed: return {"pid", "runtime"};
    case F::child_claim_refused: return {"pid", "reason"};
    case F::child_watchdog_missed: return {"interval_ms", nullptr};
    case F::reload_settling: return {"changes", nullptr};
    case F::reload_building: return {"attempt", nullptr};
    case F::reload_build_failed: return {"status", "text"};
    case F::reload_starting: return {nullptr, "reason"};
    case F::reload_done: return {"took_ms", "parts_ms"};
    case F::reload_failed: return {nullptr, "reason"};
    case F::reload_step: return {"slots", "text"};
    case F::reload_old_first: return {nullptr, "reason"};
    case F::reload_restored: return {nullptr, nullptr};
    case F::child_drained: return {"took_ms", nullptr};
    case F::child_recycled: return {nullptr, "reason"};
    case F::child_frozen: return {"limit_ms", nullptr};
    case F::child_unwell: return {"in_a_row", "text"};
    case F::child_starved: return {nullptr, "text"};
    case F::child_hung: return {"for_ms", "text"};
    case F::child_replaced: return {"in_ms", "text"};
    case F::slot_failed: return {nullptr, "reason"};
    case F::service_scaled: return {"workers", "by"};
    case F::slot_closed: return {"connections", "address"};
    case F::listener_shut: return {"errno", "address"};
    case F::service_scale_refused: return {"workers", "bounds"};
    case F::signal_passed_on: return {"signal", "to"};
    case F::child_waits:
    case F::child_goes_on: return {nullptr, nullptr};
    case F::reload_waits: return {"changes", nullptr};
    case F::reload_queued: return {nullptr, nullptr};
    case F::reload_ignored: return {"changes", nullptr};
    case F::reload_signalled: return {"signal", nullptr};
    case F::reload_loop: return {"reloads", "files"};
    case F::all_ready: return {"services", nullptr};
    case F::shutdown_started: return {"signal", nullptr};
    case F::shutdown_forced: return {"signal", nullptr};
    case F::shutdown_done: return {"exit_status", nullptr};
    case F::head_started: return {"takeovers", nullptr};
    case F::upgrade_started: return {nullptr, "folder"};
    case F::upgrade_refused: return {nullptr, "reason"};
    case F::upgrade_done: return {"keeper_too", "version"};
  }
  return {"number", "text"};
}

Json data_json(const core::Fact& fact) {
  const DataKeys keys = data_keys(fact.type);
  Json data = Json::object();
  if (keys.number != nullptr) data[keys.number] = fact.number;
  if (keys.text != nullptr && !fact.text.empty()) data[keys.text] = fact.text;
  if (const std::size_t blank = fact.text.find(' ');
      fact.type == core::FactType::child_ready && blank != std::string::npos) {
    data["proof"] = fact.text.substr(0, blank);
    data["address"] = fact.text.substr(blank + 1);
  }
  return data;
}

}  // namespace

std::int64_t wall_of(Time time, Time now, std::int64_t wall_now_ns) {
  return wall_now_ns - (now - time).count();
}

Json service_json(const core::ServiceView& service, const Queues& queues, Backend& backend, Time now) {
  Json workers = Json::array();
  Json build;
  for (const core::WorkerView& worker : service.workers) {
    if (worker.key.is_build()) {
      build = build_json(worker, now);
    } else if (worker.key.is_worker()) {
      workers.push_back(worker_json(worker, backend, now));
    }
  }
  Json retry;
  if (service.retry_at != kNever) retry = std::max(0LL, to_ms(service.retry_at - now));
  Json roll;
  if (service.rolling_to != 0) roll = Json{{"generation", service.rolling_to}, {"workers", service.rolled}};
  return Json{{"name", service.name},
              {"kind", "service"},
              {"state", core::name_of(service.state)},
              {"generation", service.generation},
              {"restarts", service.restarts},
              {"reloads", service.reloads},
              {"since_ms", ms_since(service.since, now)},
              {"retry_in_ms", retry},
              {"reason", service.reason},
              {"listen", backend.listening(service.id)},
              {"queues", queues_json(service.id, queues)},
              {"wanted_workers", service.wanted_workers},
              {"serving_workers", service.serving_workers},
              {"done_workers", service.done_workers},
              {"roll", roll},
              {"build", build},
              {"workers", workers}};
}

Json status_json(const core::Snapshot& snapshot, Backend& backend, Time now) {
  Json services = Json::array();
  const Queues queues = backend.queues();
  const OwnTelemetryLost lost = backend.own_telemetry_lost();
  for (const core::ServiceView& service : snapshot.services)
    services.push_back(service_json(service, queues, backend, now));
  return Json{{"version", RUNMAIN_VERSION},
              {"mode", name_of_mode(snapshot.mode)},
              {"shutting_down", snapshot.shutting_down},
              {"own_telemetry_lost", Json{{"spans", lost.spans}, {"logs_and_metrics", lost.others}}},
              {"services", services}};
}

Json event_json(const FactLine& line) {
  const core::Fact& fact = line.fact;
  const char* type = core::type_name(fact.type);
  const bool child = is_about_a_child(fact);
  Json json{{"v", 1},
            {"seq", nullptr},
            {"time", rfc3339(line.time_ns)},
            {"mono_ns", fact.time.time_since_epoch().count()},
            {"type", type},
            {"service", nullptr},
            {"slot", nullptr},
            {"generation", nullptr},
            {"pid", nullptr},
            {"cause", fact.cause},
            {"data", data_json(fact)}};
  if (line.seq != 0) json["seq"] = line.seq;
  if (!line.service.empty()) json["service"] = line.service;
  if (child) json["slot"] = fact.slot;
  if (!line.service.empty()) json["generation"] = fact.generation;
  if (child && fact.pid > 0) json["pid"] = fact.pid;
  return json;
}

Json log_json(const LogLine& line, bool numbered) {
  std::string label = line.service_name;
  if (const char* helper = helper_name(line.from_build ? kBuildSlot : line.slot)) {
    label += " " + std::string(helper);
  } else if (numbered || line.slot > 0) {
    label += "." + std::to_string(line.slot);
  }
  return Json{{"time", rfc3339(line.time_ns)},
              {"service", line.service_name},
              {"label", label},
              {"slot", line.slot},
              {"generation", line.generation},
              {"build", line.from_build},
              {"continues", line.continues},
              {"text", line.text}};
}

}  // namespace runmain::control
