#include "app/observer_finder.hpp"

#include "doctor/judge.hpp"
#include "telemetry/encoding.hpp"

namespace runmain::app {
namespace {

constexpr std::size_t kInstancesMax = 4096;

template <std::size_t N>
std::string hex(const std::array<std::uint8_t, N>& id) {
  return telemetry::to_hex({reinterpret_cast<const char*>(id.data()), id.size()});
}

// What spans alone can say while a program lives.
bool is_told(doctor::Cause cause) {
  return cause == doctor::Cause::auto_and_manual || cause == doctor::Cause::repeated_ids;
}

}  // namespace

void ObserverFinder::add(const telemetry::StoredSpan& stored) {
  if (stored.reconstructed) return;  // no word of the program
  if (instances_.size() >= kInstancesMax) {
    instances_.clear();
    sources_.clear();
    spans_.clear();
  }
  const auto [instance, is_new] = instances_.try_emplace(stored.service + '\0' + stored.instance_id,
                                                         static_cast<pid_t>(instances_.size() + 1));
  if (is_new) sources_[instance->second] = {stored.service, stored.worker};
  doctor::WireSpan span;
  span.pid = instance->second;
  span.trace = hex(stored.ids.trace);
  span.span = hex(stored.ids.span);
  if (stored.parent) span.parent = hex(*stored.parent);
  span.name = stored.name;
  span.kind = stored.kind;
  span.start_unix_nano = stored.start_unix_nano;
  span.end_unix_nano = stored.end_unix_nano;
  span.digest = stored.start_unix_nano ^ (stored.end_unix_nano << 1U);
  spans_.push_back(std::move(span));
  if (spans_.size() > kSpansMax) spans_.pop_front();
}

std::vector<telemetry::ObserverFact> ObserverFinder::look() {
  doctor::Evidence evidence;
  evidence.one_at_a_time = false;
  evidence.spans.assign(spans_.begin(), spans_.end());
  std::set<pid_t> here;
  for (const doctor::WireSpan& span : spans_) here.insert(span.pid);
  for (const pid_t pid : here) {
    doctor::Process process;
    process.pid = pid;
    evidence.processes.push_back(std::move(process));
  }
  std::vector<telemetry::ObserverFact> facts;
  for (const doctor::Finding& finding : doctor::judge(evidence)) {
    const auto source = sources_.find(finding.pid);
    if (!is_told(finding.cause) || source == sources_.end() || told_.size() >= kToldMax) continue;
    const std::string& service = source->second.service;
    if (!told_.emplace(service, static_cast<int>(finding.cause)).second) continue;
    std::string text =
        service + ": " +
        (finding.evidence.empty() ? doctor::title_of(finding.cause) : finding.evidence.front());
    text += " (" + std::string(doctor::id_of(finding.cause)) + "); next: runmain doctor " + service;
    facts.push_back({"spans.doubled", std::move(text), service, source->second.worker});
  }
  return facts;
}

}  // namespace runmain::app
