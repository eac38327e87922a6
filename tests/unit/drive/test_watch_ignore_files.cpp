// Ignore files as the watcher meets them: which counts more, what costs nothing, and what their edits do.
#include "drive/watch_roots.hpp"
#include "watch_support.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace runmain::drive::test;

namespace {

void make_repository(const TempFolder& folder) {
  fs::create_directories(folder / ".git/info");
  write_file(folder / ".git/HEAD", "ref: refs/heads/main\n");
}

// What is watched: one deliverable edit of each of these, and which of them was told.
Names told_edits(Rig& w, const std::vector<std::string>& names) {
  static int edits = 0;  // never the same bytes twice
  for (const std::string& name : names) write_file(w.folder / name, std::to_string(++edits));
  return w.after_sentinel();
}

void make_files(Rig& w, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    fs::create_directories(fs::path(w.folder / name).parent_path());
    write_file(w.folder / name, "");
  }
}

// Turns until the watcher has read what was done to ignore files.
void let_rules_settle(Rig& w) { w.after_sentinel(); }

}  // namespace

TEST_CASE("the stronger list decides: the service's, .ignore, .gitignore from within, exclude, built in") {
  Rig w;
  make_repository(w.folder);
  make_files(w, {"a/own.x", "a/dot.x", "a/deep.x", "a/git.x", "a/info.x", "a/built.log", "a/kept.log"});
  write_file(w.folder / ".git/info/exclude", "*.x\n");
  write_file(w.folder / ".gitignore", "!info.x\ndeep.x\ngit.x\ndot.x\nown.x\n!kept.log\n");
  write_file(w.folder / "a/.gitignore", "!deep.x\ndot.x\n");
  write_file(w.folder / ".ignore", "!dot.x\n");
  w.watch_folder({"!own.x"});
  CHECK(told_edits(w, {"a/own.x", "a/dot.x", "a/deep.x", "a/git.x", "a/info.x", "a/built.log",
                       "a/kept.log"}) == Names{"a/own.x", "a/dot.x", "a/deep.x", "a/info.x", "a/kept.log"});
}

TEST_CASE("nothing below an ignored folder comes back, but the service's own rule brings back the folder") {
  Rig w;
  make_files(w, {"out/keep.py", "gen/keep.py"});
  write_file(w.folder / ".gitignore", "out/\n!out/keep.py\ngen/\n");
  w.watch_folder({"!gen/"});
  CHECK(told_edits(w, {"out/keep.py", "gen/keep.py"}) == Names{"gen/keep.py"});
}

TEST_CASE("a rule of an ignore file opens no repository's folder, a service's own rule does") {
  Rig w;
  make_repository(w.folder);
  write_file(w.folder / ".gitignore", "*\n!*/\n!*.py\n!HEAD\n!sentinel\n");
  w.watch_folder();
  CHECK(told_edits(w, {".git/HEAD", "a.py", "a.md"}) == Names{"a.py"});
  w.watch_folder({"!.git"});
  write_file(w.folder / ".git/HEAD", "ref: refs/heads/other\n");
  CHECK(w.after_sentinel() == Names{".git/HEAD"});
}

TEST_CASE("ignore files above the watched path count up to the repository's top, not beyond") {
  Rig w;
  make_repository(w.folder);
  fs::create_directories(w.folder / "outer/inner/.git");
  make_files(w, {"outer/src/a.gen", "outer/src/a.py", "outer/inner/src/a.gen", "outer/inner/src/b.gen"});
  write_file(w.folder / ".gitignore", "*.gen\n");
  write_file(w.folder / "outer/inner/.gitignore", "b.gen\n");
  w.watch({w.folder / "outer/src", w.folder / "outer/inner/src", w.folder / "sentinel"});
  CHECK(told_edits(w, {"outer/src/a.gen", "outer/src/a.py", "outer/inner/src/a.gen",
                       "outer/inner/src/b.gen"}) == Names{"outer/src/a.py", "outer/inner/src/a.gen"});
}

