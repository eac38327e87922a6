// The ignore files that are there: .gitignore and .ignore of each folder, and of each repository its
// info/exclude and the person's global excludes.
//
//   learn(folder) ──► what its files say now        links(folder, top) ──► the lists that judge its entries
//
// Invariant: only folders that have something are kept; whoever asks for the links of a folder has learned it
// and the folders above it up to `top` before. Thread: one. Non-goal: a service's own rules, and what follows
// from a list (watch_ruling).
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "drive/watch_git_config.hpp"
#include "drive/watch_ignore.hpp"

namespace runmain::drive {

inline constexpr const char* kGitignoreName = ".gitignore";
inline constexpr const char* kIgnoreName = ".ignore";
inline constexpr const char* kGitName = ".git";

// One list, and how many bytes of an absolute path stand before what it is matched with.
struct IgnoreLink {
  const IgnoreList* list = nullptr;
  std::size_t base = 0;
};

// Which of our names a folder has.
struct IgnoreNames {
  bool gitignore = false;
  bool ignore = false;
  bool git = false;

  bool any() const { return gitignore || ignore || git; }
  void add(std::string_view name);
};

class IgnoreFiles {
 public:
  explicit IgnoreFiles(GitPlaces places = GitPlaces::of_process()) : places_(std::move(places)) {}

  // Reads what `folder` has. True if that is something else than what was known.
  bool learn(const std::string& folder, IgnoreNames names);
  bool learn(const std::string& folder);  // looks for the names itself
  // Learns `folder` and those above it up to the top of its repository, which is returned; without one,
  // nothing is learned and the result is empty.
  std::string learn_above(const std::string& folder);
  void forget_below(const std::string& path);  // `path` included
  void clear() { folders_.clear(); }

  // Appends the lists that judge the entries of `folder`, the strongest first: .ignore files from `folder` up
  // to `top`, then .gitignore files up to the top of the innermost repository, then its exclude and the
  // person's.
  void links(const std::string& folder, const std::string& top, std::vector<IgnoreLink>& out) const;

  // Whether an entry of this name in a watched folder, or this very file, is one that we read.
  bool is_source(const std::string& folder, std::string_view name) const;
  // The folders of sources that belong to a whole repository.
  std::set<std::string> shared_folders() const;
  // Reads the sources of whole repositories again. Returns the tops of those where something is different.
  std::vector<std::string> learn_shared();

  // When the files changed that the calls since the last one found different; nanoseconds since the epoch.
  // For a file that is gone: when its folder changed.
  std::int64_t take_since() { return std::exchange(since_ns_, 0); }

  // What could not be read or taken since the last call, to be told.
  std::vector<std::string> take_problems();

 private:
  using List = std::shared_ptr<const IgnoreList>;
  struct File {
    std::string content;
    List list;
  };
  struct Repository {
    std::string exclude_path;
    std::string global_path;
    File exclude;
    File global;
  };
  struct Folder {
    File gitignore;
    File ignore;
    std::unique_ptr<Repository> repository;
  };
  bool read_into(File& file, IgnoreSource source, const std::string& path, bool there, bool follow);
  bool learn_repository(Folder& folder, const std::string& path, bool there);
  bool read_shared(Repository& repository);
  void changed_at(const std::string& path);

  GitPlaces places_;
  std::map<std::string, Folder, std::less<>> folders_;
  std::vector<std::string> problems_;
  std::int64_t since_ns_ = 0;
};

}  // namespace runmain::drive
