#include "drive/watch_roots.hpp"

#include <algorithm>
#include <filesystem>

#include "os/linux/folder.hpp"

namespace runmain::drive {
namespace {

namespace fs = std::filesystem;

// The target of a link as an absolute path; empty when it cannot be read.
std::string target_of(const std::string& link) {
  std::error_code failed;
  const fs::path target = fs::read_symlink(link, failed);
  if (failed) return {};
  return real_parent((target.is_absolute() ? target : fs::path(split_path(link).first) / target).string());
}

bool is_folder(const std::string& path) {
  const auto folder = os::Folder::open(path);  // takes long paths too
  return folder.ok();
}

// The deepest folder above `path` that is there.
std::string deepest_folder(const std::string& path) {
  std::string folder = split_path(path).first;
  while (folder != "/" && !is_folder(folder)) folder = split_path(folder).first;
  return folder;
}

struct Seen {
  RootShape shape = RootShape::missing;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
};

Seen see(const std::string& path) {
  const auto [parent, name] = split_path(path);
  const auto folder = os::Folder::open(parent);
  if (!folder) return {};
  const auto stat = folder.value().stat(name.empty() ? "." : name);
  if (!stat) return {};
  if (stat.value().is_folder()) return {RootShape::folder, stat.value().device, stat.value().inode};
  if (stat.value().is_file() || stat.value().is_link()) return {RootShape::file};
  return {};
}

}  // namespace

std::string real_parent(const std::string& path) {
  fs::path normal = fs::path(path).lexically_normal();
  if (!normal.has_filename()) normal = normal.parent_path();
  if (normal.empty() || normal == "/") return "/";
  std::error_code failed;
  const fs::path parent = fs::weakly_canonical(normal.parent_path(), failed);
  return join_path(failed ? normal.parent_path().string() : parent.string(), normal.filename().string());
}

std::string_view below(std::string_view path, std::string_view folder) {
  if (path.size() <= folder.size()) return {};
  return path.substr(folder == "/" ? 1 : folder.size() + 1);
}

void RootSet::set(const WatchedService& service, std::vector<std::string>& problems) {
  remove(service.id);
  const auto own = std::make_shared<const IgnoreList>(service.ignore);
  const auto include =
      service.include.empty() ? nullptr : std::make_shared<const IgnoreList>(service.include);
  const std::size_t refused = own->refused() + (include ? include->refused() : 0);
  if (refused > 0) {
    problems.push_back(std::to_string(refused) + " ignore patterns are too long or too many, ignoring them");
  }
  std::set<std::string> mine;
  for (const std::string& text : service.paths) {
    std::string path = real_parent(text);
    for (int hops = 0; mine.insert(path).second; ++hops) {
      if (hops > kLinkHopsMax || roots_.size() >= kRootsMax) {
        problems.push_back("too many links or watched paths at " + path + ", ignoring it");
        break;
      }
      const auto stat = os::stat_link(path);
      const std::string target = stat && stat.value().is_link() ? target_of(path) : "";
      Root root;
      root.service = service.id;
      root.path = path;
      root.own = own;
      root.include = include;
      root.ignore_files = service.ignore_files;
      root.poll = service.poll;
      root.top = path;
      root.link = !target.empty();
      roots_.push_back(std::move(root));
      if (target.empty()) break;
      path = target;
    }
  }
}

void RootSet::remove(ServiceId service) {
  roots_.remove_if([&](const Root& r) { return r.service == service; });
}

std::vector<const Root*> RootSet::of(ServiceId service) const {
  std::vector<const Root*> found;
  for (const Root& root : roots_) {
    if (root.service == service) found.push_back(&root);
  }
  return found;
}

std::vector<Root*> RootSet::look(std::optional<ServiceId> only) {
  std::vector<Root*> changed;
  for (Root& root : roots_) {
    if (only && root.service != *only) continue;
    const Seen seen = see(root.path);
    root.waiting = seen.shape == RootShape::missing ? deepest_folder(root.path) : "";
    if (seen.shape == root.shape && seen.device == root.device && seen.inode == root.inode) continue;
    root.shape = seen.shape;
    root.device = seen.device;
    root.inode = seen.inode;
    if (seen.shape == RootShape::folder) find_top(root);
    changed.push_back(&root);
  }
  return changed;
}

// Somebody who watches what his repository ignores means it: then only the ignore files in there count.
void RootSet::find_top(Root& root) {
  root.top = root.path;
  if (!root.ignore_files) return;
  const std::string top = files_.learn_above(root.path);
  if (top.empty() || top == root.path) return;
  Root whole;
  whole.path = whole.top = top;
  whole.own = std::make_shared<const IgnoreList>(std::vector<std::string>());
  if (!whole.ruling(files_, root.path, true).ignored) root.top = top;
}

void RootSet::forget_below(const std::string& path) {
  for (Root& root : roots_) {
    if (root.shape == RootShape::folder && is_at_or_below(root.path, path)) root.shape = RootShape::unknown;
  }
}

Seers RootSet::seeing(const std::string& folder) const {
  Seers found;
  for (const Root& root : roots_) {
    if (root.sees_folder(files_, folder)) found.push_back(&root);
  }
  return found;
}

std::vector<View> RootSet::views(const Seers& seers, const std::string& folder) const {
  std::vector<View> views;
  views.reserve(seers.size());
  for (const Root* root : seers) views.push_back({root, root->chain(files_, folder)});
  return views;
}

Seers RootSet::seeing_child(const std::vector<View>& views, const std::string& path) const {
  Seers found;
  for (const View& view : views) {
    if (view.wants_folder(path)) found.push_back(view.root);
  }
  for (const Root& root : roots_) {
    if (root.shape == RootShape::folder && root.path == path) found.push_back(&root);
  }
  return found;
}

bool RootSet::wants(const std::string& folder, const std::string& name) const {
  return !services_of(folder, name).empty();
}

std::vector<ServiceId> RootSet::services_of(const std::string& folder, const std::string& name) const {
  std::vector<ServiceId> found;
  const std::string path = join_path(folder, name);
  for (const Root& root : roots_) {
    if (!found.empty() && found.back() == root.service) continue;
    const bool wanted = root.path == path || (is_at_or_below(folder, root.path) && root.includes(path) &&
                                              !root.ruling(files_, path, false).ignored);
    if (wanted) found.push_back(root.service);
  }
  return found;
}

bool RootSet::is_point(const std::string& path) const {
  return std::any_of(roots_.begin(), roots_.end(),
                     [&](const Root& r) { return is_at_or_below(r.path, path); });
}

void RootSet::add_linked(const std::string& path, std::set<ServiceId>& services) const {
  for (const Root& root : roots_) {
    if (root.link && root.path == path) services.insert(root.service);
  }
}

std::set<std::string> RootSet::sources() const {
  std::set<std::string> found;
  for (const Root& root : roots_) {
    if (!root.ignore_files) continue;
    for (std::string at = root.path; at != root.top;) {
      at = split_path(at).first;
      found.insert(at);
    }
  }
  const auto shared = files_.shared_folders();
  found.insert(shared.begin(), shared.end());
  return found;
}

std::set<std::string> RootSet::learn_sources() {
  std::set<std::string> changed;
  for (Root& root : roots_) {
    for (std::string at = root.path; at != root.top;) {
      at = split_path(at).first;
      if (files_.learn(at)) changed.insert(at);
    }
  }
  for (std::string& top : files_.learn_shared()) changed.insert(std::move(top));
  for (Root& root : roots_) {
    if (!changed.empty() && root.shape == RootShape::folder) find_top(root);
  }
  return changed;
}

bool RootSet::has_own_root_below(const std::string& top, const std::string& path) const {
  return std::any_of(roots_.begin(), roots_.end(), [&](const Root& r) {
    return r.path != top && is_at_or_below(r.path, top) && is_at_or_below(path, r.path);
  });
}

std::set<std::string> RootSet::points() const {
  std::set<std::string> found;
  for (const Root& root : roots_) {
    if (root.shape == RootShape::file) found.insert(split_path(root.path).first);
    if (root.shape == RootShape::missing) found.insert(root.waiting);
  }
  return found;
}

std::set<std::string> RootSet::anchors() const {
  std::set<std::string> found;
  for (const Root& root : roots_) {
    for (std::string at = root.path; at != "/";) {
      at = split_path(at).first;
      found.insert(at);
    }
  }
  return found;
}

}  // namespace runmain::drive
