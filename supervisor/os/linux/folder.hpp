// One open folder: its entries, and looks at them by name, so that neither a long path nor a folder renamed
// above it matters. Symbolic links are never followed. All fds are close-on-exec. Follows open(2),
// fstatat(2), readdir(3).
//
// Invariant: nothing here waits for another process (fifos, leases). Thread: any, one at a time. Non-goal:
// recursion.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "base/result.hpp"
#include "os/linux/fd.hpp"

namespace runmain::os {

struct FileStat {
  std::uint32_t mode = 0;   // st_mode
  std::uint32_t links = 0;  // names of the inode
  std::uint64_t size = 0;   // bytes
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::int64_t mtime_ns = 0;  // since the epoch
  std::int64_t ctime_ns = 0;

  bool is_file() const;
  bool is_folder() const;
  bool is_link() const;
};

enum class EntryType : std::uint8_t { file, folder, link, other };

class Folder {
 public:
  // Opens a folder by its absolute path, also one longer than PATH_MAX; the last part must not be a link.
  // When the process is out of fds (EMFILE, ENFILE) and the path is short, the result still answers stat and
  // open_file by path, but not list. On failure the errno: ENOENT, ENOTDIR, ELOOP, EACCES.
  static Result<Folder> open(const std::string& path);

  // -1 when there was no fd to be had.
  int fd() const { return fd_.get(); }

  // lstat(2) of an entry. On failure ENOENT and the like.
  Result<FileStat> stat(const std::string& name) const;
  // Opens a file to read it. Fails with ELOOP for a link; never blocks on a fifo.
  Result<UniqueFd> open_file(const std::string& name) const;
  Result<std::string> read_link(const std::string& name) const;

  // Hands every entry but "." and ".." to `use`, in the kernel's order, until it returns false. On failure
  // the errno, also after some were handed out.
  Result<void> list(const std::function<bool(const std::string& name, EntryType type)>& use) const;

 private:
  int at() const;
  std::string name_of(const std::string& name) const { return prefix_ + name; }

  UniqueFd fd_;
  std::string prefix_;  // the path with a slash, when there is no fd
};

Result<FileStat> stat_fd(int fd);
Result<FileStat> stat_link(
    const std::string& path);  // lstat(2); ENAMETOOLONG for a path of PATH_MAX and more

// The name of a file system whose kernel tells nothing of what others change in it (statfs(2)): another
// machine, the host of this one, a FUSE server. nullptr for all others.
const char* remote_file_system(int fd);
// For tests only: is asked first; nullptr goes on to the kernel.
std::function<const char*(int fd)>& remote_file_system_fault();

// Whether somebody has the file open for writing: a read lease is refused then (fcntl(2), F_SETLEASE). `fd`
// is open for reading only. False also when it cannot be told: a foreign file, a file system without leases.
bool is_open_for_writing(int fd);

}  // namespace runmain::os
