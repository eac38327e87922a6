// Spans that come twice by OTLP, and what that says about their program. For each child the latest spans are
// remembered by keyed hashes:
// - the same bytes again are a duplicate, which is forwarded once;
// - the same ids with other bytes, or from another child, are counted and named, and are forwarded;
// - the same span id in another trace is legal and is not noticed.
//
// Invariant: memory has bounds (DuplicateLimits), whatever comes; without the key nobody can make one span
// look like another. Of a child the latest three quarters of `spans` are remembered and up to as many again;
// once all is full, those that were silent longest are forgotten. A plain value: no clock. Non-goal: spans
// out of mailboxes, which come once.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.hpp"
#include "telemetry/item.hpp"

namespace runmain::telemetry {

struct DuplicateLimits {
  std::size_t spans = 64U << 10U;     // of one child (a power of two), 32 bytes each, at most twice
  std::size_t all_spans = 1U << 20U;  // of all children
  std::size_t children = 1024;        // with what was counted of them
};

// Where a span came from: Received::connection and Received::request.
struct Arrival {
  std::uint64_t connection = 0;
  std::uint64_t request = 0;
};

enum class Copy : std::uint8_t { none, same_request, same_connection, other_connection };

// Of a span's bytes, by a key: of the same bytes the same one for as long as the keeper lives.
using SpanDigest = std::array<std::uint64_t, 2>;

struct Sighting {
  Copy copy = Copy::none;               // of the same bytes: to be forwarded no more
  bool reused_ids = false;              // its child has sent them with other bytes
  std::optional<ChildKey> other_child;  // has sent them, too
  SpanDigest digest{};
  bool is_duplicate() const { return copy != Copy::none; }
};

// Of one child.
struct DuplicateTally {
  std::uint64_t spans = 0;  // that were looked at
  std::uint64_t same_request = 0;
  std::uint64_t same_connection = 0;
  std::uint64_t other_connection = 0;
  std::uint64_t requests = 0;  // that brought duplicates
  std::uint64_t reused_ids = 0;
  std::uint64_t shared_ids = 0;
  ChildKey other_child;  // the first one of shared_ids
  std::uint64_t duplicates() const { return same_request + same_connection + other_connection; }
};

enum class DuplicateCause : std::uint8_t { each_twice, some_twice, reused_ids, shared_ids };
inline constexpr std::size_t kDuplicateCauses = 4;

// What is to be said about a child, each cause once.
struct DuplicateNote {
  ChildKey worker;
  DuplicateCause cause = DuplicateCause::each_twice;
  DuplicateTally tally;
};

// "web[1] (generation 4) sends each span twice, byte by byte: …". `who` and `other`: what the children are
// called.
std::string to_text(const DuplicateNote& note, std::string_view who, std::string_view other);

class Duplicates {
 public:
  explicit Duplicates(std::string_view secret, DuplicateLimits limits = {});

  // Looks for the span and remembers it. To be called for spans that are taken only.
  Sighting look(const ChildKey& worker, const Arrival& arrival, const Item& span);
  // What has become clear. To be called after the last span of a request: in its middle it may look
  // otherwise.
  std::vector<DuplicateNote> take_notes();
  // nullptr: nothing came from it, or it is forgotten.
  const DuplicateTally* tally(const ChildKey& worker) const;
  void forget(const ChildKey& worker);
  std::size_t remembered_max() const { return size_; }  // spans that there is memory for

 private:
  struct Slot {
    std::uint64_t ids = 0;  // a hash; 0: empty
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    std::uint32_t connection = 0;
    std::uint32_t request = 0;
  };
  // Open addressing, growing up to a limit; nothing is taken out.
  struct Table {
    std::vector<Slot> slots;
    std::size_t used = 0;
    bool add(const Slot& slot, std::size_t limit);
    void put(const Slot& slot);
  };
  // Two tables: once the younger one is full, the older one is given up.
  struct Window {
    Table young;
    Table old;
    std::size_t size() const { return young.slots.size() + old.slots.size(); }
    void remember(const Slot& slot, std::size_t limit);
    template <class Use>
    void each(std::uint64_t ids, const Use& use) const;
  };
  struct Child {
    Window window;
    DuplicateTally tally;
    std::uint64_t last_look = 0;
    std::uint64_t last_request = 0;  // that brought duplicates
    bool changed = false;            // there may be something to be said
    bool told[kDuplicateCauses] = {};
  };
  using Children = std::map<ChildKey, Child>;

  Child& child(const ChildKey& worker);
  Children::iterator silent_longest();
  void give_up(Window& window);
  void make_room(const Child& keep);
  void look_among_own(Child& child, const Slot& slot, Sighting& found);
  void look_among_others(const ChildKey& worker, const Slot& slot, Sighting& found);
  static void count(Child& child, const Arrival& arrival, const Sighting& found);

  DuplicateLimits limits_;
  std::string keys_[3];
  Children children_;
  std::size_t size_ = 0;  // of all children's windows
  bool changed_ = false;  // some child
  Window senders_;        // of ids: first and second are a ChildKey
  std::uint64_t looks_ = 0;
};

}  // namespace runmain::telemetry
