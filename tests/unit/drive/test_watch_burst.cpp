// More events than the kernel's queue takes while the loop is busy elsewhere, and trees of which nearly all
// is ignored: what is told, and what it costs.
#include <sys/stat.h>

#include <fstream>

#include "os/linux/inotify.hpp"
#include "watch_support.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace runmain::drive::test;

namespace {

// The watches of all inotify instances of this process.
int watches() {
  int count = 0;
  for (const auto& entry : fs::directory_iterator("/proc/self/fdinfo")) {
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) count += line.rfind("inotify ", 0) == 0 ? 1 : 0;
  }
  return count;
}

void make_files(const std::string& top, int folders, int files_each, const std::string& ending) {
  for (int d = 0; d < folders; ++d) {
    const std::string folder = top + "/d" + std::to_string(d);
    fs::create_directories(folder);
    for (int f = 0; f < files_each; ++f) write_file(folder + "/" + std::to_string(f) + ending, "");
  }
}

}  // namespace

TEST_CASE("30,000 events while the loop is blocked, the real edit last: told, and the overflow is said") {
  Rig w;
  for (const char* name : {"a", "b", "edited.py"}) write_file(w.folder / name, "0");
  w.watch_folder();
  REQUIRE(w.rest());
  w.changes.clear();
  const bool overflows = std::stoi(os::inotify_limit("max_queued_events")) < 30'000;
  for (int round = 1; round <= 5; ++round) {
    const auto before = w.watcher->counts().overflows;
    bool done = false;
    const auto blocked = w.loop.timer([&] {  // the loop can do nothing else until this returns
      for (int i = 0; i < 30'000; ++i) {
        // Two files in turn: equal events in a row would be one.
        if (chmod((w.folder / (i % 2 == 0 ? "a" : "b")).c_str(), i / 2 % 2 == 0 ? 0600 : 0640) != 0) return;
      }
      write_file(w.folder / "edited.py", std::to_string(round));
      done = true;
    });
    blocked->set(os::Loop::now());
    REQUIRE(w.until([&] { return !w.changes.empty(); }));
    REQUIRE(done);
    REQUIRE(w.rest());
    CHECK(w.paths() == Names{"edited.py"});
    CHECK((w.watcher->counts().overflows > before) == overflows);
    CHECK(w.was_told("the inotify queue overflowed") == overflows);
    w.told.clear();
  }
}

TEST_CASE("20,000 files in ignored folders, or ignored by a glob, cost no watch and no entry") {
  Rig w;
  write_file(w.folder / "sentinel", "0");
  write_file(w.folder / ".gitignore", "*.dat\nout-*/\n");
  const int before = watches();
  w.watch_folder();
  const int alone = watches() - before;
  const auto counts = w.watcher->counts();
  w.watcher->remove(kWeb);
  make_files(w.folder / "node_modules", 100, 100, ".js");
  for (int i = 0; i < 50; ++i) make_files(w.folder / ("out-" + std::to_string(i)), 1, 100, ".py");
  for (int i = 0; i < 5000; ++i) write_file(w.folder / (std::to_string(i) + ".dat"), "");
  w.watch_folder();
  CHECK(watches() - before == alone);
  CHECK(w.watcher->counts().files == counts.files);
  CHECK(w.watcher->counts().folders == counts.folders);
  write_file(w.folder / "node_modules/d7/7.js", "x");
  write_file(w.folder / "out-7/d0/7.py", "x");
  write_file(w.folder / "7.dat", "x");
  CHECK(w.after_sentinel() == Names{});
}
