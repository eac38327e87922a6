// Folders that come, go and move, watched paths that are missing or links, names of every kind, a lost queue.
#include "os/linux/folder.hpp"
#include "watch_support.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace runmain::drive::test;

namespace {

struct Tree : Rig {
  Tree() { write_file(folder / "sentinel", "0"); }
  Tree(const std::vector<std::string>& folders, const std::vector<std::string>& files) : Tree() {
    for (const auto& f : folders) fs::create_directories(folder / f);
    for (const auto& f : files) write_file(folder / f, f);
    watch_folder();
  }
};

// A folder so deep that its path is longer than PATH_MAX, made step by step. Returns it, open.
os::UniqueFd make_deep(const std::string& top, const std::string& name, int levels) {
  os::UniqueFd at(::open(top.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < levels; ++i) {
    if (mkdirat(at.get(), name.c_str(), 0755) != 0 && errno != EEXIST) throw std::runtime_error("mkdirat");
    at.reset(openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!at) throw std::runtime_error("openat");
  }
  return at;
}

// Root reads everything: while this lives we are somebody else, who owns the folder.
struct AsNobody {
  explicit AsNobody(const std::string& folder) {
    if (!root) return;
    if (chown(folder.c_str(), 65534, static_cast<gid_t>(-1)) != 0) throw std::runtime_error("chown");
    if (seteuid(65534) != 0) throw std::runtime_error("seteuid");
  }
  ~AsNobody() {
    if (root && seteuid(0) != 0) std::abort();
  }
  const bool root = geteuid() == 0;
};

void write_at(int folder, const char* name, std::string_view text) {
  const os::UniqueFd fd(openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd || !os::write_all(fd.get(), text)) throw std::runtime_error("write_at");
}

}  // namespace

TEST_CASE("a file written at once into new nested folders is told") {
  Tree w({}, {});
  for (int i = 0; i < 20; ++i) {
    const std::string top = "d" + std::to_string(i);
    fs::create_directories(w.folder / (top + "/b/c"));
    write_file(w.folder / (top + "/b/c/f.py"), "x");
    if (i % 2 == 0) w.loop.turn(0ms);
  }
  const auto told = w.after_sentinel();
  std::uint32_t total = 0;
  (void)told;
  CHECK(w.watcher->counts().files == 21);
  // All later edits are seen too: every folder has its watch.
  for (int i = 0; i < 20; ++i) {
    write_file(w.folder / ("d" + std::to_string(i) + "/b/c/f.py"), "changed");
    const Names names = w.after_sentinel();
    total += names == Names{"d" + std::to_string(i) + "/b/c/f.py"} ? 1 : 0;
  }
  CHECK(total == 20);
}

TEST_CASE("folders and files that are made while the loop turns are all told") {
  Tree w({}, {});
  run("cd '" + w.folder.path() +
      "' && mkdir -p a/b/c && echo x > a/b/c/f.py && mkdir -p q && echo y > q/g.py");
  CHECK(w.after_sentinel() == Names{"a/b/c/f.py", "q/g.py"});
}

TEST_CASE("an empty new folder is no change") {
  Tree w({}, {});
  fs::create_directories(w.folder / "a/b");
  CHECK(w.after_sentinel() == Names{});
}

TEST_CASE(
    "a renamed folder is told in one delivery with what it had and what it has, and is watched under its new "
    "name") {
  Tree w({"a/sub"}, {"a/x.py", "a/sub/y.py"});
  fs::rename(w.folder / "a", w.folder / "b");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  REQUIRE(w.rest());
  CHECK(w.paths() == Names{"a/x.py", "a/sub/y.py", "b/x.py", "b/sub/y.py"});
  CHECK(w.deliveries == 1);
  write_file(w.folder / "b/sub/y.py", "edited");
  CHECK(w.after_sentinel() == Names{"b/sub/y.py"});
  fs::create_directories(w.folder / "a");
  write_file(w.folder / "a/x.py", "new");
  CHECK(w.after_sentinel() == Names{"a/x.py"});
}

TEST_CASE("a folder that is moved out is told as deleted and no longer watched") {
  TempFolder elsewhere;
  Tree w({"a/sub"}, {"a/x.py", "a/sub/y.py"});
  const auto before = w.watcher->counts().folders;
  run("mv '" + (w.folder / "a") + "' '" + (elsewhere / "a") + "'");
  CHECK(w.after_sentinel() == Names{"a/x.py", "a/sub/y.py"});
  CHECK(w.watcher->counts().folders == before - 2);
  write_file(elsewhere / "a/x.py", "edited outside");
  CHECK(w.after_sentinel() == Names{});
  run("mv '" + (elsewhere / "a") + "' '" + (w.folder / "a") + "'");
  CHECK(w.after_sentinel() == Names{"a/x.py", "a/sub/y.py"});
}

TEST_CASE("a folder that is deleted and copied back with the same bytes is no change") {
  Tree w({"a/sub"}, {"a/x.py", "a/sub/y.py"});
  TempFolder copy;
  run("cp -r '" + (w.folder / "a") + "' '" + (copy / "a") + "'");
  run("rm -rf '" + (w.folder / "a") + "' && cp -r '" + (copy / "a") + "' '" + (w.folder / "a") + "'");
  CHECK(w.after_sentinel() == Names{});
  write_file(w.folder / "a/sub/y.py", "edited");
  CHECK(w.after_sentinel() == Names{"a/sub/y.py"});
}

TEST_CASE("a file that is replaced by a folder and back is told each time") {
  Tree w({}, {"x"});
  REQUIRE(unlink((w.folder / "x").c_str()) == 0);
  fs::create_directory(w.folder / "x");
  write_file(w.folder / "x/in", "1");
  CHECK(w.after_sentinel() == Names{"x", "x/in"});
  fs::remove_all(w.folder / "x");
  write_file(w.folder / "x", "x");
  CHECK(w.after_sentinel() == Names{"x", "x/in"});
  write_file(w.folder / "x", "y");
  CHECK(w.after_sentinel() == Names{"x"});
}

TEST_CASE("a watched root that is deleted and made again is watched again") {
  Tree w;
  fs::create_directories(w.folder / "root/sub");
  write_file(w.folder / "root/a.py", "a");
  w.watch({w.folder / "root"});
  for (int i = 0; i < 3; ++i) {
    fs::remove_all(w.folder / "root");
    REQUIRE(w.until([&] { return !w.changes.empty(); }));
    CHECK(w.paths() == (i == 0 ? Names{"root/a.py"} : Names{"root/a.py", "root/sub/b.py"}));
    fs::create_directories(w.folder / "root/sub");
    write_file(w.folder / "root/a.py", "again");
    REQUIRE(w.until([&] { return !w.changes.empty(); }));
    CHECK(w.paths() == Names{"root/a.py"});
    write_file(w.folder / "root/sub/b.py", std::to_string(i));
    REQUIRE(w.until([&] { return !w.changes.empty(); }));
    CHECK(w.paths() == Names{"root/sub/b.py"});
  }
}

TEST_CASE("a root that is deleted and made again between two turns is compared by content") {
  Tree w;
  fs::create_directories(w.folder / "root/sub");
  write_file(w.folder / "root/a.py", "a");
  write_file(w.folder / "root/sub/b.py", "b");
  w.watch({w.folder / "root"});
  fs::remove_all(w.folder / "root");
  fs::create_directories(w.folder / "root/sub");
  write_file(w.folder / "root/a.py", "a");
  write_file(w.folder / "root/sub/b.py", "other");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  REQUIRE(w.rest());
  CHECK(w.paths() == Names{"root/sub/b.py"});
}

TEST_CASE("a root whose parents are renamed away and made again is found again") {
  Tree w;
  fs::create_directories(w.folder / "p/q/root");
  write_file(w.folder / "p/q/root/a.py", "a");
  w.watch({w.folder / "p/q/root"});
  fs::rename(w.folder / "p", w.folder / "old");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.paths() == Names{"p/q/root/a.py"});
  write_file(w.folder / "old/q/root/a.py", "not ours any more");
  fs::create_directories(w.folder / "p/q/root");
  write_file(w.folder / "p/q/root/a.py", "new");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  REQUIRE(w.rest());
  CHECK(w.paths() == Names{"p/q/root/a.py"});
  write_file(w.folder / "p/q/root/a.py", "newer");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.paths() == Names{"p/q/root/a.py"});
}

