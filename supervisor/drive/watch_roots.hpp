// The paths that services watch, what each of them is just now (a folder, a file, missing), and which service
// a file belongs to.
//
// A watched path that is a symbolic link is watched itself, and so is what it leads to; links below it are
// not followed. Invariant: no folder above a root's path is a link. Thread: one. Non-goal: inotify, content.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/ids.hpp"
#include "drive/watch_ignore.hpp"
#include "drive/watch_table.hpp"

namespace runmain::drive {

inline constexpr int kLinkHopsMax = 16;         // links of one watched path that lead to one another
inline constexpr std::size_t kRootsMax = 4096;  // watched paths of all services together

enum class RootShape : std::uint8_t { unknown, missing, file, folder };

struct Root {
  ServiceId service{};
  std::string path;  // absolute, without a slash at its end
  std::shared_ptr<const IgnoreRules> rules;
  bool link = false;   // a link on the way to what is watched
  bool known = false;  // was established once: what is new in it now is news
  RootShape shape = RootShape::unknown;
  std::uint64_t device = 0;  // of the folder
  std::uint64_t inode = 0;
  std::string waiting;  // missing: the deepest folder on its way that is there

  bool sees_folder(const std::string& folder) const;
  // `folder` is one that this root sees, or the folder of a root that is a file.
  bool sees_file(const std::string& folder, const std::string& name) const;
};

class RootSet {
 public:
  // Resolves the paths of a service and adds them, replacing what it had. Problems are appended to
  // `problems`.
  void set(const WatchedService& service, std::vector<std::string>& problems);
  void remove(ServiceId service);
  std::vector<const Root*> of(ServiceId service) const;

  // Looks at every root. Returns those that are something else than before, or another folder.
  std::vector<Root*> look(std::optional<ServiceId> only = {});
  // Forgets what the folder roots at and below `path` were, so that look() returns them.
  void forget_below(const std::string& path);

  // The roots that are folders and see this folder, none of its parents ignored.
  std::vector<const Root*> seeing(const std::string& folder) const;
  // Whether a seeing root does not ignore the entry.
  static bool wants_file(const std::vector<const Root*>& seeing, const std::string& folder,
                         const std::string& name);
  static bool wants_folder(const std::vector<const Root*>& seeing, const std::string& path);
  bool wants(const std::string& folder, const std::string& name) const;
  std::vector<ServiceId> services_of(const std::string& folder, const std::string& name) const;

  // Whether something at `path` coming or going can change what a root is.
  bool is_point(const std::string& path) const;
  // Adds the services that have a link at `path` among their roots.
  void add_linked(const std::string& path, std::set<ServiceId>& services) const;
  // The folders whose entries matter only because of a root that is a file or missing.
  std::set<std::string> points() const;
  // The folders above the roots.
  std::set<std::string> anchors() const;
  // Whether `path` belongs to a root that is itself below `top`.
  bool has_own_root_below(const std::string& top, const std::string& path) const;

  const std::list<Root>& all() const { return roots_; }

 private:
  std::list<Root> roots_;
};

// The part of `path` below `folder`, without a slash at its start.
std::string_view below(std::string_view path, std::string_view folder);

}  // namespace runmain::drive