TEST_CASE("a watched path that its repository ignores is watched all the same") {
  Rig w;
  make_repository(w.folder);
  make_files(w, {"build/x/a.js", "build/x/b.js"});
  write_file(w.folder / ".gitignore", "/build/**\n*.js\n");
  write_file(w.folder / "build/x/.gitignore", "b.js\n");
  w.watch({w.folder / "build/x", w.folder / "sentinel"});
  CHECK(told_edits(w, {"build/x/a.js", "build/x/b.js"}) == Names{"build/x/a.js"});
}

TEST_CASE("with ignore_files = false only the service's own rules count, and repositories stay out") {
  Rig w;
  make_repository(w.folder);
  make_files(w, {"a.py", "b.py", "x.log"});
  write_file(w.folder / ".gitignore", "a.py\n");
  core::WatchSpec spec;
  spec.paths = {w.folder.path()};
  spec.ignore = {"b.py"};
  spec.ignore_files = false;
  w.watcher->set(kWeb, spec);
  CHECK(told_edits(w, {"a.py", "b.py", "x.log", ".git/HEAD"}) == Names{"a.py", "x.log"});
}

TEST_CASE("what ignore files name costs no watch and no row") {
  Rig w;
  make_files(w, {"src/a.py"});
  write_file(w.folder / ".gitignore", "/out/\n*.tmp\n");
  for (int i = 0; i < 2000; ++i) {
    const std::string name = std::to_string(i);
    if (i % 100 == 0) fs::create_directories(w.folder / ("out/" + name));
    write_file(w.folder / ("out/" + std::to_string(i / 100 * 100) + "/" + name + ".py"), "");
    write_file(w.folder / ("src/" + name + ".tmp"), "");
  }
  w.watch_folder();
  const auto anchors =
      static_cast<std::size_t>(std::count(w.folder.path().begin(), w.folder.path().end(), '/'));
  CHECK(w.watcher->counts().files == 1);
  CHECK(w.watcher->counts().folders == anchors + 2);
}

TEST_CASE("an ignore file that is written, edited or deleted takes effect at once and reloads nothing") {
  Rig w;
  make_files(w, {"a/x.py", "b/deep/y.py", "c.md", "sentinel"});
  w.watch_folder();
  CHECK(told_edits(w, {"a/x.py", "b/deep/y.py", "c.md"}) == Names{"a/x.py", "b/deep/y.py", "c.md"});
  const auto all = w.watcher->counts();

  write_file(w.folder / ".gitignore", "/b/\n*.md\n");
  let_rules_settle(w);
  CHECK(w.watcher->counts().folders == all.folders - 2);
  CHECK(w.watcher->counts().files == all.files - 2);
  write_file(w.folder / "b/deep/y.py", "hidden");
  write_file(w.folder / "c.md", "hidden");
  CHECK(told_edits(w, {"a/x.py"}) == Names{"a/x.py"});

  run("sed -i s:/b/:/a/: '" + (w.folder / ".gitignore") + "'");
  REQUIRE(w.until([&] { return w.table.find(w.folder / "b/deep", "y.py") != nullptr; }));
  CHECK(w.after_sentinel() == Names{});
  CHECK(told_edits(w, {"a/x.py", "b/deep/y.py"}) == Names{"b/deep/y.py"});

  fs::remove(w.folder / ".gitignore");
  REQUIRE(w.until([&] { return w.table.find(w.folder / "a", "x.py") != nullptr; }));
  CHECK(w.after_sentinel() == Names{});
  CHECK(w.watcher->counts().folders == all.folders);
  CHECK(told_edits(w, {"a/x.py", "c.md"}) == Names{"a/x.py", "c.md"});
}

TEST_CASE("files that come together with the rule that reveals them are told") {
  Rig w;
  make_files(w, {"sentinel"});
  write_file(w.folder / ".gitignore", "/gen/\n");
  w.watch_folder();
  REQUIRE(w.rest());
  write_file(w.folder / ".gitignore", "/other/\n");
  make_files(w, {"gen/deep/a.py", "other/b.py"});
  CHECK(w.after_sentinel() == Names{"gen/deep/a.py"});
}

