// What counts as a change of a file, and what does not.
#include <thread>

#include "watch_support.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace runmain::drive::test;

namespace {

// A watched folder with a.py (two lines) and the sentinel.
struct Files : Rig {
  Files() {
    write_file(folder / "a.py", "one\ntwo\n");
    write_file(folder / "sentinel", "0");
    watch_folder();
  }
  bool told_of(const Names& names) {
    return until([&] {
      Names seen;
      for (const auto& c : changes) {
        for (const auto& p : c.paths) seen.insert(fs::path(p).filename().string());
      }
      return std::includes(seen.begin(), seen.end(), names.begin(), names.end());
    });
  }
};

}  // namespace

TEST_CASE("a written and closed file is told once with its absolute path") {
  Files w;
  write_file(w.folder / "a.py", "three\n");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  REQUIRE(w.changes.size() == 1);
  CHECK(w.changes[0].service == kWeb);
  CHECK(w.changes[0].paths == std::vector<std::string>{w.folder / "a.py"});
  CHECK(w.changes[0].count == 1);
  CHECK_FALSE(w.changes[0].unknown);
  w.changes.clear();
  CHECK(w.after_sentinel() == Names{});
}

TEST_CASE("the very first rewrite with the same bytes is no change") {
  Files w;
  write_file(w.folder / "a.py", "one\ntwo\n");
  CHECK(w.after_sentinel() == Names{});
  write_file(w.folder / "a.py", "one\nTWO\n");
  REQUIRE(w.told_of({"a.py"}));
}

TEST_CASE("a touch is no change") {
  Files w;
  for (int i = 0; i < 3; ++i) run("touch '" + (w.folder / "a.py") + "'");
  run("touch -d '2020-01-01' '" + (w.folder / "a.py") + "'");
  CHECK(w.after_sentinel() == Names{});
}

TEST_CASE("a chmod is a change only when it makes a file executable") {
  Files w;
  REQUIRE(chmod((w.folder / "a.py").c_str(), 0600) == 0);
  CHECK(w.after_sentinel() == Names{});
  REQUIRE(chmod((w.folder / "a.py").c_str(), 0700) == 0);
  CHECK(w.after_sentinel() == Names{"a.py"});
  REQUIRE(chmod((w.folder / "a.py").c_str(), 0600) == 0);
  CHECK(w.after_sentinel() == Names{});
  REQUIRE(chmod((w.folder / "a.py").c_str(), 0755) == 0);
  CHECK(w.after_sentinel() == Names{"a.py"});
}

TEST_CASE("a file that was opened for writing and not written is no change") {
  Files w;
  write_file(w.folder / "a.py", "", 0);
  CHECK(w.after_sentinel() == Names{});
}

TEST_CASE("a new file and a deleted file are each told after their grace") {
  Files w;
  write_file(w.folder / "b.py", "new");
  REQUIRE(w.told_of({"b.py"}));
  w.changes.clear();
  REQUIRE(unlink((w.folder / "b.py").c_str()) == 0);
  REQUIRE(w.told_of({"b.py"}));
  CHECK(w.rest());
  w.paths();
  CHECK(w.deliveries == 1);
}

TEST_CASE("a file that is deleted and made again with the same bytes is no change") {
  Files w;
  REQUIRE(unlink((w.folder / "a.py").c_str()) == 0);
  w.loop.turn(0ms);  // the deletion is seen before the file is back
  write_file(w.folder / "a.py", "one\ntwo\n");
  CHECK(w.after_sentinel() == Names{});
}

TEST_CASE("a file that is deleted and made again with other bytes is told once") {
  Files w;
  REQUIRE(unlink((w.folder / "a.py").c_str()) == 0);
  w.loop.turn(0ms);
  write_file(w.folder / "a.py", "other");
  REQUIRE(w.told_of({"a.py"}));
  REQUIRE(w.rest());
  CHECK(w.paths() == Names{"a.py"});
  CHECK(w.deliveries == 1);
}

