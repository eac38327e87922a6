#include "drive/watch_builtin.hpp"

namespace runmain::drive {
namespace {

constexpr BuiltinRule kRepositories[] = {
    {".git", ".git"},
    {".hg", ".hg/"},
    {".svn", ".svn/"},
    {".jj", ".jj/"},
};

// 4913 is how vim tries whether it may make files in a folder.
constexpr BuiltinRule kRules[] = {
    {"ignore files", ".gitignore"},
    {"ignore files", ".ignore"},
    {"node_modules", "node_modules/"},
    {".venv", ".venv/"},
    {"venv", "venv/"},
    {"__pycache__", "__pycache__/"},
    {"*.pyc", "*.pyc"},
    {"*.pyc", "*.pyo"},
    {".mypy_cache", ".mypy_cache/"},
    {".pytest_cache", ".pytest_cache/"},
    {".ruff_cache", ".ruff_cache/"},
    {".tox", ".tox/"},
    {".nox", ".nox/"},
    {"coverage data", ".coverage"},
    {"sqlite databases", "*.sqlite3"},
    {"sqlite databases", "*.sqlite"},
    {"sqlite databases", "*.db"},
    {"sqlite journals", "*.sqlite3-journal"},
    {"sqlite journals", "*.sqlite3-wal"},
    {"sqlite journals", "*.sqlite3-shm"},
    {"sqlite journals", "*.sqlite-journal"},
    {"sqlite journals", "*.sqlite-wal"},
    {"sqlite journals", "*.sqlite-shm"},
    {"sqlite journals", "*.db-journal"},
    {"sqlite journals", "*.db-wal"},
    {"sqlite journals", "*.db-shm"},
    {"*.log", "*.log"},
    {"editor settings", ".idea/"},
    {"editor settings", ".vscode/"},
    {"vim's files", "4913"},
    {"vim's files", "*.swp"},
    {"vim's files", "*.swo"},
    {"vim's files", "*.swx"},
    {"backup files", "*~"},
    {"emacs' files", "\\#*#"},
    {"emacs' files", ".#*"},
    {"JetBrains' files", "*___jb_tmp___"},
    {"JetBrains' files", "*___jb_old___"},
    {"kate's files", ".*.kate-swp"},
    {"gnome's files", ".goutputstream-*"},
    {".DS_Store", ".DS_Store"},
    {"Thumbs.db", "Thumbs.db"},
};

template <std::size_t N>
IgnoreList make(IgnoreSource source, const BuiltinRule (&rules)[N]) {
  IgnoreList list(source, "");
  std::uint32_t number = 0;
  for (const BuiltinRule& rule : rules) list.add(rule.glob, ++number, rule.name);
  return list;
}

}  // namespace

const IgnoreList& builtin_repositories() {
  static const IgnoreList list = make(IgnoreSource::repositories, kRepositories);
  return list;
}

const IgnoreList& builtin_rules() {
  static const IgnoreList list = make(IgnoreSource::built_in, kRules);
  return list;
}

}  // namespace runmain::drive
