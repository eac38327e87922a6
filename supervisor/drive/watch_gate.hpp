// The content gate: looks at one file and says whether it differs from what the table knows. The same bytes
// written again, a touch, a chmod without x: no difference.
//
// Content is hashed when a file is first seen, the first kHashNowFiles at once and the rest in slices between
// turns of the loop, so that a start with many files is not held up; until then size and mtime judge, which
// can only tell too much. Invariant: `changed` is said once for each difference, and the table has it then.
// Thread: one. Non-goal: when to look, and at what.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <utility>

#include "drive/watch_table.hpp"
#include "os/linux/folder.hpp"

namespace runmain::drive {

inline constexpr std::uint64_t kHashMax = 64U << 20U;  // bytes; a larger file is judged by size and mtime
inline constexpr std::size_t kHashNowFiles = 2'000;    // hashed before set() returns …
inline constexpr std::uint64_t kHashNowBytes = 32U << 20U;  // … as far as they are no more than this
inline constexpr std::size_t kHashSliceFiles = 200;         // hashed in one turn of the loop
inline constexpr std::uint64_t kHashSliceBytes = 8U << 20U;

// Why a file is looked at.
enum class Why : std::uint8_t {
  adopt,       // watched from now on: whatever it is, it is known and nothing is told
  attributes,  // IN_ATTRIB: only a new x bit counts
  created,     // a name appeared or went; whether its content is whole is not known
  found,       // a scan came by
  revealed,    // a scan came by, and rules that hid it are gone: if it is old, it is taken as it is
  closed,      // written and closed, or moved here whole
  settled,     // the grace is over: tell what is so now
};

enum class Verdict : std::uint8_t {
  none,      // nothing that we know or want to know
  same,      // known, and its content is the same
  changed,   // tell it; the table knows it now
  appeared,  // a new file, to be told when it is still there after a grace
  emptied,   // it has no content any more: probably it is about to be written
  gone,      // it was known and is not there
  busy,      // different, but somebody has it open for writing: its close will be told
};

class ContentGate {
 public:
  // Is told how many names each file that is judged has; 0: it is not there.
  using Names = std::function<void(const std::string& path, const std::string& name, std::uint32_t names)>;
  ContentGate(FileTable& table, Names names) : table_(table), names_(std::move(names)) {}

  // Judges the file `name` in `folder`, whose path is `path`. `mark` goes into the table for a file that is
  // there.
  Verdict judge(const os::Folder& folder, const std::string& path, const std::string& name, Why why,
                std::uint32_t mark = 0);

  // What is revealed and has not changed since then is old. Nanoseconds since the epoch.
  void reveal_since(std::int64_t ns) { reveal_since_ns_ = ns; }

  // What adopt may hash at once, from now on.
  void start_budget();
  // Hashes a slice of what was put off. True if more is left.
  bool hash_slice();
  bool has_work() const { return !unhashed_.empty(); }

 private:
  struct Look;
  Verdict judge_new(const Look& look, Why why, FileState state);
  Verdict judge_known(const Look& look, Why why, FileState& known);
  Verdict adopt(const Look& look, FileState state);

  FileTable& table_;
  Names names_;
  std::deque<std::pair<std::string, std::string>> unhashed_;  // bounded by the table's size
  std::int64_t reveal_since_ns_ = 0;
  std::size_t files_left_ = 0;
  std::uint64_t bytes_left_ = 0;
};

}  // namespace runmain::drive