TEST_CASE(
    "a temporary file that is renamed over the real one is one change of the real one, twice in a row") {
  Files w;
  for (const std::string text : {"first", "second"}) {
    write_file(w.folder / "a.py.x81kd", text);
    w.loop.turn(0ms);  // the temporary file is seen while it is there
    REQUIRE(rename((w.folder / "a.py.x81kd").c_str(), (w.folder / "a.py").c_str()) == 0);
    REQUIRE(w.told_of({"a.py"}));
    REQUIRE(w.rest());
    CHECK(w.paths() == Names{"a.py"});
    CHECK(w.deliveries == 1);
  }
}

TEST_CASE("a save by link and unlink is one change") {
  Files w;
  write_file(w.folder / "tmp81", "linked");
  REQUIRE(unlink((w.folder / "a.py").c_str()) == 0);
  REQUIRE(link((w.folder / "tmp81").c_str(), (w.folder / "a.py").c_str()) == 0);
  REQUIRE(unlink((w.folder / "tmp81").c_str()) == 0);
  REQUIRE(w.told_of({"a.py"}));
  REQUIRE(w.rest());
  CHECK(w.paths() == Names{"a.py"});
}

TEST_CASE("a save by an unnamed file that is linked into place is one change") {
  Files w;
  os::UniqueFd fd(::open(w.folder.path().c_str(), O_TMPFILE | O_WRONLY, 0644));
  REQUIRE(fd);
  REQUIRE(os::write_all(fd.get(), "whole"));
  REQUIRE(unlink((w.folder / "a.py").c_str()) == 0);
  const std::string self = "/proc/self/fd/" + std::to_string(fd.get());
  REQUIRE(linkat(AT_FDCWD, self.c_str(), AT_FDCWD, (w.folder / "a.py").c_str(), AT_SYMLINK_FOLLOW) == 0);
  fd.reset();
  REQUIRE(w.told_of({"a.py"}));
  REQUIRE(w.rest());
  CHECK(w.paths() == Names{"a.py"});
}

TEST_CASE("sed -i is one change, twice in a row") {
  Files w;
  for (const std::string edit : {"s/one/1/", "s/two/2/"}) {
    run("sed -i '" + edit + "' '" + (w.folder / "a.py") + "'");
    REQUIRE(w.told_of({"a.py"}));
    REQUIRE(w.rest());
    CHECK(w.paths() == Names{"a.py"});
    CHECK(w.deliveries == 1);
  }
}

TEST_CASE("a save by vim is one change whatever its backup settings are, twice in a row") {
  const std::string settings =
      GENERATE("set nobackup writebackup backupcopy=no", "set nobackup writebackup backupcopy=yes",
               "set backup backupcopy=no", "set nowritebackup nobackup", "set backup backupcopy=yes");
  Files w;
  for (int i = 0; i < 2; ++i) {
    run("vim -u NONE -es -c '" + settings + "' -c 'set swapfile' -c '%s/o/" + std::to_string(i) +
        "o/' -c wq '" + (w.folder / "a.py") + "' </dev/null >/dev/null 2>&1");
    REQUIRE(w.told_of({"a.py"}));
    REQUIRE(w.rest());
    INFO(settings);
    CHECK(w.paths() == Names{"a.py"});
    CHECK(w.deliveries == 1);
  }
}

TEST_CASE("vim may be seen at every step of its save") {
  Files w;
  const std::string vim = "vim -u NONE -es -c 'set writebackup backupcopy=no' -c '%s/o/0o/' -c wq '" +
                          (w.folder / "a.py") + "' </dev/null >/dev/null 2>&1";
  std::thread editor([&] { run(vim); });
  const bool told = w.told_of({"a.py"});  // the loop turns while it saves
  editor.join();
  REQUIRE(told);
  REQUIRE(w.rest());
  CHECK(w.paths() == Names{"a.py"});
  CHECK(w.deliveries == 1);
}