TEST_CASE("a watched path that does not exist yet is waited for and said so") {
  Tree w;
  w.watch({w.folder / "x/y/z"});
  CHECK(w.was_told("does not exist"));
  fs::create_directories(w.folder / "x");
  REQUIRE(w.rest());
  fs::create_directories(w.folder / "x/y/z/deep");
  write_file(w.folder / "x/y/z/deep/f.py", "x");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.paths() == Names{"x/y/z/deep/f.py"});
}

TEST_CASE("a single watched file is told alone, also after atomic saves, deletion and a time as a folder") {
  Tree w;
  write_file(w.folder / "conf.toml", "a");
  write_file(w.folder / "other", "a");
  w.watch({w.folder / "conf.toml"});
  CHECK(w.watcher->counts().files == 1);
  const auto next = [&] {
    const bool came = w.until([&] { return !w.changes.empty(); });
    return came && w.rest() ? w.paths() : Names{"nothing"};
  };
  for (int i = 0; i < 2; ++i) {
    write_file(w.folder / "other", std::to_string(i));
    write_file(w.folder / "conf.new", std::to_string(i));
    fs::rename(w.folder / "conf.new", w.folder / "conf.toml");
    CHECK(next() == Names{"conf.toml"});
  }
  fs::remove(w.folder / "conf.toml");
  CHECK(next() == Names{"conf.toml"});
  fs::create_directory(w.folder / "conf.toml");
  write_file(w.folder / "conf.toml/part", "x");
  CHECK(next() == Names{"conf.toml/part"});
  fs::remove_all(w.folder / "conf.toml");
  CHECK(next() == Names{"conf.toml/part"});
  write_file(w.folder / "conf.toml", "back");
  CHECK(next() == Names{"conf.toml"});
}

