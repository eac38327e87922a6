#include "telemetry/duplicates.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/identity.hpp"

namespace runmain::telemetry {
namespace {

constexpr std::size_t kTableMin = 64;
// Of one pair of ids. More would make looking for them slow, and tell nothing new.
constexpr int kVersionsMax = 8;
constexpr std::uint64_t kReusedMin = 3;    // a span that is exported while it is open may come once more
constexpr std::uint64_t kRequestsMin = 3;  // with copies among others

std::string key_for(std::string_view secret, char purpose) {
  std::string key;
  for (const char half : {'1', '2'}) {
    const std::uint64_t word = siphash24(secret, std::string("runmain duplicates ") + purpose + half);
    for (unsigned shift = 0; shift < 64; shift += 8) key += static_cast<char>((word >> shift) & 0xffU);
  }
  return key;
}

std::uint64_t first_of(const ChildKey& key) { return std::uint64_t{key.service.value} << 32U | key.slot; }
std::uint64_t second_of(const ChildKey& key) { return std::uint64_t{key.generation} << 32U | key.attempt; }

ChildKey key_of(std::uint64_t first, std::uint64_t second) {
  const auto high = [](std::uint64_t word) { return static_cast<std::uint32_t>(word >> 32U); };
  const auto low = [](std::uint64_t word) { return static_cast<std::uint32_t>(word & 0xffffffffU); };
  return {ServiceId{high(first)}, low(first), high(second), low(second)};
}

std::vector<DuplicateCause> causes_of(const DuplicateTally& tally) {
  std::vector<DuplicateCause> causes;
  // Two of five: the copies of what came last may still be on their way.
  const bool most = tally.duplicates() > 0 && tally.duplicates() * 5 >= tally.spans * 2;
  // Who has had an answer on a connection does not send again what it was for. By another one it may, once,
  // as the first one broke.
  const bool surely = tally.same_request + tally.same_connection > 0;
  if (most && (surely || tally.requests > 1)) causes.push_back(DuplicateCause::each_twice);
  if (!most && tally.requests >= kRequestsMin) causes.push_back(DuplicateCause::some_twice);
  if (tally.reused_ids >= kReusedMin) causes.push_back(DuplicateCause::reused_ids);
  if (tally.shared_ids > 0) causes.push_back(DuplicateCause::shared_ids);
  return causes;
}

std::string spans(std::uint64_t n) { return std::to_string(n) + (n == 1 ? " span" : " spans"); }

}  // namespace

std::string to_text(const DuplicateNote& note, std::string_view who, std::string_view other) {
  const DuplicateTally& tally = note.tally;
  const std::string name(who);
  switch (note.cause) {
    case DuplicateCause::each_twice:
      return name + " sends each span twice, byte by byte (" + std::to_string(tally.duplicates()) + " of " +
             spans(tally.spans) +
             " so far are copies): one exporter in two processors, or two exporters to "
             "one address? Each is forwarded once";
    case DuplicateCause::some_twice:
      return name + " sends spans twice, byte by byte (" + std::to_string(tally.duplicates()) + " of " +
             spans(tally.spans) +
             " so far are copies): a process that forks with spans in its queue, or "
             "answers that it did not wait for? Each is forwarded once";
    case DuplicateCause::reused_ids:
      return name + " sends spans with ids that it has used, but other content (" + spans(tally.reused_ids) +
             " so far): two exporters that are set up differently, or processes that were forked with the "
             "same random numbers? All are forwarded";
    case DuplicateCause::shared_ids:
      return name + " sends spans with the ids of spans of " + std::string(other) + " (" +
             spans(tally.shared_ids) +
             " so far): both come from one process that had spans before it "
             "forked, or runs the same random numbers? All are forwarded";
  }
  return name;
}

// ---- what is remembered

void Duplicates::Table::put(const Slot& slot) {
  const std::size_t mask = slots.size() - 1;
  std::size_t at = static_cast<std::size_t>(slot.ids) & mask;
  while (slots[at].ids != 0) at = (at + 1) & mask;
  slots[at] = slot;
  ++used;
}

// False: it is full.
bool Duplicates::Table::add(const Slot& slot, std::size_t limit) {
  if ((used + 1) * 4 > slots.size() * 3) {
    if (slots.size() >= limit) return false;
    std::vector<Slot> before(std::max(slots.size() * 2, std::min(kTableMin, limit)));
    before.swap(slots);
    used = 0;
    for (const Slot& old : before) {
      if (old.ids != 0) put(old);
    }
  }
  put(slot);
  return true;
}

void Duplicates::Window::remember(const Slot& slot, std::size_t limit) {
  if (young.add(slot, limit)) return;
  old = std::move(young);
  young = Table();
  young.add(slot, limit);
}

template <class Use>
void Duplicates::Window::each(std::uint64_t ids, const Use& use) const {
  for (const Table* table : {&young, &old}) {
    if (table->slots.empty()) continue;
    const std::size_t mask = table->slots.size() - 1;
    for (std::size_t at = static_cast<std::size_t>(ids) & mask; table->slots[at].ids != 0;
         at = (at + 1) & mask) {
      if (table->slots[at].ids == ids) use(table->slots[at]);
    }
  }
}

// ---- looking

Duplicates::Duplicates(std::string_view secret, DuplicateLimits limits) : limits_(limits) {
  keys_[0] = key_for(secret, 'i');
  keys_[1] = key_for(secret, 'a');
  keys_[2] = key_for(secret, 'b');
}

Sighting Duplicates::look(const ChildKey& worker, const Arrival& arrival, const Item& span) {
  std::array<char, 24> ids{};
  std::copy(span.ids.trace.begin(), span.ids.trace.end(), ids.begin());
  std::copy(span.ids.span.begin(), span.ids.span.end(), ids.begin() + 16);
  Slot slot;
  slot.ids = std::max<std::uint64_t>(1, siphash24(keys_[0], {ids.data(), ids.size()}));
  slot.first = siphash24(keys_[1], span.bytes);
  slot.second = siphash24(keys_[2], span.bytes);
  slot.connection = static_cast<std::uint32_t>(arrival.connection);
  slot.request = static_cast<std::uint32_t>(arrival.request);
  Sighting found;
  found.digest = {slot.first, slot.second};
  Child& from = child(worker);
  look_among_own(from, slot, found);
  if (!found.is_duplicate()) look_among_others(worker, slot, found);
  count(from, arrival, found);
  changed_ = changed_ || from.changed;
  return found;
}

Duplicates::Child& Duplicates::child(const ChildKey& worker) {
  auto found = children_.find(worker);
  if (found == children_.end()) {
    if (!children_.empty() && children_.size() >= limits_.children) forget(silent_longest()->first);
    found = children_.try_emplace(worker).first;
  }
  found->second.last_look = ++looks_;
  return found->second;
}

Duplicates::Children::iterator Duplicates::silent_longest() {
  return std::min_element(children_.begin(), children_.end(), [](const auto& a, const auto& b) {
    return a.second.last_look < b.second.last_look;
  });
}

void Duplicates::forget(const ChildKey& worker) {
  const auto found = children_.find(worker);
  if (found == children_.end()) return;
  give_up(found->second.window);
  children_.erase(found);
}

void Duplicates::give_up(Window& window) {
  size_ -= window.size();
  window = Window();
}

// What was counted of a child stays.
void Duplicates::make_room(const Child& keep) {
  while (size_ > limits_.all_spans) {
    Child* silent = nullptr;
    for (auto& [worker, child] : children_) {
      if (&child == &keep || child.window.size() == 0) continue;
      if (silent == nullptr || child.last_look < silent->last_look) silent = &child;
    }
    if (silent == nullptr) return;
    give_up(silent->window);
  }
}

void Duplicates::look_among_own(Child& child, const Slot& slot, Sighting& found) {
  int versions = 0;
  child.window.each(slot.ids, [&](const Slot& seen) {
    ++versions;
    if (seen.first != slot.first || seen.second != slot.second) return;
    found.copy = seen.request == slot.request         ? Copy::same_request
                 : seen.connection == slot.connection ? Copy::same_connection
                                                      : Copy::other_connection;
  });
  if (found.is_duplicate()) return;
  found.reused_ids = versions > 0;
  if (versions >= kVersionsMax) return;
  size_ -= child.window.size();
  child.window.remember(slot, limits_.spans);
  size_ += child.window.size();
  make_room(child);
}

void Duplicates::look_among_others(const ChildKey& worker, const Slot& slot, Sighting& found) {
  Slot sender = slot;
  sender.first = first_of(worker);
  sender.second = second_of(worker);
  bool is_known = false;
  int versions = 0;
  senders_.each(slot.ids, [&](const Slot& seen) {
    ++versions;
    if (seen.first == sender.first && seen.second == sender.second) {
      is_known = true;
    } else if (!found.other_child) {
      found.other_child = key_of(seen.first, seen.second);
    }
  });
  if (!is_known && versions < kVersionsMax) senders_.remember(sender, limits_.spans);
}

// ---- counting, and what is said about it

void Duplicates::count(Child& child, const Arrival& arrival, const Sighting& found) {
  DuplicateTally& tally = child.tally;
  ++tally.spans;
  if (found.copy == Copy::same_request) ++tally.same_request;
  if (found.copy == Copy::same_connection) ++tally.same_connection;
  if (found.copy == Copy::other_connection) ++tally.other_connection;
  if (found.is_duplicate()) {
    if (tally.requests == 0 || child.last_request != arrival.request) ++tally.requests;
    child.last_request = arrival.request;
  }
  if (found.reused_ids) ++tally.reused_ids;
  if (found.other_child && tally.shared_ids++ == 0) tally.other_child = *found.other_child;
  if (found.is_duplicate() || found.reused_ids || found.other_child) child.changed = true;
}

std::vector<DuplicateNote> Duplicates::take_notes() {
  std::vector<DuplicateNote> notes;
  if (!std::exchange(changed_, false)) return notes;
  for (auto& [worker, child] : children_) {
    if (!std::exchange(child.changed, false)) continue;
    for (const DuplicateCause cause : causes_of(child.tally)) {
      bool& told = child.told[static_cast<std::size_t>(cause)];
      if (!told) notes.push_back({worker, cause, child.tally});
      told = true;
    }
  }
  return notes;
}

const DuplicateTally* Duplicates::tally(const ChildKey& worker) const {
  const auto found = children_.find(worker);
  return found == children_.end() ? nullptr : &found->second.tally;
}

}  // namespace runmain::telemetry
