// What the watcher knows of every file: enough to tell a new content from a touch, also after an overflow and
// after a death of the head. The caller keeps save()'s bytes in a memfd; a new head gives them to restore().
//
// Invariant: a file that is here was seen by the watcher and every later difference was told. Therefore: save
// only after the Changed that came before has been handled; what is saved too late is told again, what is
// saved too early would be lost. Thread: one. Non-goal: looking at files (watch_gate does).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.hpp"

namespace runmain::drive {

inline constexpr std::size_t kTableMax =
    500'000;  // files; further ones are judged by nothing and told as they come

enum class FileKind : std::uint8_t { file, link };

struct FileState {
  FileKind kind = FileKind::file;
  std::uint8_t executable = 0;  // the three x bits of the mode
  bool hashed = false;          // `hash` is that of the content; else size and mtime must do
  bool fresh = false;           // was written so shortly before the look that equal times prove nothing
  std::uint64_t size = 0;
  std::uint64_t inode = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
  std::uint64_t hash = 0;
  std::uint32_t mark = 0;  // the latest scan that saw it; not saved

  template <class A>
  void fields(A& a) {
    a("kind", kind);
    a("executable", executable);
    a("hashed", hashed);
    a("fresh", fresh);
    a("size", size);
    a("inode", inode);
    a("mtime_ns", mtime_ns);
    a("ctime_ns", ctime_ns);
    a("hash", hash);
  }
};

// The services that the table was made for: a new head watches for them before it is told to.
struct WatchedService {
  ServiceId id{};
  std::vector<std::string> paths;
  std::vector<std::string> ignore;
  std::vector<std::string> include;
  bool ignore_files = true;
  bool poll = false;

  friend bool operator==(const WatchedService&, const WatchedService&) = default;
  template <class A>
  void fields(A& a) {
    a("id", id);
    a("paths", paths);
    a("ignore", ignore);
    a("include", include);
    a("ignore_files", ignore_files);
    a("poll", poll);
  }
};

class FileTable {
 public:
  using Files = std::map<std::string, FileState, std::less<>>;
  struct FolderFiles {
    Files files;
    std::uint32_t mark = 0;  // the latest scan that went through it; not saved
  };
  using Folders = std::map<std::string, FolderFiles, std::less<>>;  // by absolute path

  explicit FileTable(std::size_t max = kTableMax) : max_(max) {}

  FileState* find(const std::string& folder, const std::string& name);
  // False if the table is full: the file is not known then, and truncated() is true from now on.
  bool put(const std::string& folder, const std::string& name, const FileState& state);
  void erase(const std::string& folder, const std::string& name);
  void mark_changed() { dirty_ = true; }

  Folders& folders() { return folders_; }
  // The folders from `path` down, `path` included, by name.
  std::vector<std::string> folders_below(const std::string& path) const;
  std::size_t size() const { return count_; }
  bool truncated() const { return truncated_; }

  const std::vector<WatchedService>& services() const { return services_; }
  void set_services(std::vector<WatchedService> services);

  // Whether save() would give other bytes than the last one, and may be called: it may not while changes that
  // the table has taken in wait to be told.
  bool dirty() const { return dirty_ && !held_; }
  void hold(bool on) { held_ = on; }

  std::string save();
  // False for bytes that are not a table of this version; the table is then empty.
  [[nodiscard]] bool restore(std::string_view bytes);

 private:
  Folders folders_;
  std::vector<WatchedService> services_;
  std::size_t max_;
  std::size_t count_ = 0;
  bool truncated_ = false;
  bool dirty_ = false;
  bool held_ = false;
};

// A 64-bit hash of a content given in pieces; every piece but the last has a multiple of 8 bytes. Not for
// hostile input, and the same on every run: it is compared across heads.
class ContentHash {
 public:
  void add(std::string_view bytes);
  std::uint64_t value() const;

 private:
  std::uint64_t state_ = 0x9ae16a3b2f90404fULL;
  std::uint64_t size_ = 0;
};

// Whether `path` is `folder` itself or below it. Both absolute, without a slash at the end.
bool is_at_or_below(std::string_view path, std::string_view folder);
// "/a" and "b" make "/a/b"; "/" and "b" make "/b".
std::string join_path(const std::string& folder, std::string_view name);
// "/a/b" is cut into "/a" and "b"; "/b" into "/" and "b".
std::pair<std::string, std::string> split_path(const std::string& path);

}  // namespace runmain::drive
