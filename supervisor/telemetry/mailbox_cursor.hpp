// How far a mailbox was read: what a reader has to know again after its own death. Plain values that the
// caller keeps where no child can write.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "child_runtime/mailbox.h"
#include "telemetry/item.hpp"
#include "telemetry/mailbox_layout.hpp"

namespace runmain::telemetry {

// No counter of a child is taken for more: sums of such do not overflow, whatever children say. One that is
// overwritten does not get as far (MailboxReader::is_plausible()).
inline constexpr std::uint64_t kCounterMax = 1ULL << 48U;
// Between two looks no counter of a thread gets further: at 20 ns an event it takes a minute and a half.
inline constexpr std::uint64_t kCounterStepMax = 1ULL << 32U;

// What a lane's writer counts.
struct LaneCounters {
  std::uint64_t started = 0;
  std::uint64_t ended = 0;
  std::uint64_t not_sampled = 0;
  std::uint64_t cut = 0;
  std::uint64_t dictionary_full = 0;
  std::uint64_t open_full = 0;
  std::array<std::uint64_t, RUNMAIN_LOST_KINDS> lost{};

  std::uint64_t lost_all() const;
  // Takes over what is higher; what is lower (a lie) stays as it was.
  void merge(const LaneCounters& now);
  void add(const LaneCounters& other);
  // Whether each of these is at most a step above ours.
  bool within_a_step(const LaneCounters& now) const;

  friend bool operator==(const LaneCounters&, const LaneCounters&) = default;
  template <class A>
  void fields(A& a) {
    a("started", started);
    a("ended", ended);
    a("not_sampled", not_sampled);
    a("cut", cut);
    a("dictionary_full", dictionary_full);
    a("open_full", open_full);
    a("lost", lost);
  }
};

// How a process came to its end, as far as anybody knows.
struct Ending {
  enum class How : std::uint8_t { unknown, exited, killed };
  How how = How::unknown;
  std::int32_t number = 0;  // the exit status, or the signal
  std::uint64_t at_unix_nano = 0;
  template <class A>
  void fields(A& a) {
    a("how", how);
    a("number", number);
    a("at", at_unix_nano);
  }
};

enum class LaneStage : std::uint8_t {
  idle,     // nobody has it
  reading,  // a process has it, or its thread has ended and something is left
  gone,     // its process is gone and something may be left
  aside,    // it lies: read no more
  done,     // all is read: free as soon as that is saved
};

struct LaneCursor {
  std::uint32_t lane = 0;
  LaneStage stage = LaneStage::idle;
  std::uint32_t mode = 0;
  std::uint32_t round = 0;
  std::uint32_t pid = 0;
  std::uint64_t pid_started = 0;
  std::uint64_t position = 0;  // of the next record
  std::uint64_t spans = 0;  // read in this round, but for those in requests: its writer counts none of them
  LaneCounters counters;    // of this round
  Ending ending;
  // The last spans that were read: a process can die between writing one and giving its open slot back.
  std::array<SpanIds, 8> last{};
  std::uint32_t last_count = 0;
  bool adopted = false;   // it was in use before we read: `spans` are not all of this round
  bool unlikely = false;  // its counters cannot be true: they stay what they were before

  // What its writer has counted, or we where that cannot be true.
  LaneCounters believed() const;
  bool is_of(const LaneCursor& other) const { return pid == other.pid && pid_started == other.pid_started; }
  void remember(const SpanIds& ids) { last[last_count++ % last.size()] = ids; }
  template <class A>
  void fields(A& a) {
    a("lane", lane);
    a("stage", stage);
    a("mode", mode);
    a("round", round);
    a("pid", pid);
    a("pid_started", pid_started);
    a("position", position);
    a("spans", spans);
    a("counters", counters);
    a("ending", ending);
    a("last", last);
    a("last_count", last_count);
    a("adopted", adopted);
    a("unlikely", unlikely);
  }
};

// What was found in a mailbox, since it was made.
struct MailboxTallies {
  LaneCounters counters;  // as the lanes' writers say
  std::uint64_t no_lane = 0;
  std::uint64_t spans = 0;          // read, valid or not
  std::uint64_t requested = 0;      // of `spans`: in requests handed on whole, which no writer counts
  std::uint64_t logs = 0;           // read and valid
  std::uint64_t metrics = 0;        // read and valid
  std::uint64_t invalid_spans = 0;  // of `spans`
  std::uint64_t invalid_others = 0;
  std::uint64_t repaired = 0;
  std::uint64_t reconstructed = 0;    // spans that were open when their process died
  std::uint64_t open_invalid = 0;     // open slots with nonsense in them
  std::uint64_t open_forgotten = 0;   // spans whose lane was needed before they had ended
  std::uint64_t unknown_records = 0;  // of a kind or version that we do not know
  std::uint64_t bad_scopes = 0;       // records with a scope that is not in the dictionary
  std::uint64_t lanes_aside = 0;
  std::uint64_t unlikely = 0;  // rounds of lanes, or the header, whose counters cannot be true
  bool no_lane_unlikely = false;
  template <class A>
  void fields(A& a) {
    a("counters", counters);
    a("no_lane", no_lane);
    a("spans", spans);
    a("requested", requested);
    a("logs", logs);
    a("metrics", metrics);
    a("invalid_spans", invalid_spans);
    a("invalid_others", invalid_others);
    a("repaired", repaired);
    a("reconstructed", reconstructed);
    a("open_invalid", open_invalid);
    a("open_forgotten", open_forgotten);
    a("unknown_records", unknown_records);
    a("bad_scopes", bad_scopes);
    a("lanes_aside", lanes_aside);
    a("unlikely", unlikely);
    a("no_lane_unlikely", no_lane_unlikely);
  }
};

struct MailboxCursor {
  Geometry geometry;              // as the header said before any child could write there
  std::vector<LaneCursor> lanes;  // those that have been seen in use
  std::uint32_t next = 0;         // of these, whose turn it is
  MailboxTallies tallies;         // their counters: of rounds that have ended
  template <class A>
  void fields(A& a) {
    a("geometry", geometry);
    a("lanes", lanes);
    a("next", next);
    a("tallies", tallies);
  }
};

}  // namespace runmain::telemetry