TEST_CASE("an edit of exclude, of the global excludes and of a .gitignore above counts at once") {
  Rig w;
  fs::create_directories(w.folder / "home/git");
  const char* before = std::getenv("XDG_CONFIG_HOME");
  const std::string kept = before == nullptr ? "" : before;
  setenv("XDG_CONFIG_HOME", (w.folder / "home").c_str(), 1);
  w.watcher.reset();
  w.start();
  fs::create_directories(w.folder / "repo/.git/info");
  make_files(w, {"repo/src/a.py", "repo/src/b.py", "repo/src/c.py", "sentinel"});
  w.watch({w.folder / "repo/src", w.folder / "sentinel"});
  const auto a = [&](const char* file, const char* rule) {
    write_file(w.folder / file, rule);
    let_rules_settle(w);
    return told_edits(w, {"repo/src/a.py", "repo/src/b.py", "repo/src/c.py"}).size();
  };
  CHECK(a("home/git/ignore", "a.py\n") == 2);
  CHECK(a("repo/.git/info/exclude", "b.py\n") == 1);
  CHECK(a("repo/.gitignore", "c.py\n") == 0);
  if (before == nullptr) {
    unsetenv("XDG_CONFIG_HOME");
  } else {
    setenv("XDG_CONFIG_HOME", kept.c_str(), 1);
  }
}

TEST_CASE("the rule that hides a file may come with a save by rename, and holds without a gap") {
  Rig w;
  make_files(w, {"out/a.py", "sentinel"});
  write_file(w.folder / ".gitignore", "/out/\n");
  w.watch_folder();
  const auto before = w.watcher->counts();
  for (int i = 0; i < 2; ++i) {
    fs::rename(w.folder / ".gitignore", w.folder / ".gitignore~");
    REQUIRE(w.rest());
    write_file(w.folder / ".gitignore", "/out/\n# " + std::to_string(i) + "\n");
    fs::remove(w.folder / ".gitignore~");
    CHECK(told_edits(w, {"out/a.py"}) == Names{});
  }
  CHECK(w.watcher->counts().folders == before.folders);
}

TEST_CASE("lines that are too long or too many are said") {
  Rig w;
  write_file(w.folder / ".gitignore", std::string(kIgnorePatternMax + 1, 'a') + "\n*.x\n");
  make_files(w, {"a.x", "a.y"});
  w.watch_folder();
  CHECK(told_edits(w, {"a.x", "a.y"}) == Names{"a.y"});
  CHECK(w.was_told("1 lines of " + (w.folder / ".gitignore")));
}

TEST_CASE("core.excludesFile is read as git reads it") {
  const auto is = [](const char* text, const char* value) {
    const auto found = excludes_file_in(text);
    return found.has_value() && *found == value;
  };
  CHECK(is("[core]\n\texcludesFile = /a/b\n", "/a/b"));
  CHECK(is("[CORE] excludesfile=~/x ; why\n", "~/x"));
  CHECK(is("[core]\nexcludesFile = \"/a # b\" # c\n", "/a # b"));
  CHECK(is("[core]\nexcludesFile = /a\\\n/b\n", "/a/b"));
  CHECK(is("[core]\r\nexcludesFile = /a b\r\n", "/a b"));
  CHECK(is("[core]\nexcludesFile = /1\n[user]\nexcludesFile = /2\n[core]\nexcludesFile = /3", "/3"));
  CHECK(is("[core]\n# excludesFile = /1\nbare\nexcludesFile = /2\n", "/2"));
  CHECK_FALSE(excludes_file_in("[core \"x\"]\nexcludesFile = /1\n").has_value());
  CHECK_FALSE(excludes_file_in("excludesFile = /1\n").has_value());
  CHECK_FALSE(excludes_file_in("[core").has_value());
}
