// Only files that an include glob matches; folders are walked all the same.
#include "watch_support.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace runmain::drive::test;

namespace {

Names told_of(Rig& w, const std::vector<std::string>& include, const std::vector<std::string>& names,
              const std::vector<std::string>& ignore = {}) {
  static int edits = 0;
  core::WatchSpec spec;
  spec.paths = {w.folder.path(), w.folder / "sentinel"};
  spec.include = include;
  spec.ignore = ignore;
  w.watcher->set(kWeb, spec);
  for (const std::string& name : names) {
    fs::create_directories(fs::path(w.folder / name).parent_path());
    write_file(w.folder / name, std::to_string(++edits));
  }
  return w.after_sentinel();
}

}  // namespace

TEST_CASE("an include glob without a slash matches at every depth, one with a slash from the watched path") {
  Rig w;
  const std::vector<std::string> names{"a.py",     "deep/er/b.py",  "a.md",
                                       "src/x.ts", "src/deep/y.ts", "other/src/z.ts"};
  CHECK(told_of(w, {"*.py", "src/**/*.ts"}, names) ==
        Names{"a.py", "deep/er/b.py", "src/x.ts", "src/deep/y.ts"});
  CHECK(told_of(w, {"*.ts", "!z.ts"}, names) == Names{"src/x.ts", "src/deep/y.ts"});
  CHECK(told_of(w, {"/src/"}, names) == Names{"src/x.ts", "src/deep/y.ts"});
  CHECK(told_of(w, {}, names) == Names{names.begin(), names.end()});
}

TEST_CASE("what is ignored is not included") {
  Rig w;
  CHECK(told_of(w, {"*.py", "*.log"}, {"a.py", "b.py", "c.log"}, {"b.py"}) == Names{"a.py"});
}

TEST_CASE("a file that include leaves out costs no row, and its deletion is no change") {
  Rig w;
  told_of(w, {"*.py"}, {"a.py", "b.md"});
  CHECK(w.watcher->counts().files == 2);  // with the sentinel
  fs::remove(w.folder / "b.md");
  fs::remove(w.folder / "a.py");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.after_sentinel() == Names{"a.py"});
}

TEST_CASE("a takeover keeps what include and the ignore files leave out") {
  Rig w;
  write_file(w.folder / ".gitignore", "b.py\n");
  told_of(w, {"*.py"}, {"a.py", "b.py", "c.md"});
  w.take_over(w.table.save());
  CHECK(told_of(w, {"*.py"}, {"b.py", "c.md"}) == Names{});
}
