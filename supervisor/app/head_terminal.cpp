// The person at the terminal: whose keys are pressed, and what ours do.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <tuple>
#include <utility>

#include "app/head.hpp"

namespace runmain::app {
namespace {

constexpr Duration kLookAgain = std::chrono::milliseconds(150);  // after an answer: does it wait still?
constexpr Duration kGoesOn = std::chrono::milliseconds(300);     // not waiting for so long, it goes on

}  // namespace

void Head::make_keys() {
  drive::Keys::Callbacks to;
  to.owner = [this] { return owner_of_keys(); };
  to.anyone = [this] { return anyone_at_pty(); };
  to.type = [this](const ChildKey& key, std::string_view bytes) {
    keeper_.type(key, bytes);
    look_again_->set(os::Loop::now() + kLookAgain);
  };
  to.act = [this](drive::KeyAction action) { on_key(action); };
  look_again_ = loop_.timer([this] { look_at_terminals(); });
  output_->on_quiet([this](const std::vector<ChildKey>&) { look_at_terminals(); });
  keys_ = std::make_unique<drive::Keys>(std::move(to));
  // With its output in a pipe the terminal is another's (`… | less`).
  const bool ours = !options_.detached && terminal_->tty();
  keyboard_ = std::make_unique<drive::Keyboard>(
      loop_, ours ? STDIN_FILENO : -1,
      [this](std::string_view bytes) { keys_->bytes(bytes, os::Loop::now()); });
}

// At the start, when services have changed, and when we may be in the foreground again.
void Head::set_up_terminal() {
  const bool raw = output_->passes_through();
  terminal_->set_raw(keyboard_->enter(raw) && raw);
}

// True if this signal is no Event.
bool Head::on_signal(const keeper::GotSignal& signal) {
  if (signal.signal == SIGCONT) {
    set_up_terminal();
    health_->hold(false);
    const auto since = std::exchange(suspended_at_, std::nullopt);
    // By Ctrl-Z without our doing (our output is in a pipe), the keeper knows for how long.
    const Duration span = since ? os::Loop::now() - *since : std::chrono::milliseconds(signal.stood_ms);
    if (span > Duration::zero()) stood_still(span);
    return true;
  }
  if (signal.signal != SIGINT || !signal.typed || !keyboard_->active()) return false;
  keyboard_->take();  // it was typed before
  return keys_->interrupt(keyboard_->interrupt_byte());
}

std::optional<ChildKey> Head::anyone_at_pty() const {
  std::optional<ChildKey> first;
  for (const auto& [key, child] : children_) {
    const auto* entry = services_.find(key.service);
    if (entry == nullptr || !entry->spec.pty || !key.is_worker()) continue;
    const auto order = [](const ChildKey& k) { return std::tuple(k.service.value, k.slot, ~k.generation); };
    if (!first || order(key) < order(*first)) first = key;
  }
  return first;
}

bool Head::any_at_pty() const { return anyone_at_pty().has_value(); }

std::vector<keeper::TerminalSeen> Head::look_at_terminals() {
  if (!any_at_pty()) {
    keyboard_->set_signals(true);
    return {};
  }
  auto seen = keeper_.look_at_terminals();
  if (!seen) return {};
  note_terminals(*seen);
  const auto* owner = owner_in(*seen);
  keyboard_->set_signals(owner == nullptr || owner->signals);
  return std::move(*seen);
}

// Looked at only when something happens: output that ends inside a line, any output of one that waits, a key,
// a change, a deadline. At rest nobody looks.
void Head::note_terminals(const std::vector<keeper::TerminalSeen>& seen) {
  std::erase_if(at_terminal_, [this](const auto& entry) { return !children_.contains(entry.first); });
  const Time now = os::Loop::now();
  bool any = false;
  for (const keeper::TerminalSeen& one : seen) {
    // A head before us may have told that it waits.
    Waiting& waiting =
        at_terminal_.try_emplace(one.key, Waiting{greeting_.welcome.takeovers > 0}).first->second;
    if (one.stands || !waiting.told) waiting.until = kNever;
    if (waiting.told && !one.stands) {
      // It may be at work on an answer and ask on: a debugger. What was queued would end the session.
      if (waiting.until == kNever) waiting.until = now + kGoesOn;
      if (now < waiting.until) {
        look_again_->set(waiting.until);
        any = true;
        continue;
      }
    }
    any |= one.stands;
    if (waiting.told == one.stands) continue;
    waiting = Waiting{one.stands};
    feed(core::AtTerminal{one.key, one.stands});
  }
  output_->listen_closely(any);
}

const keeper::TerminalSeen* Head::owner_in(const std::vector<keeper::TerminalSeen>& seen) const {
  const keeper::TerminalSeen* owner = nullptr;
  for (const keeper::TerminalSeen& one : seen) {
    if (one.wants_keys && (owner == nullptr || (one.stands && !owner->stands))) owner = &one;
  }
  return stopping_ ? nullptr : owner;
}

std::optional<drive::Keys::Owner> Head::owner_of_keys() {
  const auto seen = look_at_terminals();
  if (const auto* owner = owner_in(seen))
    return drive::Keys::Owner{owner->key, owner->signals, owner->stands};
  const auto unknown = std::find_if(seen.begin(), seen.end(), [](const auto& one) { return one.unknown; });
  if (unknown != seen.end() && !std::exchange(told_unknown_, true)) {
    say({Tone::faint, services_.name(unknown->key.service) +
                          ": cannot see whether it waits for a line; Ctrl-] i types one to it"});
  }
  return std::nullopt;
}

void Head::on_key(drive::KeyAction action) {
  switch (action) {
    case drive::KeyAction::restart: command(core::CommandVerb::reload, {}, 0, 0); return;
    case drive::KeyAction::pause: return pause(!paused_);
    case drive::KeyAction::clear: return terminal_->clear();
    case drive::KeyAction::quit: return feed(core::Signalled{SIGINT});
    case drive::KeyAction::help: return say_keys();
    case drive::KeyAction::suspend:
      keyboard_->leave();
      terminal_->set_raw(false);
      suspended_at_ = os::Loop::now();
      health_->hold(true);
      keeper_.suspend_job();
      return;
  }
}

// Changes are gathered as if a tool were at work in each tree.
void Head::pause(bool on) {
  if (on != paused_) {
    say({Tone::faint, on ? "paused: changes wait, p goes on" : "going on: changes reload again"});
  }
  paused_ = on;
  for (const auto& [id, entry] : services_.all()) {
    if (entry.spec.watch) feed(core::Held{id, on || held_by_tools_.contains(id)});
  }
}

void Head::on_held(const core::Held& held) {
  if (held.on) {
    held_by_tools_.insert(held.service);
  } else {
    held_by_tools_.erase(held.service);
  }
  feed(core::Held{held.service, held.on || paused_});
}

void Head::say_keys() {
  say({Tone::plain, "r restart, p pause, c clear, q quit, Ctrl-C stop (twice forces), Ctrl-Z suspend"});
  say({Tone::plain,
       "while a program waits at its terminal, keys are its own: then Ctrl-] before a key means runmain"});
  say({Tone::plain, "Ctrl-] i: what follows, up to Enter, goes to the program whether it waits or not"});
}

}  // namespace runmain::app
