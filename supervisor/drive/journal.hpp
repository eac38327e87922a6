// The journal: every Event of the core with its time, one JSON object a line, so that `runmain replay`
// reaches the same state.
//
//   {"v":1,"type":"journal.header","version":"0.1.0","seed":7}
//   {"v":1,"seq":1,"time":"2025-01-02T03:04:05.000000006Z","mono_ns":…,"type":"child.exited","service":0,"slot":0,
//    "generation":1,"pid":123,"cause":0,"data":{…},"digest":"00f1…"}
//
// `data` is the whole Event; the keys before it are for people and tools. `digest` is the core's state after
// it. Invariant: a line is written by one write(2), so that only the last line can be torn; a torn line was
// never acted on by a reader. Non-goal: rotation; opening files for writing. Thread: one.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "core/event.hpp"
#include "os/linux/fd.hpp"

namespace runmain::drive {

inline constexpr int kJournalVersion = 1;
inline constexpr std::size_t kJournalLineMax = 64U
                                               << 20U;  // bytes; a configuration of 10,000 services has 10 MB
inline constexpr std::size_t kJournalNestingMax = 32;

struct JournalHeader {
  std::string version;     // of the runmain that wrote it
  std::uint64_t seed = 0;  // of its core
};

struct JournalEntry {
  std::uint64_t seq = 0;
  Time mono{};
  std::int64_t wall_ns = 0;  // since 1970
  core::Event event;
  std::optional<std::uint64_t> digest;
};

class JournalWriter {
 public:
  // The fd stays the caller's; it is open for appending. `name_of` gives a service's name for the key
  // "service"; without it, or where it gives an empty text, the number of the id is written.
  explicit JournalWriter(int fd, std::function<std::string(ServiceId)> name_of = {})
      : fd_(fd), name_of_(std::move(name_of)) {}

  // The first line, once in the life of a journal. On failure the errno of write(2).
  Result<void> begin(std::uint64_t seed);
  // One Event, numbered by the caller from 1 without gaps. On failure the errno of write(2); the line may be
  // torn.
  Result<void> append(std::uint64_t seq, Time mono, std::int64_t wall_ns, const core::Event& event,
                      std::optional<std::uint64_t> digest);

 private:
  int fd_;
  std::function<std::string(ServiceId)> name_of_;
};

class JournalReader {
 public:
  // On failure an Error with at = "FILE:LINE": no such file, no header, or one of another version.
  static Result<JournalReader> open(const std::string& path);

  const JournalHeader& header() const { return header_; }
  // The next entry, nothing at the end. On failure an Error with at = "FILE:LINE"; reading may not go on
  // then.
  Result<std::optional<JournalEntry>> next();
  // True once the end was reached and the last line had no newline: its writer died, the line does not count.
  bool torn() const { return torn_; }

 private:
  JournalReader(os::UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  Result<std::optional<std::string>> line();
  Error fault(const std::string& message) const;

  os::UniqueFd fd_;
  std::string path_;
  std::string buffer_;
  std::size_t at_ = 0;
  std::uint64_t line_number_ = 0;
  bool torn_ = false;
  JournalHeader header_;
};

// For a head that takes over: cuts a torn last line off, sets the offset to the end and returns the number of
// the last entry, 0 if there is none. A file that is empty then, or always was, wants begin(). The fd is open
// for reading and writing. On failure an Error.
Result<std::uint64_t> last_seq(int fd);

}  // namespace runmain::drive
