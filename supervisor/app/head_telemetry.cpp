// The head and the observer: what it is told, and what it has to tell.
#include <algorithm>

#include "app/head.hpp"
#include "app/telemetry_config.hpp"
#include "base/identity.hpp"

namespace runmain::app {

void Head::make_telemetry(std::vector<std::string> environment, drive::Bootstrap bootstrap) {
  Telemetry::Context c;
  c.open = [this](const keeper::OpenListener& wanted) { return keeper_.open_listener(wanted); };
  c.configure = [this](std::vector<std::string> argv, std::vector<std::string> listeners,
                       std::string_view configuration) {
    return keeper_.configure_observer(std::move(argv), std::move(listeners), configuration);
  };
  c.say = [this](const Line& line) { say(line); };
  if (auto program = find_observer()) c.program = std::move(*program);
  const bool disabled = is_sdk_disabled(environment);
  c.environment = std::move(environment);
  c.bootstrap = std::move(bootstrap);
  c.secret = greeting_.welcome.secret;
  c.runtime_dir = options_.runtime_dir;
  c.state_dir = options_.state_dir;
  telemetry_ = std::make_unique<Telemetry>(std::move(c));
  own_telemetry_ = std::make_unique<OwnTelemetry>(
      loop_, greeting_.welcome.secret, [this](ServiceId id) { return services_.name(id); }, disabled);
  observer_ =
      std::make_unique<ObserverClient>(loop_, telemetry_->socket(), [this](const Line& line) { say(line); });
}

// Before the orders to start what needs it.
void Head::refresh_telemetry() {
  telemetry_->refresh(services_, desired_.mode);
  const bool on = !telemetry_->receiver().empty();
  performer_->set_otlp(telemetry_->receiver(), desired_.mode == core::Mode::dev);
  performer_->set_observed(on);
  for (const core::ServiceView& view : machine_.snapshot().services) {
    if (auto* entry = services_.find(view.id)) entry->by_observer = telemetry_->takes(view.id);
  }
  const auto exports = [](const auto& entry) {
    return entry.second.spec.telemetry.enabled && entry.second.spec.telemetry.logs;
  };
  exports_logs_ = on && std::any_of(services_.all().begin(), services_.all().end(), exports);
  follow_output();
  if (!on) return;
  observer_->start();
  begin_own_telemetry();
}

// From the first observer on.
void Head::begin_own_telemetry() {
  auto& fds = greeting_.fds;
  if (own_telemetry_->begun() || fds.count(keeper::WelcomeFd::mailbox) == 0) return;
  const std::string instance = runmain::instance_id(greeting_.welcome.secret, kHeadKey);
  auto begun = own_telemetry_->begin(std::move(fds[keeper::WelcomeFd::mailbox]),
                                     std::move(fds[keeper::WelcomeFd::mailbox_wake]), instance,
                                     desired_.mode == core::Mode::dev);
  fds.erase(keeper::WelcomeFd::mailbox);
  if (!begun) say({Tone::bad, "the supervisor's own telemetry is lost, ignoring: " + begun.error().text()});
}

// A start reads the env files again, so their variables may be others by now.
void Head::note_start(const core::Fact& fact) {
  const bool starts =
      fact.type == core::FactType::reload_starting || fact.type == core::FactType::service_starting;
  const auto* entry = services_.find(fact.service);
  if (starts && entry != nullptr && !entry->spec.env_files.empty()) refresh_telemetry();
}

}  // namespace runmain::app
