// Recent spans in memory, for `runmain traces`: found by service and generation, and followed.
//
// Invariant: bounded in bytes and spans; over that the oldest trace goes as a whole, counted, and no trace
// has more than half of the room. Of so many spans that the room would not last for `history` a share of the
// traces is kept, each as a whole: a person finds what came seconds ago, and to keep all of a flood for a
// moment would cost more than to export it. While it is off it holds nothing, and add() does nothing. Text is
// cut where a character ends. Thread: the loop's. Non-goal: what is not recent; that is a collector's.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "base/time.hpp"
#include "telemetry/item.hpp"

namespace runmain::telemetry {

struct TraceStoreLimits {
  std::size_t bytes = 16U << 20U;
  std::size_t spans = 50'000;
  std::size_t attributes = 32;  // of a span
  std::size_t text = 256;       // bytes of a name or value
  Duration history = std::chrono::seconds(5);
};

struct StoredSpan {
  ChildKey worker;
  std::string service;
  std::string instance_id;
  SpanIds ids;
  std::optional<std::array<std::uint8_t, 8>> parent;
  std::string name;
  std::int32_t kind = 0;
  std::uint64_t start_unix_nano = 0;
  std::uint64_t end_unix_nano = 0;
  std::int32_t status = 0;  // 0 unset, 1 ok, 2 error
  std::string status_text;
  std::vector<std::pair<std::string, std::string>> attributes;
  std::uint32_t attributes_left_out = 0;
  bool reconstructed = false;
  bool duplicate = false;  // another one with these ids is here
  std::size_t size() const;
};

// Nothing set: all.
struct TraceQuery {
  std::optional<std::string> service;
  std::optional<std::uint32_t> generation;
  bool duplicates = false;  // only those
  bool matches(const StoredSpan& span) const;
};

// The span that these bytes are, checked before; nothing if they are none.
std::optional<StoredSpan> decode_span(std::string_view bytes, const TraceStoreLimits& limits);

// Whose a span is, in words: the scope's name and the resource's attributes. What cannot be read is absent.
struct OriginWords {
  std::string scope;
  std::vector<std::pair<std::string, std::string>> resource;
};
OriginWords decode_origin(const Origin& origin, const TraceStoreLimits& limits);

class TraceStore {
 public:
  struct Counters {
    std::uint64_t added = 0;
    std::uint64_t duplicates = 0;
    std::uint64_t traces_gone = 0;  // over the limit
    std::uint64_t spans_gone = 0;
    std::uint64_t spans_refused = 0;   // of a trace that is too long
    std::uint64_t spans_left_out = 0;  // of traces that were not kept, as there were too many
  };

  explicit TraceStore(TraceStoreLimits limits = {});

  // Off: forgets everything.
  void set_on(bool on);
  bool on() const { return on_; }

  // Whose it is.
  struct Source {
    ChildKey worker;
    std::string service;
    std::string instance_id;
  };
  // What is added from now on came about now. To be called at least once a second while something is added.
  void at(Time now);
  // Returns true if a span with the same ids is here already.
  bool add(const Source& source, const Item& item);

  // Told after each span that was added, as long as the returned handle lives; may call everything but add(),
  // set_on() and this.
  [[nodiscard]] std::shared_ptr<void> on_added(std::function<void()> added);

  // The first one after number `after` (from 0 on) that is asked for, with its number; numbers rise in the
  // order of arrival. It stays as long as nothing is added.
  std::optional<std::pair<std::uint64_t, const StoredSpan*>> next(std::uint64_t after,
                                                                  const TraceQuery& query) const;
  std::uint64_t last_number() const { return last_number_; }

  std::size_t spans() const { return spans_; }
  std::size_t bytes() const { return bytes_; }
  const Counters& counters() const { return counters_; }

 private:
  using TraceId = std::array<std::uint8_t, 16>;
  // Keyed, as whoever writes spans chooses their ids.
  struct Hash {
    std::string key;
    std::size_t operator()(const TraceId& id) const;
  };
  struct Trace {
    struct Member {
      std::uint64_t number = 0;
      std::uint64_t id = 0;
    };
    std::vector<Member> members;
    // Numbers, once there are many members. Whoever chooses ids that collide slows down this one trace.
    std::unordered_map<std::uint64_t, std::uint64_t> by_id;
    std::size_t bytes = 0;
    std::optional<std::uint64_t> first_with(std::uint64_t id) const;
    void add(std::uint64_t number, std::uint64_t id);
  };
  struct Entry {
    std::uint64_t number = 0;
    std::unique_ptr<StoredSpan> span;  // null: gone, before an older one
  };
  // One trace in 2^share was kept from the one with number `first` on.
  struct Sharing {
    std::uint64_t first = 0;
    unsigned share = 0;
  };
  bool is_left_out(const TraceId& id) const;
  void note_share();
  bool has_room(const Trace& trace, std::size_t size) const;
  void drop_over_limit();
  void drop(std::uint64_t number);
  bool find_duplicate(Trace& trace, std::uint64_t number, StoredSpan& span);
  std::deque<Entry>::iterator find(std::uint64_t number);

  TraceStoreLimits limits_;
  bool on_ = false;
  std::deque<Entry> entries_;  // in the order of their numbers
  std::size_t spans_ = 0;      // of these, that are there
  std::unordered_map<TraceId, Trace, Hash> traces_;
  std::deque<TraceId> by_age_;  // as they began
  std::uint64_t last_number_ = 0;
  Time counted_since_{};
  std::uint64_t offered_ = 0;         // spans since then
  unsigned share_ = 0;                // one trace in 2^share_ is kept
  std::deque<Sharing> sharings_{{}};  // of the traces that are here, oldest first, and the present one
  unsigned loosest_ = 0;              // of these
  std::uint64_t traces_begun_ = 0;
  std::size_t bytes_ = 0;
  std::vector<std::weak_ptr<std::function<void()>>> added_;
  Counters counters_;
};

}  // namespace runmain::telemetry