TEST_CASE("a link to a folder is not followed, and circles do no harm") {
  TempFolder elsewhere;
  Tree w({"a"}, {"a/x.py"});
  write_file(elsewhere / "f", "x");
  fs::create_directory_symlink(elsewhere.path(), w.folder / "out");
  fs::create_directory_symlink("..", w.folder / "a/up");
  fs::create_directory_symlink("self", w.folder / "self");
  CHECK(w.after_sentinel() == Names{"out", "a/up", "self"});
  write_file(elsewhere / "f", "changed");
  CHECK(w.after_sentinel() == Names{});
  write_file(w.folder / "a/x.py", "changed");
  CHECK(w.after_sentinel() == Names{"a/x.py"});
}

TEST_CASE("a watched path that is a link is followed, and followed elsewhere when it is changed") {
  Tree w;
  fs::create_directories(w.folder / "v1");
  fs::create_directories(w.folder / "v2");
  write_file(w.folder / "v1/a.py", "1");
  write_file(w.folder / "v2/a.py", "2");
  fs::create_directory_symlink("v1", w.folder / "current");
  w.watch({w.folder / "current"});
  const auto next = [&] {
    const bool came = w.until([&] { return !w.changes.empty(); });
    return came && w.rest() ? w.paths() : Names{"nothing"};
  };
  write_file(w.folder / "v1/a.py", "1.1");
  CHECK(next() == Names{"v1/a.py"});
  fs::create_directory_symlink("v2", w.folder / "next");
  fs::rename(w.folder / "next", w.folder / "current");
  CHECK(next() == Names{"current"});
  write_file(w.folder / "v1/a.py", "1.2");
  write_file(w.folder / "v2/a.py", "2.2");
  CHECK(next() == Names{"v2/a.py"});
}

TEST_CASE("a watched broken link is fixed later") {
  Tree w;
  fs::create_symlink("target/file", w.folder / "link");
  w.watch({w.folder / "link"});
  fs::create_directories(w.folder / "target");
  write_file(w.folder / "target/file", "x");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.paths() == Names{"target/file"});
}

TEST_CASE("names with a newline, with bytes that are no UTF-8 and of 255 bytes are told as they are") {
  Tree w({}, {});
  const std::string strange[] = {"new\nline", "\xff\xfe\x80", std::string(255, 'n'), " ", "-rf", "'\"$(x)"};
  Names expected;
  for (const auto& name : strange) {
    fs::create_directory(w.folder / ("d" + name.substr(0, 200)));
    write_file(w.folder / name, "x");
    write_file(w.folder / ("d" + name.substr(0, 200) + "/" + name), "x");
    expected.insert(name);
    expected.insert("d" + name.substr(0, 200) + "/" + name);
    Names told = w.after_sentinel();
    CHECK(told == expected);
    expected.clear();
  }
  for (const auto& name : strange) {
    write_file(w.folder / ("d" + name.substr(0, 200) + "/" + name), "changed");
    CHECK(w.after_sentinel() == Names{"d" + name.substr(0, 200) + "/" + name});
  }
}

TEST_CASE("an edit below a path that is longer than PATH_MAX is told") {
  Tree w;
  const std::string name(200, 'd');
  const os::UniqueFd before = make_deep(w.folder.path(), name, 25);
  write_at(before.get(), "old.py", "x");
  w.watch_folder();
  CHECK(w.watcher->counts().files == 2);
  write_at(before.get(), "old.py", "changed");
  const auto told = w.after_sentinel();
  REQUIRE(told.size() == 1);
  CHECK(told.begin()->size() > 4096);
  const os::UniqueFd later = make_deep(w.folder.path(), std::string(200, 'e'), 25);
  write_at(later.get(), "new.py", "x");
  CHECK(w.after_sentinel().size() == 1);
  write_at(later.get(), "new.py", "xx");
  CHECK(w.after_sentinel().size() == 1);
}

TEST_CASE("a folder that cannot be read is said once, and seen when it can") {
  Tree w({"a"}, {});
  const AsNobody nobody(w.folder.path());
  fs::create_directory(w.folder / "locked");
  REQUIRE(chmod((w.folder / "locked").c_str(), 0) == 0);
  REQUIRE(w.until([&] { return w.was_told("locked"); }));
  CHECK(w.changes.empty());
  REQUIRE(chmod((w.folder / "locked").c_str(), 0755) == 0);
  write_file(w.folder / "locked/f", "x");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.paths() == Names{"locked/f"});
}

