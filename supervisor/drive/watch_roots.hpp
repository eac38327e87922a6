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
#include "drive/watch_ruling.hpp"
#include "drive/watch_table.hpp"

namespace runmain::drive {

inline constexpr int kLinkHopsMax = 16;         // links of one watched path that lead to one another
inline constexpr std::size_t kRootsMax = 4096;  // watched paths of all services together

enum class RootShape : std::uint8_t { unknown, missing, file, folder };

struct Root {
  ServiceId service{};
  std::string path;  // absolute, without a slash at its end
  std::shared_ptr<const IgnoreList> own;
  std::shared_ptr<const IgnoreList> include;  // nullptr: every file
  bool ignore_files = true;
  bool poll = false;
  bool link = false;   // a link on the way to what is watched
  bool known = false;  // was established once: what is new in it now is news
  RootShape shape = RootShape::unknown;
  std::uint64_t device = 0;  // of the folder
  std::uint64_t inode = 0;
  std::string waiting;  // missing: the deepest folder on its way that is there
  std::string top;      // ignore files count from here down: the repository's top, or the path itself

  // Whether a file that no rule ignores is one that `include` asks for.
  bool includes(const std::string& file) const;
  // The rules for the entries of `folder`, which is at or below our path.
  RuleChain chain(const IgnoreFiles& files, const std::string& folder) const;
  // The rule for `path`, which is below ours, or for the uppermost ignored folder above it.
  Ruling ruling(const IgnoreFiles& files, const std::string& path, bool is_folder) const;
  bool sees_folder(const IgnoreFiles& files, const std::string& folder) const;
};

using Seers = std::vector<const Root*>;

// A root that sees a folder, and its rules for what is in there.
struct View {
  const Root* root = nullptr;
  RuleChain chain;

  bool wants_file(const std::string& path) const;
  bool wants_folder(const std::string& path) const { return !chain.judge(path, true).ignored; }
};

class RootSet {
 public:
  explicit RootSet(GitPlaces places = GitPlaces::of_process()) : files_(std::move(places)) {}

  // Resolves the paths of a service and adds them, replacing what it had. Problems are appended to
  // `problems`.
  void set(const WatchedService& service, std::vector<std::string>& problems);
  void remove(ServiceId service);
  std::vector<const Root*> of(ServiceId service) const;
  IgnoreFiles& files() { return files_; }
  const IgnoreFiles& files() const { return files_; }

  // Looks at every root. Returns those that are something else than before, or another folder.
  std::vector<Root*> look(std::optional<ServiceId> only = {});
  // Forgets what the folder roots at and below `path` were, so that look() returns them.
  void forget_below(const std::string& path);

  // The roots that are folders and see this folder, none of its parents ignored.
  Seers seeing(const std::string& folder) const;
  // How they look at its entries, when its ignore files are learned.
  std::vector<View> views(const Seers& seers, const std::string& folder) const;
  // Those of them that see a folder in it, and the roots that begin there.
  Seers seeing_child(const std::vector<View>& views, const std::string& path) const;
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
  // The folders above the roots whose ignore files count, and those of whole repositories.
  std::set<std::string> sources() const;
  // Reads the ignore files above the roots again. Returns the folders where something is different.
  std::set<std::string> learn_sources();
  // Whether `path` belongs to a root that is itself below `top`.
  bool has_own_root_below(const std::string& top, const std::string& path) const;

  const std::list<Root>& all() const { return roots_; }

 private:
  void find_top(Root& root);

  std::list<Root> roots_;
  IgnoreFiles files_;
};

// "." and ".." resolved, links in all folders above the last part followed as far as they exist.
std::string real_parent(const std::string& path);

// The part of `path` below `folder`, without a slash at its start.
std::string_view below(std::string_view path, std::string_view folder);

}  // namespace runmain::drive
