// inotify(7), one instance: adds and removes watches and cuts what is read into events. It follows
// inotify(7), inotify_add_watch(2) and proc_sys_fs(5).
//
// Invariant: the fd is non-blocking and close-on-exec; an event never outlives the call that handed it out.
// Thread: one. Non-goal: knowing what a watch is for; recursion, overflow and content are drive's.
#pragma once

#include <sys/inotify.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "os/linux/fd.hpp"

namespace runmain::os {

// `name` is empty when the event is about the watched folder itself. wd is -1 for IN_Q_OVERFLOW.
struct InotifyEvent {
  int wd = -1;
  std::uint32_t mask = 0;
  std::uint32_t cookie = 0;
  std::string_view name;
};

class Inotify {
 public:
  // On failure the errno: EMFILE when the process has no fd left or the user no instance
  // (fs.inotify.max_user_instances), ENFILE, ENOMEM.
  static Result<Inotify> make();

  int fd() const { return fd_.get(); }

  // Watches a path, which may be longer than PATH_MAX (then it must be a folder). On success the watch
  // descriptor; the same inode gives the same one again. On failure the errno: ENOSPC when
  // fs.inotify.max_user_watches is reached, ENOENT, ENOTDIR, EACCES.
  Result<int> add(const std::string& path, std::uint32_t mask);

  // Ends a watch. One that the kernel has ended already is no failure.
  void remove(int wd);

  // Reads once, at most 64 KiB, and hands every event to `use`, in the kernel's order. On success their
  // number, 0 when none waits. `use` may add and remove watches.
  Result<std::size_t> read(const std::function<void(const InotifyEvent&)>& use);

 private:
  explicit Inotify(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
  std::string buffer_;
};

// The value of fs.inotify.NAME, or "unknown".
std::string inotify_limit(const std::string& name);

// For tests only: is asked before an instance is made or a watch is added; an errno instead of 0 is the
// failure.
enum class InotifyCall : std::uint8_t { make, add };
std::function<int(InotifyCall)>& inotify_fault();

}  // namespace runmain::os
