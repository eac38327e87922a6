// A log file: appended to, rotated before it would grow past its limit, noticed when somebody else moves,
// deletes or truncates it.
//
//   FILE ─► FILE.1 ─► … ─► FILE.keep ─► gone         by rename(2), the oldest first
//
// A cascade that was interrupted leaves a gap in the numbers; the next one moves only what is younger than
// the gap, so nothing is lost. Device files (/dev/null) are written to and never rotated or cut. Invariant:
// bytes are appended whole or, after a fault, taken out again. Non-goal: making folders; syncing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/time.hpp"
#include "drive/output_record.hpp"
#include "os/linux/fd.hpp"

namespace runmain::drive {

inline constexpr std::uint32_t kLogKeepMax = 10'000;  // rotated files of one log
inline constexpr Duration kLogCheckInterval =
    std::chrono::seconds(1);  // the path is looked at as often while writing

class OutputFile {
 public:
  explicit OutputFile(std::string path) : path_(std::move(path)) {}

  void configure(std::uint64_t max_size, std::uint32_t keep);
  const std::string& path() const { return path_; }

  // Ready to append: open, still the file at `path` (looked at once a kLogCheckInterval), its size known,
  // nothing half-written at its end. On failure the errno, with the file closed: call again later.
  Result<void> prepare(Time now);

  // After prepare(). Bytes that fit before the next rotation; whether there is something that a rotation
  // would move.
  std::uint64_t room() const;
  bool can_rotate() const { return regular_ && size_ > 0; }

  // Moves the files on and opens a new one. On failure nothing is lost, and what is there stays.
  Result<void> rotate(Time now);

  // Where append() will put its bytes.
  OutputPlace place() const { return {device_, inode_, size_}; }
  // Device files cannot be cut: their batches have no record.
  bool can_cut() const { return regular_; }
  // write(2) of all. On failure (ENOSPC, EDQUOT, EIO, EFBIG) nothing of it stays in the file. Requires
  // prepare(), and SIGXFSZ ignored.
  Result<void> append(std::string_view bytes);

  // For a new head: if `place` is in this file or in one that was rotated from it, cuts it there. False if
  // not found.
  bool cut(const OutputPlace& place);

  // The last bytes of this log, across rotated files, from the start of a line on; at most `limit`.
  std::string tail(std::size_t limit) const;

 private:
  Result<void> open();
  Result<void> fault(const std::string& what);
  bool moved_away() const;
  std::string numbered(std::uint32_t number) const;

  std::string path_;
  std::uint64_t max_size_ = 0;
  std::uint32_t keep_ = 0;
  os::UniqueFd fd_;
  bool regular_ = false;
  std::uint64_t device_ = 0;
  std::uint64_t inode_ = 0;
  std::uint64_t size_ = 0;
  bool half_written_ = false;  // bytes behind size_ are to be cut off before anything else
  Time checked_{};
};

}  // namespace runmain::drive
