// What is not watched: globs in the syntax of gitignore(5), the built-in ones first, the user's after them.
//
// A pattern with a slash at its start or inside is anchored to the watched root, any other matches a name at
// every depth; a slash at the end means folders only; `!` takes back; the last rule that matches decides. `*`
// and `?` match no slash, `**` between slashes any number of folders. Bytes, not characters; case matters.
// Invariant: a match takes time linear in the path for a given pattern, whatever the pattern is. Thread: one
// writer. Non-goal: reading .gitignore files.
#pragma once

#include <bitset>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace runmain::drive {

inline constexpr std::size_t kIgnoreRulesMax = 2048;   // rules in one set; the rest is refused
inline constexpr std::size_t kIgnorePatternMax = 512;  // bytes of one pattern; a longer one is refused

// What every watcher ignores unless a rule of the user takes it back: other tools' books, caches that a
// running program writes itself, and the temporary files of editors. Build outputs are not here: some people
// watch them.
inline constexpr const char* kBuiltinIgnores[] = {
    // version control
    ".git/",
    ".hg/",
    ".svn/",
    ".jj/",
    // installed or compiled, not edited
    "node_modules/",
    ".venv/",
    "venv/",
    "__pycache__/",
    "*.pyc",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    // settings, swap and temporary files of editors; 4913 is how vim tries a folder
    ".idea/",
    ".vscode/",
    "*.swp",
    "*.swx",
    "*.swo",
    "4913",
    "*~",
    ".#*",
    "\\#*#",
    ".*.kate-swp",
    "*___jb_tmp___",
    "*___jb_old___",
    ".goutputstream-*",
    // written by what runs
    "*.log",
    "*.sqlite3-journal",
    "*.sqlite3-wal",
    "*.sqlite3-shm",
    "*.db-journal",
};

// One glob. Compiled once into a small automaton that is run over the text without going back.
class Glob {
 public:
  // A pattern that cannot match anything (an open bracket, a lone backslash at its end) matches nothing.
  explicit Glob(std::string_view pattern);
  bool matches(std::string_view text) const;

 private:
  enum class Kind : unsigned char {
    literal,  // the byte `byte`
    any,      // one byte but '/'
    set,      // one byte of `set`
    star,     // bytes but '/', also none
    folders,  // nothing, or all up to some '/': two states
    folders_body,
    rest,  // one byte or more, also '/'
  };
  struct Token {
    Kind kind{};
    char byte = 0;
    std::size_t set = 0;  // index into sets_
  };
  static constexpr std::size_t kWords = (kIgnorePatternMax * 2 + 64) / 64;
  using States = std::bitset<kWords * 64>;

  void compile(std::string_view pattern);
  std::size_t compile_star(std::string_view pattern, std::size_t at);
  std::size_t compile_set(std::string_view pattern, std::size_t at);
  void enter(States& states, std::size_t state) const;
  bool run(std::string_view text) const;

  std::vector<Token> tokens_;
  std::vector<std::bitset<256>> sets_;
  std::string literal_;  // the whole pattern, or what follows a single star at its start
  bool valid_ = true;
  bool plain_ = false;   // no wildcard at all
  bool suffix_ = false;  // one star, then only bytes
};

class IgnoreRules {
 public:
  // The built-in rules, then `lines`. What is refused for a limit is counted.
  explicit IgnoreRules(const std::vector<std::string>& lines);

  // Whether the last rule that matches says ignore. `relative` is the path below the root, without a slash at
  // its start or end; none of the folders above it is ignored.
  bool ignores(std::string_view relative, bool is_folder) const;
  // The same where the folders above may be ignored: then so is all in them, whatever later rules say.
  bool ignores_below(std::string_view relative, bool is_folder) const;

  std::size_t refused() const { return refused_; }

 private:
  struct Rule {
    Glob glob;
    bool negated = false;
    bool folder_only = false;
    bool anchored = false;
  };
  void add(std::string_view line);

  std::vector<Rule> rules_;
  std::size_t refused_ = 0;
};

}  // namespace runmain::drive