TEST_CASE("one edit behind a burst that overflows the queue is told, the touches are not") {
  Tree w({"many"}, {"edited.py"});
  for (int i = 0; i < 200; ++i) write_file(w.folder / ("many/f" + std::to_string(i)), std::to_string(i));
  fs::create_directories(w.folder / "gone");
  write_file(w.folder / "gone/x", "x");
  REQUIRE(w.until([&] { return w.table.size() == 203; }));
  REQUIRE(w.rest());
  w.changes.clear();
  const int limit = std::stoi(os::inotify_limit("max_queued_events"));
  // Two different files in turn, or the kernel joins equal events. The loop does not turn.
  for (int i = 0; i < limit + 4000; ++i) {
    REQUIRE(utimensat(AT_FDCWD, (w.folder / ("many/f" + std::to_string(i % 200))).c_str(), nullptr, 0) == 0);
  }
  write_file(w.folder / "edited.py", "edited");
  fs::create_directories(w.folder / "lost/deep");
  write_file(w.folder / "lost/deep/new.py", "x");
  fs::remove_all(w.folder / "gone");
  fs::remove(w.folder / "many/f7");
  REQUIRE(w.until([&] { return w.was_told("max_queued_events"); }));
  CHECK(w.after_sentinel() == Names{"edited.py", "lost/deep/new.py", "gone/x", "many/f7"});
  CHECK(w.watcher->counts().overflows >= 1);
  // What came while the queue was lost is watched now.
  write_file(w.folder / "lost/deep/new.py", "xx");
  CHECK(w.after_sentinel() == Names{"lost/deep/new.py"});
}

TEST_CASE("an overflow without a real difference tells nothing but the overflow") {
  Tree w({}, {"a", "b"});
  const int limit = std::stoi(os::inotify_limit("max_queued_events"));
  for (int i = 0; i < limit + 1000; ++i) {
    REQUIRE(utimensat(AT_FDCWD, (w.folder / (i % 2 == 0 ? "a" : "b")).c_str(), nullptr, 0) == 0);
  }
  REQUIRE(w.until([&] { return w.was_told("max_queued_events"); }));
  CHECK(w.changes.empty());
  CHECK(w.after_sentinel() == Names{});
}

TEST_CASE("ten thousand edits without a pause are told while they go on") {
  Tree w({}, {"a.py"});
  std::uint32_t during = 0;
  for (int i = 0; i < 10'000; ++i) {
    write_file(w.folder / "a.py", std::to_string(10'000 + i), 0);  // truncating makes some file systems flush
    if (i % 100 == 99) {
      w.loop.turn(0ms);
      during += w.changes.empty() ? 0 : 1;
      w.changes.clear();
    }
  }
  CHECK(during == 100);
  CHECK(w.after_sentinel() == Names{});
}

TEST_CASE("an ignored folder with many files costs no watch and no entry") {
  Tree w;
  fs::create_directories(w.folder / "node_modules/x");
  for (int i = 0; i < 500; ++i) write_file(w.folder / ("node_modules/x/" + std::to_string(i)), "");
  w.watch_folder();
  CHECK(w.watcher->counts().files == 1);
  const auto folders = w.watcher->counts().folders;
  for (int i = 0; i < 500; ++i) write_file(w.folder / ("node_modules/x/" + std::to_string(i)), "x");
  CHECK(w.after_sentinel() == Names{});
  CHECK(w.watcher->counts().folders == folders);
}

TEST_CASE("ten turns of a thousand files in a hundred folders lose nothing") {
  Tree w;
  for (int d = 0; d < 100; ++d) {
    fs::create_directories(w.folder / ("d" + std::to_string(d)));
    for (int f = 0; f < 10; ++f)
      write_file(w.folder / ("d" + std::to_string(d) + "/" + std::to_string(f)), "x");
  }
  w.watch_folder();
  REQUIRE(w.rest());
  for (int turn = 0; turn < 10; ++turn) {
    for (int d = 0; d < 100; ++d) {
      for (int f = 0; f < 10; ++f) {
        write_file(w.folder / ("d" + std::to_string(d) + "/" + std::to_string(f)), std::to_string(turn), 0);
      }
    }
    std::uint32_t count = 0;
    REQUIRE(w.until([&] {
      for (const auto& c : w.changes) count += c.count;
      w.changes.clear();
      return count >= 1000;
    }));
    REQUIRE(w.rest());
    for (const auto& c : w.changes) count += c.count;
    w.changes.clear();
    CHECK(count == 1000);
  }
}
