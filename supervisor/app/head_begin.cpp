// How a head begins: with the file, from the state log of the head before it, or from the keeper's table
// alone.
#include <algorithm>

#include "app/changes.hpp"
#include "app/head.hpp"
#include "base/identity.hpp"
#include "core/limits.hpp"

namespace runmain::app {
namespace {

// The configuration file itself is watched under an id that no service has.
constexpr ServiceId kConfigFile{0xfffffffeU};

}  // namespace

Result<void> Head::start_fresh() {
  auto desired = read_configuration(options_);
  if (!desired) return desired.error();
  auto configuration = open_sockets(std::move(*desired), keeper_, services_);
  if (!configuration) return configuration.error();
  if (journal_) {
    if (auto begun = journal_->begin(machine_seed_); !begun) return begun.error();
  }
  use(*configuration);
  feed(core::Configured{desired_, options_.only});
  name_services(*configuration);
  say_start();
  return {};
}

// Stands where the last head stood: the checkpoint, then its Events again. Orders that the keeper has not
// executed are given once more. False if there is no log that can be used.
bool Head::take_over() {
  if (greeting_.welcome.takeovers == 0 || greeting_.welcome.cold) return false;
  auto recovered = log_->recover();
  if (!recovered || !*recovered) return false;
  drive::StateLog::Recovered& r = **recovered;
  if (!machine_.restore(r.checkpoint.machine)) return false;
  desired_ = std::move(r.checkpoint.desired);
  happening_ = r.checkpoint.happening;
  request_ = r.checkpoint.request;
  std::vector<core::Effect> effects = std::move(r.checkpoint.outbox);
  for (const drive::LoggedEvent& logged : r.events) {
    if (const auto* configured = std::get_if<core::Configured>(&logged.event)) desired_ = configured->desired;
    if (const auto* adopted = std::get_if<core::Adopted>(&logged.event)) desired_ = adopted->desired;
    if (const auto* command = std::get_if<core::Command>(&logged.event))
      request_ = std::max(request_, command->request);
    happening_ = std::max(happening_, logged.happening);
    out_.clear();
    machine_.handle(logged.event, logged.time, out_);
    effects.insert(effects.end(), out_.effects.begin(), out_.effects.end());
    if (journal_) to_journal_.push_back({machine_.event_number(), logged.time, logged.event, std::nullopt});
  }
  if (journal_) resume_journal();
  auto configuration = open_sockets(desired_, keeper_, services_);  // all of them are there already
  if (!configuration) return false;
  use(*configuration);
  name_services(*configuration);
  for (const auto& [name, port] : r.checkpoint.ports) {
    for (const auto& [id, entry] : services_.all()) {
      if (entry.spec.name == name) services_.at(id).auto_port = port;
    }
  }
  for (const core::Effect& effect : effects) {
    // What the keeper has executed since says nothing of a question to us; an answer too many is ignored.
    const bool question = std::holds_alternative<core::Measure>(effect.action) ||
                          std::holds_alternative<core::Examine>(effect.action);
    const bool done = effect.number <= greeting_.welcome.executed && !question;
    if (!done && !std::holds_alternative<core::Answer>(effect.action)) effects_.push_back(effect);
  }
  for (const core::ServiceView& service : machine_.snapshot().services) {
    for (const core::WorkerView& worker : service.workers) {
      if (worker.state == core::WorkerState::starting) performer_->probe(worker.key);
      if (worker.state == core::WorkerState::ready) performer_->watch_health(worker.key, true);
      // Which quiet the head before us has waited for is not known: the longer one.
      if (worker.state == core::WorkerState::retiring)
        performer_->await_queue({worker.key, core::kQueueQuietLast});
      const bool killed =
          worker.state == core::WorkerState::killing || worker.state == core::WorkerState::sweeping;
      if (const auto child = children_.find(worker.key); killed && child != children_.end())
        child->second.killed = true;
    }
  }
  feed(core::HeadStarted{greeting_.welcome.takeovers});
  pause(false);  // whether the old head was asked to pause is not known; what tools hold is told anew
  return true;
}

// The journal may lack the last Events before the old head died: they come from the state log.
void Head::resume_journal() {
  auto last = drive::last_seq(greeting_.fds[keeper::WelcomeFd::journal].get());
  if (!last) {
    say({Tone::bad, "the journal cannot be continued: " + last.error().text()});
    journal_.reset();
    to_journal_.clear();
    return;
  }
  std::erase_if(to_journal_, [&](const Journaled& j) { return j.number <= *last; });
}

// Heads have died too fast, or of another version: the keeper's table is the truth, intent comes from the
// configuration that was last in force if it can still be read, else from the file.
Result<void> Head::adopt() {
  core::Adopted adopted;
  bool known = false;
  // The children are of a keeper before ours, which has told a person of them.
  const bool of_another_keeper = greeting_.welcome.takeovers == 0;
  if (auto recovered = log_->recover(); recovered && *recovered) {
    adopted.desired = (**recovered).checkpoint.desired;
    known = !adopted.desired.services.empty();
    happening_ = (**recovered).checkpoint.happening;
    for (const drive::LoggedEvent& logged : (**recovered).events) {
      if (const auto* configured = std::get_if<core::Configured>(&logged.event))
        adopted.desired = configured->desired;
    }
  }
  if (!known) {
    auto desired = read_configuration(options_);
    if (!desired) return desired.error();
    adopted.desired = std::move(*desired);
  }
  auto configuration = open_sockets(adopted.desired, keeper_, services_);
  if (!configuration) return configuration.error();
  for (const keeper::ChildEntry& child : greeting_.welcome.children) {
    adopted.children.push_back({child.key, child.service, child.pid, child.alive});
  }
  adopted.executed = greeting_.welcome.executed;
  adopted.only = options_.only;
  if (of_another_keeper && journal_) {
    if (auto begun = journal_->begin(machine_seed_); !begun) return begun.error();
  }
  use(*configuration);
  feed(adopted);
  take_ports();
  name_services(*configuration);
  if (of_another_keeper) {
    say_start();
    return {};
  }
  say({Tone::bad, "the supervisor started anew from the keeper's table; everything that lived goes on"});
  return {};
}

// Who lives was told where to listen; others of its service get a port beside it.
void Head::take_ports() {
  for (const core::ServiceView& view : machine_.snapshot().services) {
    for (const keeper::ChildEntry& child : greeting_.welcome.children) {
      if (child.port != 0 && child.service == view.name) services_.at(view.id).auto_port = child.port;
    }
  }
}

void Head::use(const Configuration& configuration) { desired_ = configuration.desired; }

// The core has given ids to the names: what drive knows of each service goes under them.
void Head::name_services(Configuration& configuration) {
  std::vector<std::pair<ServiceId, core::ServiceSpec>> named;
  std::vector<std::string> dropped;
  for (const core::ServiceView& view : machine_.snapshot().services) {
    const auto spec = std::find_if(desired_.services.begin(), desired_.services.end(),
                                   [&](const core::ServiceSpec& s) { return s.name == view.name; });
    if (spec == desired_.services.end()) continue;
    drive::ServiceEntry& entry = services_.at(view.id);
    const auto sockets = configuration.sockets.find(view.name);
    for (const drive::LaunchListener& old : entry.listeners) {
      const auto same = [&](const drive::LaunchListener& l) { return l.id == old.id; };
      if (std::none_of(sockets->second.listeners.begin(), sockets->second.listeners.end(), same))
        dropped.push_back(old.id);
    }
    entry.spec = *spec;
    entry.listeners = sockets->second.listeners;
    entry.inodes = sockets->second.inodes;
    if (spec->port && *spec->port == 0 && entry.auto_port == 0) {
      if (auto port = drive::pick_ports(std::max(spec->workers, spec->workers_max))) entry.auto_port = *port;
    }
    stand_ins_->know(view.id, view.name, std::move(sockets->second.for_stand_in));
    named.emplace_back(view.id, *spec);
  }
  std::erase_if(dropped, [this](const std::string& id) { return services_.uses(id); });  // handed over
  if (!dropped.empty()) keeper_.close_listeners(std::move(dropped));
  load_->refresh();
  output_->configure(named);
  set_up_terminal();
  refresh_telemetry();
  open_browser();
}

// Where a service wants it; pages may have been told of older generations by a head before this one.
void Head::open_browser() {
  const auto wants = [](const auto& entry) { return entry.second.spec.browser; };
  const auto& all = services_.all();
  if (desired_.mode != core::Mode::dev || std::none_of(all.begin(), all.end(), wants)) return;
  if (auto opened = browser_->open(); !opened) {
    say({Tone::bad, "pages cannot be reloaded, ignoring: " + opened.error().text()});
    return;
  }
  performer_->set_browser(browser_->script());
  for (const core::ServiceView& view : machine_.snapshot().services) {
    const drive::ServiceEntry* entry = services_.find(view.id);
    if (entry != nullptr && entry->spec.browser && view.state == core::ServiceState::ready)
      browser_->ready(view.id, view.generation);
  }
  browser_->look();
}

void Head::tell_browser(const core::Fact& fact) {
  if (fact.type != core::FactType::service_ready && fact.type != core::FactType::reload_done) return;
  const drive::ServiceEntry* entry = services_.find(fact.service);
  if (entry != nullptr && entry->spec.browser) browser_->ready(fact.service, fact.generation);
}

void Head::watch_services() {
  for (const auto& [id, entry] : services_.all()) {
    if (entry.spec.watch) {
      watcher_->set(id, *entry.spec.watch);
    } else {
      watcher_->remove(id);
    }
  }
  if (desired_.mode != core::Mode::dev || !options_.desired.empty()) return;
  core::WatchSpec file;
  file.paths = {options_.config};
  watcher_->set(kConfigFile, file);
}

// A new configuration, or the old one goes on and the caller is told why.
Result<void> Head::apply() {
  if (!options_.desired.empty()) return {};  // flags do not change
  auto desired = read_configuration(options_);
  if (!desired) return desired.error();
  auto configuration = open_sockets(std::move(*desired), keeper_, services_);
  if (!configuration) return configuration.error();
  use(*configuration);
  feed(core::Configured{desired_, {}});
  name_services(*configuration);
  watch_services();
  return {};
}

void Head::make_suspects() {
  Suspects::Asks asks;
  asks.suspected = [this](ServiceId id) { return machine_.suspects(id); };
  asks.files_at_rest = [this] { return watcher_->at_rest(); };
  asks.tags = [this](ServiceId id) {
    std::vector<std::uint64_t> tags;
    for (const auto& [key, child] : children_) {
      if (key.service == id) tags.push_back(child.tag);
    }
    return tags;
  };
  suspects_ = std::make_unique<Suspects>(loop_, std::move(asks));
}

void Head::make_uncounted() {
  Uncounted::Asks asks;
  asks.wants_counts = [this](ServiceId id) {
    const auto* entry = services_.find(id);
    return entry != nullptr && entry->spec.recycle.requests > 0;
  };
  asks.has_told = [this](ServiceId id) {
    const bool lives = std::any_of(children_.begin(), children_.end(), [&](const auto& child) {
      return child.first.service == id && child.first.is_worker();
    });
    return !lives || channel_->has_told(id);
  };
  asks.warn = [this](ServiceId id) {
    say({Tone::bad, services_.name(id) + ": told to replace a worker after " +
                        std::to_string(services_.at(id).spec.recycle.requests) +
                        " requests, but no worker has told a request in its first minute, and what is not "
                        "told is not counted (docs/contract.md); --max-lifetime needs no telling"});
  };
  uncounted_ = std::make_unique<Uncounted>(loop_, std::move(asks));
}

void Head::on_change(core::Changed changed) {
  if (!leave_out(changed, {options_.runtime_dir, options_.state_dir})) return;
  if (changed.service != kConfigFile) {
    const auto* entry = services_.find(changed.service);
    if (entry != nullptr && entry->spec.pty)
      look_at_terminals();  // one that waits for a person is left alone
    changed.by_others = machine_.suspects(changed.service) && suspects_->cleared(changed.service);
    feed(changed);
    return;
  }
  read_again();
}

// SIGHUP, or the file has changed: nobody waits for an answer, so a person is told.
void Head::read_again() {
  if (!options_.desired.empty()) return;
  if (auto applied = apply(); applied) {
    say({Tone::good, "the configuration was read again"});
  } else {
    say({Tone::bad, applied.error().text()});
    say({Tone::bad, "the old configuration stays in force"});
  }
}

void Head::say_start() {
  say({Tone::plain, std::string("version " RUNMAIN_VERSION ", ") +
                        (desired_.mode == core::Mode::dev ? "dev" : "prod") + ", " + desired_.file +
                        (options_.detached     ? ""
                         : keyboard_->active() ? " (Ctrl-C stops, ? helps)"
                                               : " (Ctrl-C stops)")});
  for (const auto& [id, entry] : services_.all()) {
    for (const drive::LaunchListener& l : entry.listeners) {
      say({Tone::plain, entry.spec.name + ": listening on " + l.bound});
    }
  }
  if (!browser_->script().empty())
    say({Tone::plain,
         "pages with <script async src=\"" + browser_->script() + "\"></script> reload by themselves"});
}

}  // namespace runmain::app
