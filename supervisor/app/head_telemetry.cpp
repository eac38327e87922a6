// The head and the observer: what it is told, and what it has to tell.
#include "app/head.hpp"

namespace runmain::app {
namespace {

// How an observer is configured, and who hears of it; nothing where the keeper knows of no observer.
template <class Keeper, class Configure>
void use_keeper(Keeper& keeper, Configure& configure) {
  if constexpr (requires(std::vector<std::string> words, std::string_view bytes) {
                  keeper.configure_observer(words, words, bytes);
                }) {
    configure = [&keeper](std::vector<std::string> argv, std::vector<std::string> listeners,
                          std::string_view configuration) -> Result<void> {
      return keeper.configure_observer(std::move(argv), std::move(listeners), configuration);
    };
  }
}

template <class Performer>
void set_observed(Performer& performer, bool on) {
  if constexpr (requires { performer.set_observed(on); }) performer.set_observed(on);
}

}  // namespace

void Head::make_telemetry(std::vector<std::string> environment) {
  Telemetry::Context c;
  c.open = [this](const keeper::OpenListener& wanted) { return keeper_.open_listener(wanted); };
  use_keeper(keeper_, c.configure);
  c.say = [this](const Line& line) { say(line); };
  if (auto program = find_observer()) c.program = std::move(*program);
  c.environment = std::move(environment);
  c.secret = greeting_.welcome.secret;
  c.runtime_dir = options_.runtime_dir;
  c.state_dir = options_.state_dir;
  telemetry_ = std::make_unique<Telemetry>(std::move(c));
  observer_ =
      std::make_unique<ObserverClient>(loop_, telemetry_->socket(), [this](const Line& line) { say(line); });
}

// Before the orders to start what needs it.
void Head::refresh_telemetry() {
  telemetry_->refresh(services_, desired_.mode);
  const bool on = !telemetry_->receiver().empty();
  performer_->set_otlp(telemetry_->receiver(), desired_.mode == core::Mode::dev);
  set_observed(*performer_, on);
  if (on) observer_->start();
}

// A start reads the env files again, so their variables may be others by now.
void Head::note_start(const core::Fact& fact) {
  const bool starts =
      fact.type == core::FactType::reload_starting || fact.type == core::FactType::service_starting;
  const auto* entry = services_.find(fact.service);
  if (starts && entry != nullptr && !entry->spec.env_files.empty()) refresh_telemetry();
}

}  // namespace runmain::app
