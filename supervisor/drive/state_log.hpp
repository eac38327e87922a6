// The head's memory that outlives it: every Event in a memfd of the keeper's, before anything is done about
// it.
//
// The core is a value machine, so its state is a checkpoint plus the Events since; a new head replays them
// and stands where the old one stood, effects and their numbers included. An append is one pwrite(2) of about
// a hundred bytes a turn of the loop, whatever the number of services; a snapshot of the whole state at each
// Event would not be.
//
// Layout: a header of 64 bytes names the epoch; area epoch % 2 holds frames: u32 length, u32 checksum (seeded
// with the epoch), payload. The first frame is a checkpoint, the others are batches of Events. A frame that
// is torn or of another epoch ends the area. All is written with the names of its fields, so that the
// programs of the next and the last version can go on with it (base/named_archive.hpp). A checkpoint is
// written to the other area and then named by the header, 16 bytes in one pwrite. Invariant: recover()
// returns everything that flush() returned success for. Bound: kLogMin bytes or four times the checkpoint,
// then wants_checkpoint(). Thread: one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "core/effect.hpp"
#include "core/event.hpp"

namespace runmain::drive {

inline constexpr std::uint64_t kLogMin = 256U << 10U;

struct LoggedEvent {
  std::uint64_t happening = 0;  // the keeper's number, 0 for an Event that came from elsewhere
  Time time{};
  core::Event event;
  template <class A>
  void fields(A& a) {
    a("happening", happening);
    a("time", time);
    a("event", event);
  }
};

struct Checkpoint {
  std::uint32_t version = 0;    // state_version() of the program that wrote it
  std::uint64_t happening = 0;  // the last one handled
  std::uint64_t request = 0;    // the last request number given to a control client
  std::string machine;          // core::Machine::save()
  core::Desired desired;
  std::vector<core::Effect> outbox;                          // effects that the keeper may not have executed
  std::vector<std::pair<std::string, std::uint16_t>> ports;  // port = "auto": what each service was given
  template <class A>
  void fields(A& a) {
    a("version", version);
    a("happening", happening);
    a("request", request);
    a("machine", machine);
    a("desired", desired);
    a("outbox", outbox);
    a("ports", ports);
  }
};

class StateLog {
 public:
  // `fd` is the keeper's memfd, the caller's for the life of this.
  explicit StateLog(int fd) : fd_(fd) {}

  struct Recovered {
    Checkpoint checkpoint;
    std::vector<LoggedEvent> events;
  };
  // What stands in the memfd: nothing in a fresh one. On failure (torn, of a version that this program does
  // not read) the log is not to be used (cold start).
  Result<std::optional<Recovered>> recover();

  void append(const LoggedEvent& event);
  // Writes what was appended. On failure (ENOMEM of the memfd) it is kept and tried again with the next
  // flush.
  Result<void> flush();

  bool wants_checkpoint() const { return !started_ || end_ > limit_; }
  // Starts the log anew. Requires: everything appended is flushed.
  Result<void> write(const Checkpoint& checkpoint);

 private:
  std::string frame(const std::string& payload, std::uint64_t epoch) const;
  std::uint64_t area(std::uint64_t epoch) const;

  int fd_;
  bool started_ = false;
  std::uint64_t epoch_ = 0;
  std::uint64_t end_ = 0;  // bytes used in the area
  std::uint64_t limit_ = 0;
  std::string pending_;  // encoded events, not yet framed
};

}  // namespace runmain::drive
