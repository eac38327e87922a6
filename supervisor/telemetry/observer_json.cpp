#include "telemetry/observer_json.hpp"

#include <limits>
#include <nlohmann/json.hpp>

#include "telemetry/encoding.hpp"

namespace runmain::telemetry {
namespace {

using Json = nlohmann::ordered_json;

// Strangers' text is harmless, but may be cut within a character.
std::string line_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

// An archive that makes an object of a plain struct's numbers.
struct ObjectOf {
  Json& out;
  template <class T>
  void operator()(const char* name, T& value) {
    out[name] = value;
  }
};

template <std::size_t N>
std::string hex(const std::array<std::uint8_t, N>& id) {
  return to_hex({reinterpret_cast<const char*>(id.data()), id.size()});
}

const char* kind_text(std::int32_t kind) {
  static constexpr const char* kNames[] = {"unspecified", "internal", "server",
                                           "client",      "producer", "consumer"};
  return kind >= 0 && kind < static_cast<std::int32_t>(std::size(kNames)) ? kNames[kind] : "unknown";
}

const char* status_text(std::int32_t status) { return status == 2 ? "error" : status == 1 ? "ok" : "unset"; }

void add_worker(Json& json, const ChildKey& worker) {
  json["slot"] = worker.slot;
  json["generation"] = worker.generation;
  json["attempt"] = worker.attempt;
}

Json json_of(const LedgerLine& line) {
  Json json{{"service", line.service}};
  add_worker(json, line.worker);
  json["over"] = line.ended;
  if (line.folded) json["folded"] = true;
  Ledger ledger = line.ledger;
  ObjectOf all{json};
  ledger.fields(all);
  Json dropped = Json::object();
  for (std::size_t i = 0; i < ledger.dropped.size(); ++i) {
    if (ledger.dropped[i] > 0) dropped[to_text(static_cast<Drop>(i))] = ledger.dropped[i];
  }
  json["dropped"] = dropped;
  json["text"] = ledger.text();
  json["imbalance"] = line.imbalance;
  return json;
}

Json json_of(const OutboxStatus& outbox) {
  Json json{{"name", outbox.name},
            {"signal", to_text(outbox.signal)},
            {"failing", outbox.failing},
            {"leaving", outbox.leaving},
            {"queued_items", outbox.queued_items},
            {"memory_items", outbox.memory_items},
            {"spilled_bytes", outbox.spilled_bytes}};
  if (!outbox.fault.empty()) json["fault"] = outbox.fault;
  return json;
}

bool read_query(const Json& json, ObserverRequest& request) {
  const auto service = json.find("service");
  if (service != json.end() && !service->is_null()) {
    if (!service->is_string()) return false;
    request.query.service = service->get<std::string>();
  }
  const auto generation = json.find("generation");
  if (generation != json.end() && !generation->is_null()) {
    if (!generation->is_number_unsigned()) return false;
    const auto number = generation->get<std::uint64_t>();
    if (number > std::numeric_limits<std::uint32_t>::max()) return false;
    request.query.generation = static_cast<std::uint32_t>(number);
  }
  for (const auto& [name, value] :
       {std::pair{"duplicates", &request.query.duplicates}, std::pair{"follow", &request.follow}}) {
    const auto found = json.find(name);
    if (found == json.end()) continue;
    if (!found->is_boolean()) return false;
    *value = found->get<bool>();
  }
  return true;
}

}  // namespace

std::string status_line(const ObserverStatus& status) {
  Json json{{"v", 1}, {"ok", true}};
  Json ledgers = Json::array();
  for (const LedgerLine& line : status.ledgers) ledgers.push_back(json_of(line));
  Json destinations = Json::array();
  for (const OutboxStatus& outbox : status.destinations) destinations.push_back(json_of(outbox));
  json["ledgers"] = std::move(ledgers);
  json["destinations"] = std::move(destinations);
  Json counters = Json::object();
  ObserverCounters all = status.counters;
  ObjectOf object{counters};
  all.fields(object);
  counters["mailboxes"] = status.mailboxes;
  counters["traces_gone"] = status.store.traces_gone;
  counters["trace_spans_gone"] = status.store.spans_gone;
  counters["trace_spans_refused"] = status.store.spans_refused;
  counters["trace_spans_left_out"] = status.store.spans_left_out;
  json["counters"] = std::move(counters);
  return line_of(json);
}

std::string span_line(const StoredSpan& span) {
  Json json{{"trace_id", hex(span.ids.trace)}, {"span_id", hex(span.ids.span)}};
  if (span.parent) json["parent_id"] = hex(*span.parent);
  json["name"] = span.name;
  json["kind"] = kind_text(span.kind);
  json["start_unix_nano"] = span.start_unix_nano;
  json["end_unix_nano"] = span.end_unix_nano;
  json["status"] = status_text(span.status);
  if (!span.status_text.empty()) json["status_text"] = span.status_text;
  json["service"] = span.service;
  json["instance_id"] = span.instance_id;
  add_worker(json, span.worker);
  Json attributes = Json::object();
  for (const auto& [key, value] : span.attributes) attributes[key] = value;
  json["attributes"] = std::move(attributes);
  if (span.attributes_left_out > 0) json["attributes_left_out"] = span.attributes_left_out;
  json["reconstructed"] = span.reconstructed;
  json["duplicate"] = span.duplicate;
  return line_of({{"v", 1}, {"span", std::move(json)}});
}

std::string fact_line(const ObserverFact& fact) {
  Json json{{"v", 1}, {"fact", fact.type}, {"text", fact.text}};
  if (fact.worker.service != kNoService) {
    json["service"] = fact.service;
    add_worker(json, fact.worker);
  }
  return line_of(json);
}

std::string end_line(bool kept) {
  Json json{{"v", 1}, {"end", true}};
  if (!kept) json["kept"] = false;
  return line_of(json);
}

std::string error_line(std::string_view why) { return line_of({{"v", 1}, {"ok", false}, {"error", why}}); }

std::optional<ObserverRequest> parse_request(std::string_view line, const char*& why) {
  const Json json = Json::parse(line, nullptr, false);
  why = "a request is a JSON object in one line, {\"v\":1,\"verb\":…}";
  if (!json.is_object()) return std::nullopt;
  const auto version = json.find("v");
  const auto verb = json.find("verb");
  if (version == json.end() || *version != 1 || verb == json.end() || !verb->is_string()) {
    return std::nullopt;
  }
  ObserverRequest request;
  request.verb = verb->get<std::string>();
  why = "the verbs are status, traces and follow";
  if (request.verb != "status" && request.verb != "traces" && request.verb != "follow") return std::nullopt;
  why = "service is a string, generation a number, duplicates and follow are true or false";
  if (!read_query(json, request)) return std::nullopt;
  return request;
}

}  // namespace runmain::telemetry
