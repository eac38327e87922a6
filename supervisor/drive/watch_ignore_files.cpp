#include "drive/watch_ignore_files.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "drive/watch_git.hpp"
#include "drive/watch_table.hpp"
#include "os/linux/folder.hpp"

namespace runmain::drive {
namespace {

// git takes no link for an ignore file of a tree; a person's own files may well be links.
std::string content_of(const std::string& path, bool follow, std::vector<std::string>& problems) {
  struct stat s {};
  const int failed = follow ? ::stat(path.c_str(), &s) : ::lstat(path.c_str(), &s);
  if (failed != 0 || !S_ISREG(s.st_mode)) return {};
  auto text = os::read_file(path, kIgnoreFileMax);
  if (text) return std::move(*text);
  problems.push_back("cannot read " + text.error().message + ", ignoring it");
  return {};
}

bool is_there(const std::string& path) { return os::stat_link(path).ok(); }

// A worktree's folder leads to the one that all of them share (gitrepository-layout(5)).
std::string common_folder(const std::string& git) {
  auto text = os::read_file(join_path(git, "commondir"), 4096);
  if (!text) return git;
  while (!text->empty() && (text->back() == '\n' || text->back() == '\r')) text->pop_back();
  std::error_code failed;
  const auto path = std::filesystem::canonical(
      text->starts_with("/") ? std::filesystem::path(*text) : std::filesystem::path(git) / *text, failed);
  return failed ? git : path.string();
}

std::size_t base_of(const std::string& folder) { return folder == "/" ? 1 : folder.size() + 1; }

}  // namespace

void IgnoreNames::add(std::string_view name) {
  gitignore = gitignore || name == kGitignoreName;
  ignore = ignore || name == kIgnoreName;
  git = git || name == kGitName;
}

bool IgnoreFiles::read_into(File& file, IgnoreSource source, const std::string& path, bool there,
                            bool follow) {
  std::string content = there ? content_of(path, follow, problems_) : std::string();
  if (content == file.content) return false;
  changed_at(path);
  file.content = std::move(content);
  file.list = std::make_shared<const IgnoreList>(source, path, file.content);
  if (file.list->refused() > 0) {
    problems_.push_back(std::to_string(file.list->refused()) + " lines of " + path +
                        " are too long or too many, ignoring them");
  }
  return true;
}

void IgnoreFiles::changed_at(const std::string& path) {
  auto stat = os::stat_link(path);
  if (!stat) stat = os::stat_link(split_path(path).first);
  if (stat) since_ns_ = std::max(since_ns_, stat.value().ctime_ns);
}

bool IgnoreFiles::read_shared(Repository& repository) {
  const bool exclude =
      read_into(repository.exclude, IgnoreSource::exclude_file, repository.exclude_path, true, true);
  const bool global =
      !repository.global_path.empty() &&
      read_into(repository.global, IgnoreSource::global_file, repository.global_path, true, true);
  return exclude || global;
}

bool IgnoreFiles::learn_repository(Folder& folder, const std::string& path, bool there) {
  const std::string git = there ? find_git_folder(path) : std::string();
  if (git.empty() != (folder.repository == nullptr)) changed_at(join_path(path, kGitName));
  if (git.empty()) return std::exchange(folder.repository, nullptr) != nullptr;
  const std::string common = common_folder(git);
  const bool fresh = folder.repository == nullptr;
  if (fresh) folder.repository = std::make_unique<Repository>();
  folder.repository->exclude_path = join_path(common, "info/exclude");
  folder.repository->global_path = excludes_file(places_, join_path(common, "config"));
  return read_shared(*folder.repository) || fresh;
}

bool IgnoreFiles::learn(const std::string& folder, IgnoreNames names) {
  const auto known = folders_.find(folder);
  if (known == folders_.end() && !names.any()) return false;
  Folder& mine = known == folders_.end() ? folders_[folder] : known->second;
  const bool gitignore = read_into(mine.gitignore, IgnoreSource::gitignore_file,
                                   join_path(folder, kGitignoreName), names.gitignore, false);
  const bool ignore =
      read_into(mine.ignore, IgnoreSource::ignore_file, join_path(folder, kIgnoreName), names.ignore, false);
  const bool repository = learn_repository(mine, folder, names.git);
  if (!names.any()) folders_.erase(folder);
  return gitignore || ignore || repository;
}

bool IgnoreFiles::learn(const std::string& folder) {
  IgnoreNames names;
  for (const char* name : {kGitignoreName, kIgnoreName, kGitName}) {
    if (is_there(join_path(folder, name))) names.add(name);
  }
  return learn(folder, names);
}

std::string IgnoreFiles::learn_above(const std::string& folder) {
  std::string top = folder;
  while (!is_there(join_path(top, kGitName))) {
    if (top == "/") return {};
    top = split_path(top).first;
  }
  for (std::string at = folder;; at = split_path(at).first) {
    learn(at);
    if (at == top) return top;
  }
}

void IgnoreFiles::forget_below(const std::string& path) {
  std::erase_if(folders_, [&](const auto& f) { return is_at_or_below(f.first, path); });
}

void IgnoreFiles::links(const std::string& folder, const std::string& top,
                        std::vector<IgnoreLink>& out) const {
  if (folders_.empty()) return;
  std::vector<IgnoreLink> git;
  const Folder* repository = nullptr;
  std::size_t repository_base = 0;
  for (std::string at = folder;; at = split_path(at).first) {
    const auto found = folders_.find(at);
    if (found != folders_.end()) {
      const Folder& here = found->second;
      if (here.ignore.list) out.push_back({here.ignore.list.get(), base_of(at)});
      if (here.gitignore.list && repository == nullptr)
        git.push_back({here.gitignore.list.get(), base_of(at)});
      if (here.repository && repository == nullptr) {
        repository = &here;
        repository_base = base_of(at);
      }
    }
    if (at == top || at == "/") break;
  }
  out.insert(out.end(), git.begin(), git.end());
  if (repository == nullptr) return;
  for (const File* file : {&repository->repository->exclude, &repository->repository->global}) {
    if (file->list) out.push_back({file->list.get(), repository_base});
  }
}

bool IgnoreFiles::is_source(const std::string& folder, std::string_view name) const {
  if (name == kGitignoreName || name == kIgnoreName || name == kGitName) return true;
  const std::string path = join_path(folder, name);
  return std::any_of(folders_.begin(), folders_.end(), [&](const auto& f) {
    const auto& repository = f.second.repository;
    return repository && (repository->exclude_path == path || repository->global_path == path);
  });
}

std::set<std::string> IgnoreFiles::shared_folders() const {
  std::set<std::string> found;
  for (const auto& [path, folder] : folders_) {
    if (!folder.repository) continue;
    found.insert(split_path(folder.repository->exclude_path).first);
    if (!folder.repository->global_path.empty())
      found.insert(split_path(folder.repository->global_path).first);
  }
  return found;
}

std::vector<std::string> IgnoreFiles::learn_shared() {
  std::vector<std::string> changed;
  for (auto& [path, folder] : folders_) {
    if (folder.repository && read_shared(*folder.repository)) changed.push_back(path);
  }
  return changed;
}

std::vector<std::string> IgnoreFiles::take_problems() { return std::exchange(problems_, {}); }

}  // namespace runmain::drive
