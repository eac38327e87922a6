#include "app/head.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "app/orphans.hpp"
#include "app/unread.hpp"
#include "base/identity.hpp"
#include "base/named_archive.hpp"
#include "base/wall_time.hpp"

namespace runmain::app {
namespace {

std::vector<std::string> own_environment() {
  std::vector<std::string> all;
  for (char** e = environ; *e != nullptr; ++e) all.emplace_back(*e);
  return all;
}

std::uint64_t seed_of(const std::string& secret) {
  std::uint64_t seed = 1;
  std::memcpy(&seed, secret.data(), std::min(secret.size(), sizeof seed));
  return seed;
}

// The first Fact of what a change causes.
bool begins_generation(const core::Fact& fact, bool has_build) {
  if (has_build) return fact.type == core::FactType::reload_building && fact.number <= 1;
  return fact.type == core::FactType::reload_starting ||
         (fact.type == core::FactType::service_starting && fact.generation > 1);
}

constexpr std::size_t kTableAtOnce = 2000;  // files: about half a millisecond
constexpr Duration kTableLater = std::chrono::milliseconds(300);
constexpr Duration kHeadLate = std::chrono::milliseconds(250);  // late is who is later …
constexpr int kLateTurnsMax = 3;                                // … and not so often in a row
constexpr Duration kFarewell = std::chrono::seconds(3);  // for log files and terminal to take the last lines

}  // namespace

Head::Head(HeadOptions options, os::UniqueFd keeper_socket)
    : options_(std::move(options)), keeper_(std::move(keeper_socket)) {}

Head::~Head() {
  if (board_ != nullptr) munmap(board_, sizeof(keeper::Board));
}

int Head::run() {
  if (auto connected = connect(); !connected) {
    (void)!write(2, "runmain: no keeper; start me with `runmain up`\n", 47);
    return 2;
  }
  make_rooms();
  if (auto begun = begin(); !begun) {
    say({Tone::bad, begun.error().text()});
    if (!os::open_process(keeper_name_)) {
      on_keeper_lost();
      return status_;
    }
    if (greeting_.welcome.children.empty()) {
      finish(2);
    } else {
      terminal_->flush(kFarewell);  // who lives serves on, and the keeper tries another head
    }
    return 2;
  }
  keeper_.start(
      loop_, [this](const keeper::Happening& h) { on_happening(h); }, [this] { on_keeper_lost(); });
  loop_.before_sleep([this] { flush(); });
  loop_.run();
  return status_;
}

Result<void> Head::connect() {
  auto greeting = keeper_.greet();
  if (!greeting) return greeting.error();
  greeting_ = std::move(*greeting);
  keeper_name_ = os::name_of_process(getppid());
  void* at = mmap(nullptr, sizeof(keeper::Board), PROT_READ | PROT_WRITE, MAP_SHARED,
                  greeting_.fds[keeper::WelcomeFd::board].get(), 0);
  if (at == MAP_FAILED) return Error::from_errno("mmap", errno);
  board_ = static_cast<keeper::Board*>(at);
  return {};
}

void Head::make_rooms() {
  const keeper::Welcome& w = greeting_.welcome;
  auto& fds = greeting_.fds;
  const auto tell = [this](const std::string& text) { say({Tone::bad, text}); };
  machine_seed_ = seed_of(w.secret);
  machine_ = core::Machine(machine_seed_);
  terminal_ = std::make_unique<drive::OutputTerminal>(loop_, STDOUT_FILENO);
  lines_ = std::make_unique<drive::Log>([this](std::string_view line) { terminal_->print(line); },
                                        options_.detached, terminal_->colour());
  const drive::OutputFds output_fds{
      fds[keeper::WelcomeFd::rings].get(), fds[keeper::WelcomeFd::history].get(),
      fds[keeper::WelcomeFd::output_event].get(), fds[keeper::WelcomeFd::space_event].get()};
  output_ = std::make_unique<drive::Output>(loop_, board_, output_fds, *terminal_, tell);
  channel_ = std::make_unique<drive::Channel>(w.secret);
  readiness_ = std::make_unique<drive::Readiness>(loop_, [this](const core::Ready& ready) { feed(ready); });
  health_ = std::make_unique<drive::Health>(loop_, [this](const core::Event& seen) { feed(seen); });
  examiner_ = std::make_unique<drive::Examiner>(loop_, [this](const core::Event& seen) { feed(seen); });
  load_ = std::make_unique<drive::Load>(loop_, services_, children_,
                                        [this](const core::Load& load) { feed(load); });
  queues_ = std::make_unique<drive::QueueWatch>(loop_,
                                                [this](const ChildKey& key) { feed(core::QueueEmpty{key}); });
  channel_->watch_requests([this](ServiceId id) -> const core::RecycleSpec* {
    const drive::ServiceEntry* entry = services_.find(id);
    return entry == nullptr ? nullptr : &entry->spec.recycle;
  });
  channel_->watch_holders([this](const ChildKey& key) { return machine_.holders_of(key); });
  table_cell_ = std::make_unique<os::MemfdCell>(fds[keeper::WelcomeFd::table].get());
  if (auto saved = table_cell_->load(); saved && !saved->empty()) {
    (void)table_.restore(*saved);  // what cannot be read is as good as none: the first scan fills it
  }
  watcher_ = std::make_unique<drive::Watcher>(
      loop_, table_,
      drive::WatchCallbacks{[this](core::Changed changed) { on_change(std::move(changed)); },
                            [this](const core::Held& held) { on_held(held); }, tell});
  make_suspects();
  make_uncounted();
  drive::Performer::Context c;
  c.keeper = &keeper_;
  c.services = &services_;
  c.readiness = readiness_.get();
  c.health = health_.get();
  c.examiner = examiner_.get();
  c.queues = queues_.get();
  c.channel = channel_.get();
  c.children = &children_;
  c.spec_of = [this](const ChildKey& key) { return machine_.spec_of(key); };
  c.secret = w.secret;
  c.channel_path = options_.runtime_dir.empty() ? "" : options_.runtime_dir + "/channel";
  c.runtime_dir = options_.runtime_dir;
  c.environment = own_environment();
  c.bootstrap = drive::find_bootstrap();
  c.adopt = drive::find_adopt_library();
  const drive::Bootstrap bootstrap = c.bootstrap;
  c.tell = tell;
  c.feed = [this](const core::Event& answer) { feed(answer); };
  performer_ = std::make_unique<drive::Performer>(std::move(c));
  make_telemetry(own_environment(), bootstrap);
  browser_ = std::make_unique<Browser>(loop_, keeper_, [this] { return machine_.snapshot(); });
  stand_ins_ = std::make_unique<StandIns>(loop_, [this](ServiceId id) { return last_words(id); });
  reader_ = std::make_unique<drive::HappeningReader>(
      keeper_, *channel_, children_, services_, [this](const ChildKey& key, const std::string& text) {
        say({Tone::faint, services_.name(key.service) + ": " + text});
      });
  log_ = std::make_unique<drive::StateLog>(fds[keeper::WelcomeFd::state].get());
  if (const auto journal = fds.find(keeper::WelcomeFd::journal); journal != fds.end()) {
    journal_ = std::make_unique<drive::JournalWriter>(journal->second.get(),
                                                      [this](ServiceId id) { return services_.name(id); });
  }
  timer_ = loop_.timer([this] { on_timer(); });
  narrator_timer_ = loop_.timer([this] {
    for (const Line& line :
         narrator_.tell_due(os::Loop::now(), [this](ServiceId id) { return services_.name(id); }))
      say(line);
    narrator_timer_->set(narrator_.due());
  });
  table_timer_ = loop_.timer([] {});  // flush() does it
  make_keys();
  for (const keeper::ChildEntry& child : w.children)
    children_[child.key] = {child.pid, child.tag, false, child.sockets, child.kept};
}

Result<void> Head::begin() {
  if (!take_over()) {
    const bool first = greeting_.welcome.takeovers == 0 && greeting_.welcome.children.empty();
    auto begun = first ? start_fresh() : adopt();
    if (!begun) return begun;
  }
  auto& fds = greeting_.fds;
  if (const auto control = fds.find(keeper::WelcomeFd::control); control != fds.end()) {
    server_ = std::make_unique<control::Server>(loop_, control->second.get(), *this);
  }
  stand_ins_->begin(machine_.snapshot());
  output_->recover();
  watch_services();
  keeper_.begun();
  begun_ = true;
  return {};
}

// ---- events in
// ------------------------------------------------------------------------------------------------

void Head::on_happening(const keeper::Happening& happening) {
  if (happening.number <= happening_) return;  // told again after a takeover, handled before it
  happening_ = happening.number;
  if (const auto* signal = std::get_if<keeper::GotSignal>(&happening.what); signal && on_signal(*signal))
    return;
  for (const core::Event& event : reader_->read(happening)) {
    const auto* signalled = std::get_if<core::Signalled>(&event);
    if (signalled != nullptr && signalled->reads_again()) read_again();
    feed(event, happening.number);
  }
}

// Were we late ourselves (stopped, or without a CPU), perhaps all were: then what was to come meanwhile is
// not late. Where we are late time and again it is the machine's pace, and counts.
void Head::note_standstill() {
  if (!rested_) return;
  const Time rested = *std::exchange(rested_, std::nullopt);
  const Time now = os::Loop::now();
  if (suspended_at_ || due_ == kNever || now < due_) return;
  if (now - due_ <= kHeadLate) {
    late_turns_ = 0;
  } else if (late_turns_++ < kLateTurnsMax) {
    stood_still(now - rested);
  }
}

// All but what the core was told of already.
void Head::stood_still(Duration span) {
  const Time now = os::Loop::now();
  if (told_still_) span = std::min(span, now - *told_still_);
  told_still_ = now;
  if (span >= std::chrono::milliseconds(1)) feed(core::StoodStill{span});
}

void Head::feed(const core::Event& event, std::uint64_t happening) {
  note_standstill();
  const Time now = os::Loop::now();
  log_->append({happening, now, event});
  if (const auto* changed = std::get_if<core::Changed>(&event)) {
    narrator_.changes().noted(*changed);
    own_telemetry_->on_change(*changed, now);
  }
  out_.clear();
  machine_.handle(event, now, out_);
  if (const auto* ready = std::get_if<core::Ready>(&event); ready != nullptr && machine_.is_ready(ready->key))
    readiness_->stop(ready->key);
  if (journal_) to_journal_.push_back({machine_.event_number(), now, event, machine_.digest()});
  effects_.insert(effects_.end(), std::make_move_iterator(out_.effects.begin()),
                  std::make_move_iterator(out_.effects.end()));
  facts_.insert(facts_.end(), std::make_move_iterator(out_.facts.begin()),
                std::make_move_iterator(out_.facts.end()));
}

void Head::on_timer() {
  if (suspended_at_ || machine_.next_deadline() > os::Loop::now()) return;
  if (!keeper_.read_waiting()) return;  // what has come in time counts, also if we come to it late
  look_at_terminals();                  // who waits for a person is not late
  if (machine_.next_deadline() <= os::Loop::now()) feed(core::Tick{});
}

std::uint64_t Head::command(core::CommandVerb verb, std::vector<ServiceId> services, int signal_number,
                            std::uint32_t number) {
  core::Command command;
  command.verb = verb;
  command.services = std::move(services);
  command.signal = signal_number;
  command.number = number;
  command.request = ++request_;
  feed(command);
  return command.request;
}

// ---- effects out
// ----------------------------------------------------------------------------------------------

// Whatever was decided is in the state log before anybody hears of it.
void Head::commit() {
  if (auto written = log_->flush(); !written) {
    say({Tone::bad, "the state log cannot be written: " + written.error().text() + ", retrying"});
  }
  for (const Journaled& j : to_journal_) {
    if (auto written = journal_->append(j.number, j.time, wall_now_ns(), j.event, j.digest); !written) {
      say({Tone::bad, "the journal cannot be written: " + written.error().text() + ", ending it"});
      journal_.reset();
      break;
    }
  }
  to_journal_.clear();
}

void Head::flush() {
  keeper_.deliver_early();
  while (!effects_.empty()) {
    commit();
    prepare_facts();
    std::vector<core::Effect> effects = std::exchange(effects_, {});
    const auto closing =
        std::stable_partition(effects.begin(), effects.end(), [](const core::Effect& effect) {
          return !std::holds_alternative<core::CloseService>(effect.action);
        });
    for (auto effect = effects.begin(); effect != closing; ++effect) carry_out(*effect);
    keeper_.flush();  // a start does not wait until a terminal has taken our words
    tell_facts();     // before a service that is gone loses its name
    if (closing != effects.end()) trace_facts();
    for (auto effect = closing; effect != effects.end(); ++effect) carry_out(*effect);
  }
  commit();
  prepare_facts();
  if (happening_ > acknowledged_) {
    keeper_.acknowledge(happening_);
    acknowledged_ = happening_;
  }
  keeper_.flush();
  tell_facts();
  for (const auto& [request, error] : std::exchange(answers_, {})) {
    if (server_) server_->answered(request, error);
  }
  if (server_) server_->flush();
  trace_facts();
  checkpoint_if_wanted();
  save_table();
  rested_ = os::Loop::now();
  due_ = machine_.next_deadline();
  timer_->set(due_);
  follow_output();
  if (quitting_ && keeper_.idle()) {
    observer_->end();
    output_->flush(kFarewell);
    loop_.stop();
  }
}

// A large table takes its time, and what runs after a save must not wait for it. Until it is saved, a head
// that comes after us would tell the latest edits once more; it would lose none.
void Head::save_table() {
  if (!table_.dirty()) return;
  const Time now = os::Loop::now();
  if (table_.size() > kTableAtOnce && table_due_ == kNever) {
    table_due_ = now + kTableLater;
    table_timer_->set(table_due_);
  }
  if (table_due_ != kNever && now < table_due_) return;
  table_due_ = kNever;
  if (!table_cell_->store(table_.save())) say({Tone::bad, "the file table cannot be saved, retrying"});
}

void Head::carry_out(const core::Effect& effect) {
  if (const auto* answer = std::get_if<core::Answer>(&effect.action)) {
    answers_.emplace_back(answer->request, answer->error);
    return;
  }
  if (const auto* close = std::get_if<core::CloseService>(&effect.action)) {
    watcher_->remove(close->service);
    stand_ins_->forget(close->service);
  }
  // It may be ready by now: what was decided meanwhile, or before us, is carried out late.
  if (const auto* probe = std::get_if<core::Probe>(&effect.action); probe && machine_.is_ready(probe->key))
    return;
  if (std::holds_alternative<core::Quit>(effect.action)) trace_facts();
  performer_->perform(effect);
  if (const auto* quit = std::get_if<core::Quit>(&effect.action)) {
    status_ = quit->status;
    quitting_ = true;
  }
}

// Puts facts into words, and does what a child that is started now depends on: the paths that it is given,
// its sockets as it expects them. Before the orders; what may have to wait for a terminal comes after them.
void Head::prepare_facts() {
  const std::vector<core::Fact> facts = std::exchange(facts_, {});
  for (Line& line : narrator_.tell(facts, [this](ServiceId id) { return services_.name(id); }))
    to_say_.push_back(std::move(line));
  for (const core::Fact& fact : facts) {
    auto* entry = services_.find(fact.service);
    if (entry != nullptr && fact.type == core::FactType::reload_starting)
      entry->changed = narrator_.changes().paths(fact.service);
    stand_ins_->on_fact(fact);
    note_start(fact);
    to_trace_.push_back(fact);
    to_tell_.push_back(fact);
  }
}

void Head::tell_facts() {
  if (to_tell_.empty()) return;
  const std::vector<core::Fact> facts = std::exchange(to_tell_, {});
  if (desired_.clear && std::any_of(facts.begin(), facts.end(), [this](const core::Fact& fact) {
        const auto* entry = services_.find(fact.service);
        return entry != nullptr && begins_generation(fact, entry->spec.watch && entry->spec.watch->build);
      }))
    terminal_->clear();
  for (const Line& line : std::exchange(to_say_, {})) say(line);
  narrator_timer_->set(narrator_.due());
  for (const core::Fact& fact : facts) {
    stopping_ |= fact.type == core::FactType::shutdown_started;
    if (fact.type == core::FactType::child_started || fact.type == core::FactType::child_ready)
      suspects_->started(fact.service);
    uncounted_->on_fact(fact);
    tell_browser(fact);
    if (server_) server_->fact(fact, services_.name(fact.service));
  }
  browser_->look();
  if (server_) server_->changed();
}

// Nobody waits for these, so they come last; but before the observer is told to end.
void Head::trace_facts() {
  for (const core::Fact& fact : std::exchange(to_trace_, {})) own_telemetry_->on_fact(fact);
}

void Head::checkpoint_if_wanted() {
  if (!log_->wants_checkpoint()) return;
  drive::Checkpoint checkpoint;
  checkpoint.version = state_version();
  checkpoint.happening = happening_;
  checkpoint.request = request_;
  checkpoint.machine = machine_.save();
  checkpoint.desired = desired_;
  checkpoint.outbox = keeper_.outbox();
  for (const auto& [id, entry] : services_.all()) {
    if (entry.auto_port != 0) checkpoint.ports.emplace_back(entry.spec.name, entry.auto_port);
  }
  if (auto written = log_->write(checkpoint); !written) {
    say({Tone::bad, "the state cannot be saved: " + written.error().text() + ", retrying"});
  }
}

void Head::say(const Line& line) { lines_->say(line.tone, line.text); }

// Lines are only copied for clients that follow.
void Head::follow_output() {
  const bool wanted = (server_ && server_->follows_logs()) || exports_logs_;
  if (wanted == following_) return;
  following_ = wanted;
  if (!wanted) return output_->follow(nullptr);
  output_->follow([this](const drive::OutputLine& line) {
    if (server_ && server_->follows_logs()) server_->log_line(log_line(line));
    const auto* entry = exports_logs_ ? services_.find(line.service) : nullptr;
    if (entry != nullptr && entry->spec.telemetry.logs) own_telemetry_->on_line(line);
  });
}

// ---- the ends
// -------------------------------------------------------------------------------------------------

void Head::finish(int status) {
  core::Effect quit;
  quit.number = std::max(greeting_.welcome.executed, machine_.effect_number()) + 1;
  quit.action = core::Quit{status};
  performer_->perform(quit);
  keeper_.flush();
  output_->flush(kFarewell);
  status_ = status;
}

// The keeper was killed. Children that shall not outlive it are ended here, by their tags. What others have
// written is left first: the next keeper does not wait for ever.
void Head::on_keeper_lost() {
  if (!quitting_) {
    settle_moved(*board_, fd_of(keeper::WelcomeFd::ring_cursor));
    std::vector<std::uint64_t> tags;
    for (const auto& [key, child] : children_) {
      if (!child.kept || !key.is_worker()) tags.push_back(child.tag);
    }
    const std::size_t left = children_.size() - tags.size();
    end_orphans(tags, [&] {
      say({Tone::bad, left == 0 ? "the keeper is gone; its children were ended"
                                : "the keeper is gone; " + std::to_string(left) +
                                      " of its children live on, as on_keeper_death says"});
      if (begun_) {
        output_->flush(kFarewell);
      } else {
        terminal_->flush(kFarewell);  // what is in the rings has no place yet
      }
      if (left > 0) leave_unread();
    });
    status_ = 1;
  }
  loop_.stop();
}

// Whoever takes the children over goes on behind it. What stands there from before is in the rings, or was.
void Head::leave_unread() {
  if (options_.state_dir.empty()) return;
  const std::string record = options_.state_dir + "/adoption";
  const std::string path = keeper::unread_path(record);
  // Of another runmain's folder the keeper has kept its hands off; or nothing was to be written down.
  const auto table = keeper::read_adoption(record);
  if (!table || !(table->keeper == keeper_name_)) return;
  const keeper::UnreadOutput unread{keeper_name_, unread_in(*board_, fd_of(keeper::WelcomeFd::rings))};
  if (unread.streams.empty()) {
    unlink(path.c_str());
    return;
  }
  if (auto written = keeper::write_record(path, keeper::to_record(unread)); !written)
    say({Tone::bad, "what its children had begun to write is lost: " + written.error().text()});
}

int Head::fd_of(keeper::WelcomeFd which) const {
  const auto found = greeting_.fds.find(which);
  return found == greeting_.fds.end() ? -1 : found->second.get();
}

}  // namespace runmain::app