TEST_CASE("a file is not told while it is written, only when it is closed") {
  Files w;
  os::UniqueFd fd(::open((w.folder / "a.py").c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  REQUIRE(fd);
  CHECK(w.after_sentinel() == Names{});
  for (int i = 0; i < 20; ++i) REQUIRE(os::write_all(fd.get(), std::string(65536, 'x')));
  CHECK(w.after_sentinel() == Names{});
  REQUIRE(os::write_all(fd.get(), "end"));
  fd.reset();
  CHECK(w.after_sentinel() == Names{"a.py"});
}

TEST_CASE("a new file is not told while it is written") {
  Files w;
  os::UniqueFd fd(::open((w.folder / "b.py").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  REQUIRE(fd);
  REQUIRE(os::write_all(fd.get(), "half"));
  CHECK(w.after_sentinel() == Names{});
  fd.reset();
  CHECK(w.after_sentinel() == Names{"b.py"});
}

TEST_CASE("a file that is emptied and filled by the next open is told once, with its content") {
  Files w;
  write_file(w.folder / "a.py", "");
  w.loop.turn(0ms);
  CHECK(w.changes.empty());
  os::UniqueFd fd(::open((w.folder / "a.py").c_str(), O_WRONLY | O_CLOEXEC));
  REQUIRE(w.rest());  // the grace of the empty file is over while it is being filled
  CHECK(w.changes.empty());
  REQUIRE(os::write_all(fd.get(), "whole"));
  fd.reset();
  REQUIRE(w.told_of({"a.py"}));
  REQUIRE(w.rest());
  CHECK(w.paths() == Names{"a.py"});
  CHECK(w.deliveries == 1);
}

TEST_CASE("a file that stays empty is a change") {
  Files w;
  write_file(w.folder / "a.py", "");
  CHECK(w.after_sentinel() == Names{"a.py"});
}

TEST_CASE("a second name for a file is a new file") {
  Files w;
  REQUIRE(link((w.folder / "a.py").c_str(), (w.folder / "b.py").c_str()) == 0);
  CHECK(w.after_sentinel() == Names{"b.py"});
  write_file(w.folder / "b.py", "edited through the other name");
  CHECK(w.after_sentinel().count("b.py") == 1);
}

TEST_CASE("an edit through another name of the file, outside the tree, is told once, until the two part") {
  TempFolder elsewhere;
  Rig w;
  write_file(w.folder / "a", "one");
  write_file(w.folder / "sentinel", "0");
  fs::create_hard_link(w.folder / "a", elsewhere / "a");
  w.watch_folder();
  for (const char* text : {"two", "three"}) {
    write_file(elsewhere / "a", text);
    CHECK(w.after_sentinel() == Names{"a"});
  }
  write_file(w.folder / "a", "four");
  CHECK(w.after_sentinel() == Names{"a"});
  CHECK(w.deliveries <= 2);
  write_file(w.folder / "new", "five");
  fs::rename(w.folder / "new", w.folder / "a");  // as an editor saves: now the other one is another file
  CHECK(w.after_sentinel() == Names{"a"});
  write_file(elsewhere / "a", "six");
  CHECK(w.after_sentinel() == Names{});
  // A name that comes later is learned when the file is looked at the next time.
  fs::create_hard_link(w.folder / "a", elsewhere / "b");
  write_file(w.folder / "a", "seven");
  CHECK(w.after_sentinel() == Names{"a"});
  write_file(elsewhere / "b", "eight");
  CHECK(w.after_sentinel() == Names{"a"});
}

TEST_CASE("a link that leads elsewhere is a change, a broken one too") {
  Files w;
  REQUIRE(symlink("a.py", (w.folder / "link").c_str()) == 0);
  CHECK(w.after_sentinel() == Names{"link"});
  REQUIRE(symlink("nowhere", (w.folder / "link2").c_str()) == 0);
  REQUIRE(rename((w.folder / "link2").c_str(), (w.folder / "link").c_str()) == 0);
  CHECK(w.after_sentinel() == Names{"link"});
  REQUIRE(symlink("nowhere", (w.folder / "link2").c_str()) == 0);
  REQUIRE(rename((w.folder / "link2").c_str(), (w.folder / "link").c_str()) == 0);
  CHECK(w.after_sentinel() == Names{});
}

TEST_CASE("fifos, sockets and devices are neither told nor opened") {
  Files w;
  REQUIRE(mkfifo((w.folder / "fifo").c_str(), 0600) == 0);
  CHECK(w.after_sentinel() == Names{});
  REQUIRE(chmod((w.folder / "fifo").c_str(), 0700) == 0);
  CHECK(w.after_sentinel() == Names{});
}

TEST_CASE("more changed files than are listed are counted") {
  Files w;
  for (int i = 0; i < 20; ++i) write_file(w.folder / ("n" + std::to_string(i)), "x");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  REQUIRE(w.rest());
  std::uint32_t count = 0;
  for (const auto& c : w.changes) {
    CHECK(c.paths.size() <= core::kChangedPathsMax);
    count += c.count;
  }
  CHECK(count == 20);
}

TEST_CASE("built-in rules keep editors' and tools' files out, and a rule of the user takes one back") {
  Files w;
  w.watch_folder({"!*.log", "*.md", "/gen/", "!keep.md"});
  for (const char* dir : {".git", "node_modules", "gen", "__pycache__", "src", "src/gen"})
    fs::create_directory(w.folder / dir);
  for (const char* name : {".git/config", "node_modules/x.js", "gen/x.c", "__pycache__/a.pyc", "a.py~",
                           ".a.py.swp", "4913", "#a.py#", ".#a.py", "README.md"}) {
    write_file(w.folder / name, "x");
  }
  CHECK(w.after_sentinel() == Names{});
  write_file(w.folder / "x.log", "x");
  write_file(w.folder / "keep.md", "x");
  write_file(w.folder / "src/gen/x.c", "x");
  CHECK(w.after_sentinel() == Names{"x.log", "keep.md", "src/gen/x.c"});
}

TEST_CASE("two services that watch the same tree are each told, by one watch a folder") {
  Files w;
  fs::create_directory(w.folder / "sub");
  REQUIRE(w.rest());
  const auto before = w.watcher->counts();
  w.watch({w.folder.path()}, {"*.md"}, kApi);
  w.watch({w.folder / "sub"}, {}, ServiceId{3});
  CHECK(w.watcher->counts().folders == before.folders);
  write_file(w.folder / "x.md", "x");
  write_file(w.folder / "sub/y.py", "x");
  CHECK(w.after_sentinel() == Names{"x.md", "sub/y.py"});
  CHECK(w.paths(kApi) == Names{"sub/y.py", "sentinel"});
  CHECK(w.paths(ServiceId{3}) == Names{"sub/y.py"});

  w.watcher->remove(kWeb);
  write_file(w.folder / "x.md", "xx");
  write_file(w.folder / "a.py", "xx");
  CHECK(w.after_sentinel(kApi) == Names{"a.py"});
  CHECK(w.paths(kWeb) == Names{});
  w.watcher->remove(kApi);
  w.watcher->remove(ServiceId{3});
  CHECK(w.watcher->counts().folders == 0);
  CHECK(w.watcher->counts().files == 0);
}

TEST_CASE("a changed spec keeps what was seen and an edit made meanwhile is told") {
  Files w;
  write_file(w.folder / "a.py", "edited");
  write_file(w.folder / "new.py", "edited");
  w.watch_folder({"*.md"});
  CHECK(w.after_sentinel() == Names{"a.py", "new.py"});
}

TEST_CASE("a service that starts to watch a file does not hide its edit from another one") {
  Files w;
  write_file(w.folder / "new.py", "x");
  w.watch({w.folder.path()}, {}, kApi);
  CHECK(w.after_sentinel() == Names{"new.py"});
}
