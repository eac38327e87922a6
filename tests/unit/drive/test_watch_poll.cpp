// Polling because somebody asks for it, and beside the watches of a file system that tells half of it.
#include "os/linux/folder.hpp"
#include "watch_support.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace runmain::drive::test;

namespace {

void poll(Rig& w, const std::vector<std::string>& paths, ServiceId service = kWeb, bool on = true) {
  core::WatchSpec spec;
  spec.paths = paths;
  spec.poll = on;
  w.watcher->set(service, spec);
}

struct Remote {
  explicit Remote(std::function<const char*(int)> fault) {
    os::remote_file_system_fault() = std::move(fault);
  }
  ~Remote() { os::remote_file_system_fault() = nullptr; }
};

}  // namespace

TEST_CASE("with poll = true edits, new folders and deletions are found without one watch in the tree") {
  Rig w;
  fs::create_directories(w.folder / "a/b");
  write_file(w.folder / "a/b/f.py", "1");
  write_file(w.folder / "sentinel", "");
  poll(w, {w.folder.path()});
  CHECK(w.watcher->counts().polled == 3);
  CHECK(w.told.empty());
  write_file(w.folder / "a/b/f.py", "2");
  fs::create_directories(w.folder / "new/deep");
  write_file(w.folder / "new/deep/g.py", "1");
  CHECK(w.after_sentinel() == Names{"a/b/f.py", "new/deep/g.py"});
  fs::remove_all(w.folder / "new");
  CHECK(w.after_sentinel() == Names{"new/deep/g.py"});
  CHECK(w.watcher->counts().events == 0);
}

TEST_CASE("a polled tree takes the edit of an ignore file without a reload, too") {
  Rig w;
  fs::create_directories(w.folder / "out");
  write_file(w.folder / "out/f.py", "1");
  write_file(w.folder / ".gitignore", "/out/\n");
  write_file(w.folder / "sentinel", "");
  poll(w, {w.folder.path()});
  CHECK(w.watcher->counts().polled == 1);
  write_file(w.folder / ".gitignore", "/other/\n");
  REQUIRE(w.until([&] { return w.watcher->counts().polled == 2; }));
  CHECK(w.after_sentinel() == Names{});
  write_file(w.folder / "out/f.py", "2");
  CHECK(w.after_sentinel() == Names{"out/f.py"});
}

TEST_CASE("a polled file, and one that is not there yet, are found") {
  Rig w;
  write_file(w.folder / "f.py", "1");
  poll(w, {w.folder / "f.py", w.folder / "later/g.py"});
  CHECK(w.watcher->counts().polled == 1);
  write_file(w.folder / "f.py", "2");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.paths() == Names{"f.py"});
  fs::create_directories(w.folder / "later");
  write_file(w.folder / "later/g.py", "1");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.paths() == Names{"later/g.py"});
}

TEST_CASE("a service that stops to poll is told by events again") {
  Rig w;
  write_file(w.folder / "sentinel", "");
  poll(w, {w.folder.path()});
  CHECK(w.watcher->counts().polled == 1);
  poll(w, {w.folder.path()}, kWeb, false);
  CHECK(w.watcher->counts().polled == 0);
  write_file(w.folder / "f.py", "1");
  CHECK(w.after_sentinel() == Names{"f.py"});
  CHECK(w.watcher->counts().events > 0);
}

TEST_CASE("a folder on a remote file system is watched and looked at every second, said once") {
  Rig w;
  fs::create_directories(w.folder / "a");
  write_file(w.folder / "a/f.py", "1");
  write_file(w.folder / "sentinel", "");
  const Remote remote([](int) { return "nfs"; });
  w.watch_folder();
  CHECK(w.watcher->counts().polled == 2);
  CHECK(w.was_told("is on nfs, where changes made elsewhere are not told"));
  CHECK(w.told.size() == 1);
  write_file(w.folder / "a/f.py", "2");
  CHECK(w.after_sentinel() == Names{"a/f.py"});
  CHECK(w.watcher->counts().events > 0);
  CHECK(w.watcher->counts().polled == 2);
}

TEST_CASE("this machine's own file systems are not remote") {
  const os::UniqueFd proc(::open("/proc", O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  CHECK(os::remote_file_system(proc.get()) == nullptr);
}
