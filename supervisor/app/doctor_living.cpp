#include "app/doctor_living.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "app/doctor_guard.hpp"
#include "app/doctor_processes.hpp"
#include "app/doctor_records.hpp"
#include "app/doctor_requests.hpp"
#include "base/wall_time.hpp"
#include "cli/observer_link.hpp"
#include "control/client.hpp"
#include "os/linux/listening.hpp"
#include "os/linux/proc.hpp"
#include "os/linux/process_tree.hpp"
#include "os/linux/temporary_folder.hpp"
#include "os/loop/loop.hpp"

namespace runmain::app {
namespace {

using control::Json;

constexpr std::size_t kSpansMax = 20'000;
constexpr Duration kAnswerMax = std::chrono::seconds(10);
constexpr Duration kReloadMax = std::chrono::minutes(5);
constexpr int kLookMs = 50;
constexpr int kOnTheirWayMs = 1500;  // spans of the last request

Time in(Duration limit) { return os::Loop::now() + limit; }

// What has to be added to CLOCK_MONOTONIC for CLOCK_REALTIME, in nanoseconds.
std::int64_t wall_offset() { return wall_now_ns() - os::Loop::now().time_since_epoch().count(); }

Result<Json> service_of(const LivingPlan& plan) {
  auto client = control::Client::connect(plan.runtime + "/control", in(kAnswerMax));
  if (!client) return client.error();
  auto answer = client->call("status", Json::object(), in(kAnswerMax));
  if (!answer) return answer.error();
  for (const Json& service : answer->value.value("services", Json::array())) {
    if (control::text_of(service, "name") == plan.service) return service;
  }
  return Error{"no service is called \"" + plan.service + "\"", {}, "runmain status lists them", EINVAL};
}

std::vector<pid_t> pids_of(const Json& service) {
  std::vector<pid_t> pids;
  for (const Json& worker : service.value("workers", Json::array())) {
    const auto pid = worker.find("pid");
    if (pid != worker.end() && pid->is_number_integer() && pid->get<int>() > 0)
      pids.push_back(pid->get<int>());
  }
  return pids;
}

// "127.0.0.1:8000", "[::]:8000": the number behind the last colon.
std::uint16_t port_in(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos || address.rfind("unix:", 0) == 0 || address.rfind("udp:", 0) == 0) return 0;
  const auto port = os::parse_number(std::string_view(address).substr(colon + 1));
  return port && *port <= 65535 ? static_cast<std::uint16_t>(*port) : 0;
}

std::uint16_t port_of(const LivingPlan& plan, const Json& service, const std::vector<pid_t>& living) {
  if (plan.port != 0) return plan.port;
  for (const Json& address : service.value("listen", Json::array())) {
    if (address.is_string() && port_in(address.get<std::string>()) != 0)
      return port_in(address.get<std::string>());
  }
  const auto listening = os::listening_sockets(living);
  return listening.empty() ? 0 : listening.front().port;
}

int kind_of(const std::string& text) {
  static const std::map<std::string, int> kKinds = {
      {"internal", 1}, {"server", 2}, {"client", 3}, {"producer", 4}, {"consumer", 5}};
  const auto found = kKinds.find(text);
  return found == kKinds.end() ? 0 : found->second;
}

doctor::WireSpan span_of(const Json& json) {
  doctor::WireSpan span;
  span.trace = control::text_of(json, "trace_id");
  span.span = control::text_of(json, "span_id");
  span.parent = control::text_of(json, "parent_id");
  span.name = control::text_of(json, "name");
  span.kind = kind_of(control::text_of(json, "kind"));
  span.service = control::text_of(json, "service");
  span.instance_id = control::text_of(json, "instance_id");
  span.start_unix_nano = json.value("start_unix_nano", std::uint64_t{0});
  span.end_unix_nano = json.value("end_unix_nano", std::uint64_t{0});
  // Of two with the same ids the same times say that it is one, sent twice.
  span.digest = span.start_unix_nano ^ (span.end_unix_nano << 1U);
  return span;
}

// Those that began after `since`. No observer, no spans.
std::vector<doctor::WireSpan> spans_since(const LivingPlan& plan, std::uint64_t since) {
  std::vector<doctor::WireSpan> spans;
  auto link = cli::ObserverLink::connect(plan.runtime + "/observer", in(kAnswerMax));
  if (!link || !link->ask({{"v", 1}, {"verb", "traces"}, {"service", plan.service}}, in(kAnswerMax)))
    return spans;
  while (spans.size() < kSpansMax) {
    const auto line = link->next(in(kAnswerMax));
    if (!line) return spans;
    const Json& json = *line;
    if (json.contains("end") || json.contains("error")) return spans;
    const auto found = json.find("span");
    if (found == json.end() || !found->is_object()) continue;
    doctor::WireSpan span = span_of(*found);
    if (span.start_unix_nano >= since) spans.push_back(std::move(span));
  }
  return spans;
}

// Who sent what: the process that answered a request is the one whose span of a server began meanwhile.
void name_senders(doctor::Evidence& evidence, std::int64_t offset, pid_t otherwise) {
  std::map<std::string, pid_t> senders;
  for (const doctor::WireSpan& span : evidence.spans) {
    const auto at = static_cast<std::int64_t>(span.start_unix_nano) - offset;
    for (const doctor::Request& request : evidence.requests) {
      if (request.pid != 0 && request.begin <= at && at <= request.end)
        senders.emplace(span.instance_id, request.pid);
    }
  }
  for (doctor::WireSpan& span : evidence.spans) {
    const auto found = senders.find(span.instance_id);
    span.pid = found != senders.end() ? found->second : otherwise;
  }
}

Result<void> look(const LivingPlan& plan, doctor::Evidence& evidence, const std::function<bool()>& go_on) {
  const auto service = service_of(plan);
  if (!service) return service.error();
  const std::vector<pid_t> pids = pids_of(*service);
  if (pids.empty())
    return Error{
        plan.service + " has no worker that runs", {}, "runmain status; runmain why " + plan.service, ECHILD};
  std::set<std::uint64_t> tags;
  for (const pid_t pid : pids) tags.insert(os::tag_of(pid));
  tags.erase(0);
  DoctorProcesses processes(std::vector<std::uint64_t>(tags.begin(), tags.end()));
  processes.look();
  const std::uint16_t port = port_of(plan, *service, processes.living());
  if (port == 0)
    return Error{
        plan.service + " has no TCP address", {}, "which URL? --request http://127.0.0.1:PORT/path", EINVAL};
  evidence.one_at_a_time = false;  // others may ask it, too
  evidence.command = {"runmain", "service", plan.service};
  const std::int64_t offset = wall_offset();
  const auto since = static_cast<std::uint64_t>(os::Loop::now().time_since_epoch().count() + offset);
  (void)spans_since(plan, since);  // in prod mode spans are kept from the first question on
  drive_requests(processes, port, plan.path, evidence.requests, go_on);
  (void)poll(nullptr, 0, kOnTheirWayMs);
  processes.look();
  evidence.port = port;
  evidence.processes = processes.seen();
  evidence.ebpf = DoctorProcesses::ebpf();
  evidence.spans = spans_since(plan, since);
  name_senders(evidence, offset, pids.front());
  if (!go_on()) return Error{"interrupted", {}, {}, EINTR};
  const bool answered = std::any_of(evidence.requests.begin(), evidence.requests.end(),
                                    [](const doctor::Request& request) { return request.status != 0; });
  if (!answered)
    return Error{plan.service + " gave no answer of HTTP on port " + std::to_string(port),
                 {},
                 "runmain why " + plan.service + "; --request URL asks elsewhere",
                 ETIMEDOUT};
  return {};
}

// Who leaves may still accept; it has no probe. Bounded, as it may have long requests.
void wait_for_one_generation(const LivingPlan& plan, const std::function<bool()>& go_on) {
  const Time limit = in(kAnswerMax);
  while (os::Loop::now() < limit && go_on()) {
    const auto service = service_of(plan);
    if (!service) return;
    std::set<std::int64_t> generations;
    for (const Json& worker : service->value("workers", Json::array()))
      generations.insert(control::number_of(worker, "generation"));
    if (generations.size() <= 1) return;
    (void)poll(nullptr, 0, kLookMs);
  }
}

// A reload; `folder`: what its probes write to, empty: none any more.
Result<void> reload(const LivingPlan& plan, const std::string& folder) {
  auto client = control::Client::connect(plan.runtime + "/control", in(kAnswerMax));
  if (!client) return client.error();
  Json args{{"services", Json::array({plan.service})}};
  if (!folder.empty()) args["doctor"] = folder;
  const auto answer = client->call("reload", args, in(kReloadMax));
  if (!answer) return answer.error();
  return answer->ok ? Result<void>() : Result<void>(answer->error);
}

}  // namespace

Result<void> look_at_living(const LivingPlan& plan, doctor::Evidence& evidence,
                            const std::function<bool()>& go_on) {
  if (!plan.probes) return look(plan, evidence, go_on);
  // Where nobody else can put a file of that name once it is gone.
  auto folder = os::TemporaryFolder::make("doctor", plan.runtime);
  if (!folder) return folder.error();
  const auto guard = DoctorGuard::start(0, folder->path());
  if (!guard) return guard.error();
  if (auto reloaded = reload(plan, folder->path()); !reloaded) return reloaded.error();
  wait_for_one_generation(plan, go_on);
  auto looked = look(plan, evidence, go_on);
  read_records_in(folder->path(), evidence);
  const auto back = reload(plan, "");
  return looked ? back : looked;
}

}  // namespace runmain::app
