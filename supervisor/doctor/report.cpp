#include "doctor/report.hpp"
#include <map>

#include "doctor/judge.hpp"
#include "doctor/look.hpp"

namespace runmain::doctor {
namespace {

using Json = nlohmann::ordered_json;

Json process_json(const Evidence& e, const Process& p) {
  Json json{{"pid", p.pid},   {"parent", p.parent},     {"role", role_of(e, p.pid)},
            {"argv", p.argv}, {"requests", p.requests}, {"probe", !p.runtime.empty()}};
  if (!p.runtime.empty()) json["runtime"] = p.runtime;
  if (p.forked && *p.forked) json["forked"] = true;
  if (!p.hooks.empty()) json["hooks"] = p.hooks;
  if (!p.injectors.empty()) json["injectors"] = p.injectors;
  if (!p.signs.empty()) json["signs"] = p.signs;
  if (!p.settings.empty()) json["settings"] = p.settings;
  return json;
}

Json processors_of(const Evidence& e, const ProviderMade& provider) {
  Json all = Json::array();
  for (const ProcessorAdded& p : e.processors) {
    if (p.provider != provider.id || (p.pid != provider.pid && Look(e).forked_from(p.pid) != provider.pid))
      continue;
    Json json{{"class", p.type}, {"pid", p.pid}, {"at", place_of(p.stack)}};
    if (!p.exporter_type.empty()) json["exporter"] = p.exporter_type;
    if (!p.endpoint.empty()) json["endpoint"] = p.endpoint;
    if (!p.protocol.empty()) json["protocol"] = p.protocol;
    all.push_back(std::move(json));
  }
  return all;
}

Json provider_json(const Evidence& e, const ProviderMade& provider) {
  bool is_set = false;
  for (const ProviderSet& set : e.sets) {
    if (set.pid == provider.pid && set.provider == provider.id) is_set = is_set || set.accepted;
  }
  Json instrumentations = Json::array();
  for (const Instrumented& i : e.instrumented) {
    if (i.pid == provider.pid && !i.refused)
      instrumentations.push_back({{"class", i.type}, {"at", place_of(i.stack)}, {"automatic", i.automatic}});
  }
  return {{"pid", provider.pid},
          {"class", provider.type},
          {"at", place_of(provider.stack)},
          {"set", is_set},
          {"processors", processors_of(e, provider)},
          {"instrumentations", std::move(instrumentations)},
          {"resource", provider.resource}};
}

Json finding_json(const Evidence& e, const Finding& f) {
  Json seen = Json::array();
  if (f.seen_by.hooks) seen.push_back("hooks");
  if (f.seen_by.spans) seen.push_back("spans");
  if (f.seen_by.proc) seen.push_back("proc");
  Json stacks = Json::array();
  for (const Side& side : f.sides) {
    stacks.push_back({{"pid", side.pid},
                      {"role", role_of(e, side.pid)},
                      {"what", side.what},
                      {"shown", shown_frames(side.stack)},
                      {"stack", side.stack}});
  }
  const Process* process = Look(e).process(f.pid);
  return {{"parent", process == nullptr ? 0 : process->parent},
          {"cause", id_of(f.cause)},
          {"title", title_of(f.cause)},
          {"pid", f.pid},
          {"role", role_of(e, f.pid)},
          {"sure", to_text(f.sure)},
          {"seen_by", std::move(seen)},
          {"stacks", std::move(stacks)},
          {"evidence", f.evidence},
          {"fix", f.fix}};
}

const char* reach_text(Reach reach) {
  return reach == Reach::answers ? "answers" : reach == Reach::refused ? "refused" : "silent";
}

}  // namespace

nlohmann::ordered_json to_json(const Evidence& e, const std::vector<Finding>& findings) {
  Json json{{"v", 1}, {"command", e.command}};
  Json served = Json::array();
  const Look look(e);
  for (const pid_t pid : look.serving()) served.push_back(pid);
  std::size_t answered = 0;
  for (const Request& request : e.requests) answered += request.status != 0 ? 1 : 0;
  json["served"] = {{"pids", std::move(served)},
                    {"requests", e.requests.size()},
                    {"answered", answered},
                    {"spans", e.spans.size()}};
  std::map<int, std::size_t> statuses;
  for (const Request& request : e.requests) ++statuses[request.status];
  Json told = Json::object();
  for (const auto& [status, times] : statuses) told[status == 0 ? "none" : std::to_string(status)] = times;
  json["served"]["statuses"] = std::move(told);
  json["served"]["port"] = e.port;
  json["served"]["listens"] = e.ports;
  json["processes"] = Json::array();
  for (const Process& p : e.processes) json["processes"].push_back(process_json(e, p));
  json["providers"] = Json::array();
  for (const ProviderMade& p : e.providers) json["providers"].push_back(provider_json(e, p));
  json["collectors"] = Json::array();
  for (const Collector& c : e.collectors)
    json["collectors"].push_back({{"endpoint", c.endpoint}, {"reach", reach_text(c.reach)}});
  json["findings"] = Json::array();
  for (const Finding& f : findings) json["findings"].push_back(finding_json(e, f));
  json["notes"] = notes_of(e);
  if (e.records_lost > 0) json["records_lost"] = e.records_lost;
  return json;
}

}  // namespace runmain::doctor
