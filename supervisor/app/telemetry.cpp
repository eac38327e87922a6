#include "app/telemetry.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "app/telemetry_config.hpp"
#include "base/archive.hpp"
#include "keeper/observer_messages.hpp"
#include "telemetry/observer_config.hpp"

namespace runmain::app {
namespace {

constexpr std::size_t kWarnedMax = 1000;
constexpr const char* kProgram = "runmain-observer";

}  // namespace

Result<std::string> find_observer() {
  char self[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self);
  if (n <= 0) return Error::from_errno("read /proc/self/exe", errno);
  const std::string path(self, static_cast<std::size_t>(n));
  const std::string beside = path.substr(0, path.rfind('/') + 1) + kProgram;
  if (access(beside.c_str(), X_OK) == 0) return beside;
  return Error{std::string(kProgram) + " is missing", {}, "looked for " + beside, ENOENT};
}

std::string Telemetry::socket() const { return c_.runtime_dir.empty() ? "" : c_.runtime_dir + "/observer"; }

bool Telemetry::wanted(const drive::ServiceTable& services) const {
  if (!c_.configure) return false;
  if (!told_.empty()) return true;  // there is one already: what is off now is told to it
  return std::any_of(services.all().begin(), services.all().end(),
                     [](const auto& entry) { return entry.second.spec.telemetry.enabled; });
}

void Telemetry::refresh(const drive::ServiceTable& services, core::Mode mode) {
  if (!wanted(services)) return;
  std::string bytes = configuration(services, mode);
  warn_of_auto(services);
  if (bytes == told_) return;
  if (told_.empty() && !dev_ && with_destination_.empty()) return;  // no process for what nobody would hear
  if (c_.program.empty())
    return say_once(std::string(kProgram) + " is missing: there is no telemetry, ignoring");
  if (auto opened = open_sockets(); !opened)
    return say_once("there is no telemetry, ignoring: " + opened.error().text());
  if (auto told = c_.configure({c_.program}, listeners_, bytes); !told)
    return say_once("the observer cannot be told its configuration, ignoring: " + told.error().text());
  told_ = std::move(bytes);
  receiver_ = bound_;
}

// Those that the keeper has already are found.
Result<void> Telemetry::open_sockets() {
  if (!listeners_.empty()) return {};
  keeper::OpenListener receiver;
  receiver.id = telemetry::kOtlpListener;
  receiver.kind = static_cast<std::uint8_t>(core::AddressKind::tcp);
  receiver.host = "127.0.0.1";
  auto opened = c_.open(receiver);
  if (!opened) return opened.error();
  std::vector<std::string> listeners{receiver.id};
  if (!socket().empty()) {
    keeper::OpenListener questions;
    questions.id = telemetry::kObserverListener;
    questions.kind = static_cast<std::uint8_t>(core::AddressKind::unix_path);
    questions.path = socket();
    if (auto asked = c_.open(questions); !asked) return asked.error();
    listeners.push_back(questions.id);
  }
  bound_ = opened->opened.bound;
  listeners_ = std::move(listeners);
  return {};
}

std::string Telemetry::configuration(const drive::ServiceTable& services, core::Mode mode) {
  std::vector<TelemetryService> all;
  for (const auto& [id, entry] : services.all())
    all.push_back({id, entry.spec.name, entry.spec.telemetry, telemetry_variables(entry.spec)});
  TelemetryPlan plan = plan_telemetry(all, c_.environment);
  for (const std::string& warning : plan.warnings) say_once(warning);
  dev_ = mode == core::Mode::dev;
  with_destination_.clear();
  for (const telemetry::ObservedService& service : plan.services) {
    if (service.destination != telemetry::kNoDestination) with_destination_.insert(service.id);
  }
  telemetry::ObserverConfig config;
  config.secret = c_.secret;
  config.folder = c_.state_dir.empty() ? "" : c_.state_dir + "/telemetry";
  config.dev = dev_;
  config.destinations = std::move(plan.destinations);
  config.services = std::move(plan.services);
  // What the supervisor tells of itself goes where most goes: to the first one.
  config.services.push_back(
      {kNoService, "runmain", config.destinations.empty() ? telemetry::kNoDestination : 0});
  std::string bytes = to_binary(config);
  if (bytes.size() <= keeper::kObserverConfigurationMax) return bytes;
  say_once("nothing is exported: the variables of all services together are too long");
  config.destinations.clear();
  for (telemetry::ObservedService& service : config.services) service.destination = telemetry::kNoDestination;
  return to_binary(config);
}

// What is asked for and cannot be.
void Telemetry::warn_of_auto(const drive::ServiceTable& services) {
  for (const auto& [id, entry] : services.all()) {
    const core::TelemetrySpec& spec = entry.spec.telemetry;
    if (!spec.automatic || !spec.enabled || spec.direct) continue;
    if (c_.bootstrap.empty()) {
      say_once("share/runmain is missing beside the executables: telemetry.auto does nothing, ignoring");
    } else if (!takes(id)) {
      say_once(entry.spec.name + ": telemetry.auto does nothing without an endpoint to export to, ignoring");
    } else if (!c_.bootstrap.others_can_read && !(entry.spec.user.empty() && entry.spec.group.empty())) {
      say_once(entry.spec.name +
               ": telemetry.auto does nothing, as other users may not read share/runmain, ignoring");
    }
  }
}

void Telemetry::say_once(const std::string& text) {
  if (warned_.size() < kWarnedMax && warned_.insert(text).second) c_.say({Tone::bad, text});
}

}  // namespace runmain::app
