#include "drive/watch_gate.hpp"

#include <unistd.h>

#include <algorithm>

#include "base/wall_time.hpp"

namespace runmain::drive {
namespace {

constexpr std::size_t kReadBytes = 64U << 10U;
constexpr std::int64_t kFreshNs = 50'000'000;  // file times move in steps of up to 10 ms; with a margin

FileState state_of(const os::FileStat& stat, std::uint32_t mark) {
  FileState state;
  state.kind = stat.is_link() ? FileKind::link : FileKind::file;
  state.executable =
      stat.is_link() ? 0
                     : static_cast<std::uint8_t>(((stat.mode & 0100U) >> 6U) | ((stat.mode & 0010U) >> 2U) |
                                                 ((stat.mode & 0001U) << 2U));
  state.size = stat.size;
  state.inode = stat.inode;
  state.mtime_ns = stat.mtime_ns;
  state.ctime_ns = stat.ctime_ns;
  state.fresh = wall_now_ns() - std::max(stat.mtime_ns, stat.ctime_ns) < kFreshNs;
  state.mark = mark;
  return state;
}

bool same_times(const FileState& a, const FileState& b) {
  return a.kind == b.kind && a.size == b.size && a.inode == b.inode && a.mtime_ns == b.mtime_ns &&
         a.ctime_ns == b.ctime_ns && a.executable == b.executable;
}

// Reads the whole file into a hash; false if it is too large, cannot be read or is written at the same time.
bool hash_fd(int fd, FileState& state) {
  static thread_local std::string buffer;
  buffer.resize(kReadBytes);
  ContentHash hash;
  std::uint64_t total = 0;
  for (bool end = false; !end;) {
    std::size_t filled = 0;  // pieces are filled to the brim: the hash wants multiples of 8
    while (filled < kReadBytes) {
      const ssize_t got = ::read(fd, buffer.data() + filled, kReadBytes - filled);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return false;
      if (got == 0) {
        end = true;
        break;
      }
      filled += static_cast<std::size_t>(got);
    }
    hash.add(std::string_view(buffer.data(), filled));
    total += filled;
    if (total > kHashMax) return false;
  }
  const auto after = os::stat_fd(fd);
  if (!after || after.value().mtime_ns != state.mtime_ns || after.value().size != state.size ||
      total != state.size) {
    return false;
  }
  state.hash = hash.value();
  state.hashed = true;
  return true;
}

}  // namespace

// One file, its name, and what is read of it when it is needed.
struct ContentGate::Look {
  const os::Folder& folder;
  const std::string& path;
  const std::string& name;
  os::FileStat stat;

  void hash(FileState& state) const {
    state.hashed = false;
    if (stat.is_link()) {
      const auto target = folder.read_link(name);
      if (!target) return;
      ContentHash hash;
      hash.add(target.value());
      state.hash = hash.value();
      state.hashed = true;
      return;
    }
    if (stat.size > kHashMax) return;
    const auto fd = folder.open_file(name);
    if (fd) hash_fd(fd.value().get(), state);
  }
  bool busy() const {
    if (!stat.is_file()) return false;
    const auto fd = folder.open_file(name);
    return fd && os::is_open_for_writing(fd.value().get());
  }
};

Verdict ContentGate::judge(const os::Folder& folder, const std::string& path, const std::string& name,
                           Why why, std::uint32_t mark) {
  FileState* known = table_.find(path, name);
  if (known != nullptr) known->mark = mark;
  if (why == Why::adopt && known != nullptr) return Verdict::same;
  const auto stat = folder.stat(name);
  names_(path, name, stat && stat.value().is_file() ? stat.value().links : 0);
  if (!stat || !(stat.value().is_file() || stat.value().is_link())) {
    return known != nullptr ? Verdict::gone : Verdict::none;
  }
  const Look look{folder, path, name, stat.value()};
  if (known != nullptr) return judge_known(look, why, *known);
  const FileState state = state_of(look.stat, mark);
  if (why == Why::revealed && state.ctime_ns < reveal_since_ns_) why = Why::adopt;
  return why == Why::adopt ? adopt(look, state) : judge_new(look, why, state);
}

Verdict ContentGate::adopt(const Look& look, FileState state) {
  const bool now = files_left_ > 0 && state.size <= bytes_left_;
  if (now) {
    look.hash(state);
    --files_left_;
    bytes_left_ -= state.size;
  }
  if (table_.put(look.path, look.name, state) && !now && state.size <= kHashMax) {
    unhashed_.emplace_back(look.path, look.name);
  }
  return Verdict::same;
}

// A file that nobody knows. A scan and a mere creation may have come in the middle of its writing; then its
// close is still to come. An empty one that was just made is most likely about to be filled.
Verdict ContentGate::judge_new(const Look& look, Why why, FileState state) {
  if (why == Why::attributes) return Verdict::none;
  if (why == Why::created && look.stat.is_file() && look.stat.links == 1 && look.stat.size == 0)
    return Verdict::busy;
  if (why != Why::closed && look.busy()) return Verdict::busy;
  if (why != Why::settled) return Verdict::appeared;
  look.hash(state);
  table_.put(look.path, look.name, state);
  return Verdict::changed;
}

Verdict ContentGate::judge_known(const Look& look, Why why, FileState& known) {
  FileState now = state_of(look.stat, known.mark);
  const bool more_executable = (now.executable & ~known.executable) != 0 && now.kind == known.kind;
  if (why == Why::attributes) {
    // Whatever else differs has an event of its own, which finds the table as it was.
    known.executable = now.executable;
    if (now.size == known.size && now.mtime_ns == known.mtime_ns) known.ctime_ns = now.ctime_ns;
    table_.mark_changed();
    return more_executable ? Verdict::changed : Verdict::none;
  }
  if (same_times(now, known) && !known.fresh && why != Why::closed) return Verdict::same;
  look.hash(now);
  const bool same_content =
      now.kind == known.kind && now.size == known.size &&
      (known.hashed && now.hashed ? known.hash == now.hash : now.mtime_ns == known.mtime_ns && !known.fresh);
  if (!same_content) {
    if (why != Why::settled && now.kind == FileKind::file && now.size == 0 && known.size > 0)
      return Verdict::emptied;
    if (why != Why::closed && look.busy()) return Verdict::busy;
  }
  known = now;
  table_.mark_changed();
  return same_content && !more_executable ? Verdict::same : Verdict::changed;
}

void ContentGate::start_budget() {
  files_left_ = kHashNowFiles;
  bytes_left_ = kHashNowBytes;
}

bool ContentGate::hash_slice() {
  std::uint64_t bytes = kHashSliceBytes;
  for (std::size_t i = 0; i < kHashSliceFiles && !unhashed_.empty(); ++i) {
    const auto [path, name] = std::move(unhashed_.front());
    unhashed_.pop_front();
    FileState* known = table_.find(path, name);
    if (known == nullptr || known->hashed) continue;
    const auto folder = os::Folder::open(path);
    if (!folder) continue;
    const auto stat = folder.value().stat(name);
    if (!stat) continue;
    // Changed since it was seen: its event is on the way and must find the old state.
    FileState now = state_of(stat.value(), known->mark);
    if (!same_times(now, *known)) continue;
    Look{folder.value(), path, name, stat.value()}.hash(now);
    if (now.hashed) {
      *known = now;
      table_.mark_changed();
    }
    if (now.size >= bytes) break;
    bytes -= now.size;
  }
  if (unhashed_.empty()) unhashed_.shrink_to_fit();
  return !unhashed_.empty();
}

}  // namespace runmain::drive
