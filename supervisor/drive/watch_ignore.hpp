// One list of ignore rules: the lines of a .gitignore, of a service's `ignore`, or the built-in ones.
//
// A rule with a slash at its start or inside is anchored to the folder that the list belongs to, any other
// matches a name at every depth; a slash at the end means folders only; `!` takes back; the last rule that
// matches decides. Invariant: a list never changes. Non-goal: which lists count for a path, and which of them
// is stronger (watch_ruling does).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "drive/watch_glob.hpp"

namespace runmain::drive {

inline constexpr std::size_t kIgnoreRulesMax = 2048;        // rules in one list; the rest is refused
inline constexpr std::size_t kIgnorePatternMax = kGlobMax;  // bytes of one line; a longer one is refused
inline constexpr std::size_t kIgnoreFileMax = 1U << 20U;    // bytes of one ignore file; the rest is not read

enum class IgnoreSource : std::uint8_t {
  service,         // the service's own `ignore` or `include`
  repositories,    // built in: other tools' books, which only a service's own rule takes back
  ignore_file,     // .ignore
  gitignore_file,  // .gitignore
  exclude_file,    // .git/info/exclude
  global_file,     // core.excludesFile
  built_in,        // the named list (watch_builtin)
};

struct IgnoreRule {
  Glob glob;
  std::string text;        // the line as it stands there
  std::string name;        // of a built-in rule
  std::uint32_t line = 0;  // in its file, or the place in its list, from 1
  bool negated = false;
  bool folder_only = false;
  bool anchored = false;
};

class IgnoreList {
 public:
  IgnoreList(IgnoreSource source, std::string file) : source_(source), file_(std::move(file)) {}
  // A service's own list.
  explicit IgnoreList(const std::vector<std::string>& lines);
  // A file's content: ends of lines as git takes them, with or without CR, a byte order mark skipped.
  IgnoreList(IgnoreSource source, std::string file, std::string_view content);

  // Only while a list is made: one line, which is the `line`th, counted from 1.
  void add(std::string_view text, std::uint32_t line, std::string name = {});

  // The last rule that matches, or nullptr. `relative` is the path below the list's folder, without a slash
  // at its start or end. None of the folders above it is looked at.
  const IgnoreRule* match(std::string_view relative, bool is_folder) const;

  IgnoreSource source() const { return source_; }
  const std::string& file() const { return file_; }  // absolute; empty for what is in no file
  bool empty() const { return rules_.empty(); }
  std::size_t refused() const { return refused_; }  // lines that are too long or too many

 private:
  IgnoreSource source_ = IgnoreSource::service;
  std::string file_;
  std::vector<IgnoreRule> rules_;
  std::size_t refused_ = 0;
};

}  // namespace runmain::drive
