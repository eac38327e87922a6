// What the kernel or our own limits refuse: it is said, and edits are found all the same, or said to be
// unknown.
#include <sys/resource.h>

#include "os/linux/inotify.hpp"
#include "watch_support.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace runmain::drive::test;

namespace {

// The kernel refuses as told while this lives.
struct Fault {
  explicit Fault(std::function<int(os::InotifyCall)> fault) { os::inotify_fault() = std::move(fault); }
  ~Fault() { os::inotify_fault() = nullptr; }
};

// No new fd above those that are open, while this lives.
struct NoMoreFds {
  explicit NoMoreFds(int spare) {
    getrlimit(RLIMIT_NOFILE, &before);
    const int next = ::open("/", O_RDONLY | O_CLOEXEC);
    ::close(next);
    rlimit less = before;
    less.rlim_cur = static_cast<rlim_t>(next + spare);
    setrlimit(RLIMIT_NOFILE, &less);
  }
  ~NoMoreFds() { setrlimit(RLIMIT_NOFILE, &before); }
  rlimit before{};
};

void make_tree(const TempFolder& folder) {
  write_file(folder / "sentinel", "0");
  for (const char* d : {"a", "b", "c", "c/d"}) {
    fs::create_directories(folder / d);
    write_file(folder / (std::string(d) + "/f.py"), d);
  }
}

}  // namespace

TEST_CASE("folders that the kernel gives no watch for are polled, and the limit is named once") {
  Rig w;
  make_tree(w.folder);
  int adds = 0;
  bool refuse = true;
  const Fault fault([&](os::InotifyCall call) {
    return call == os::InotifyCall::add && refuse && ++adds > 12 ? ENOSPC : 0;
  });
  const int anchors = static_cast<int>(std::count(w.folder.path().begin(), w.folder.path().end(), '/'));
  adds = 12 - anchors - 2;  // the anchors, the root and one folder get a watch
  w.watch_folder();
  CHECK(w.watcher->counts().polled == 3);
  CHECK(w.was_told("fs.inotify.max_user_watches = " + os::inotify_limit("max_user_watches")));
  CHECK(w.told.size() == 1);
  for (const char* f : {"a/f.py", "b/f.py", "c/f.py", "c/d/f.py"}) write_file(w.folder / f, "edited");
  fs::create_directories(w.folder / "c/new/deep");
  write_file(w.folder / "c/new/deep/f.py", "x");
  Names all;
  REQUIRE(w.until([&] {
    const auto names = w.paths();
    all.insert(names.begin(), names.end());
    return all.size() == 5;
  }));
  CHECK(all == Names{"a/f.py", "b/f.py", "c/f.py", "c/d/f.py", "c/new/deep/f.py"});
  CHECK(w.told.size() == 1);

  fs::remove_all(w.folder / "c");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  REQUIRE(w.rest());
  CHECK(w.paths() == Names{"c/f.py", "c/d/f.py", "c/new/deep/f.py"});

  refuse = false;  // the limit was raised
  REQUIRE(w.until([&] { return w.watcher->counts().polled == 0; }));
  write_file(w.folder / "b/f.py", "edited again");
  CHECK(w.after_sentinel() == Names{"b/f.py"});
}

TEST_CASE("touches and same bytes are no change for polling either") {
  Rig w;
  make_tree(w.folder);
  const Fault fault([&](os::InotifyCall call) { return call == os::InotifyCall::add ? ENOSPC : 0; });
  w.watch_folder();
  run("touch '" + (w.folder / "a/f.py") + "'");
  write_file(w.folder / "b/f.py", "b");
  CHECK(w.after_sentinel() == Names{});
}

TEST_CASE(
    "without an inotify instance all is polled, the limit is named, and an instance is taken when there is "
    "one") {
  Fault fault([&](os::InotifyCall call) { return call == os::InotifyCall::make ? EMFILE : 0; });
  Rig w;
  make_tree(w.folder);
  CHECK(w.was_told("fs.inotify.max_user_instances = " + os::inotify_limit("max_user_instances")));
  w.watch({w.folder.path()});
  w.watch({w.folder / "a/f.py"}, {}, kApi);
  write_file(w.folder / "a/f.py", "edited");
  write_file(w.folder / "c/d/new.py", "x");
  CHECK(w.after_sentinel() == Names{"a/f.py", "c/d/new.py"});
  CHECK(w.paths(kApi) == Names{"a/f.py"});
  CHECK(w.told.size() == 1);
  os::inotify_fault() = nullptr;
  REQUIRE(w.until([&] { return w.watcher->counts().polled == 0; }));
  write_file(w.folder / "c/d/new.py", "edited");
  CHECK(w.after_sentinel() == Names{"c/d/new.py"});
  CHECK(w.watcher->counts().events > 0);
}

TEST_CASE("a file that is being written is not told by polling until it is closed") {
  Rig w;
  make_tree(w.folder);
  const Fault fault([&](os::InotifyCall call) { return call == os::InotifyCall::add ? ENOSPC : 0; });
  w.watch_folder();
  os::UniqueFd fd(::open((w.folder / "a/f.py").c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  REQUIRE(os::write_all(fd.get(), "half"));
  CHECK(w.after_sentinel() == Names{});
  fd.reset();
  CHECK(w.after_sentinel() == Names{"a/f.py"});
}

TEST_CASE("an edit is told although the process has no fd left") {
  Rig w;
  make_tree(w.folder);
  w.watch_folder();
  write_file(w.folder / "a/f.py", "edited");
  {
    const NoMoreFds none(0);
    REQUIRE(w.until([&] { return !w.changes.empty(); }));
  }
  CHECK(w.paths() == Names{"a/f.py"});
}

TEST_CASE("a new folder that cannot be listed for want of fds is listed later") {
  Rig w;
  make_tree(w.folder);
  w.watch_folder();
  fs::create_directories(w.folder / "new/deep");
  write_file(w.folder / "new/deep/f.py", "x");
  {
    const NoMoreFds none(0);
    REQUIRE(w.until([&] { return w.watcher->counts().polled > 0; }));
    CHECK(w.was_told("cannot read folder"));
  }
  REQUIRE(w.until([&] { return w.watcher->counts().polled == 0; }));
  CHECK(w.after_sentinel() == Names{"new/deep/f.py"});
}

TEST_CASE("a watcher that is made without a free fd polls, and says that fds are short") {
  TempFolder folder;
  FileTable table;
  os::Loop loop;
  std::vector<std::string> told;
  std::vector<core::Changed> changes;
  write_file(folder / "f", "1");
  std::unique_ptr<Watcher> watcher;
  {
    const NoMoreFds none(0);
    watcher = std::make_unique<Watcher>(
        loop, table,
        WatchCallbacks{[&](core::Changed c) { changes.push_back(std::move(c)); }, [](core::Held) {},
                       [&](std::string t) { told.push_back(t); }});
    core::WatchSpec spec;
    spec.paths = {folder.path()};
    watcher->set(kWeb, spec);
  }
  REQUIRE(!told.empty());
  CHECK(told[0].find("Too many open files") != std::string::npos);
  write_file(folder / "f", "2");
  for (const Time end = os::Loop::now() + kGuard; changes.empty() && os::Loop::now() < end;) loop.turn(20ms);
  REQUIRE(changes.size() == 1);
}

TEST_CASE("more folders than the limit are said, and new ones make the change unknown") {
  TempFolder probe;
  const auto anchors = static_cast<std::size_t>(std::count(probe.path().begin(), probe.path().end(), '/'));
  Rig w(kTableMax, anchors + 5);
  make_tree(w.folder);
  w.watch_folder();
  CHECK(w.watcher->counts().folders == anchors + 5);
  CHECK(w.told.empty());
  fs::create_directories(w.folder / "more");
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.changes[0].unknown);
  CHECK(w.was_told("more than " + std::to_string(anchors + 5) + " folders"));
  w.changes.clear();
  write_file(w.folder / "a/f.py", "edited");
  CHECK(w.after_sentinel() == Names{"a/f.py"});
}

TEST_CASE(
    "files beyond the table's limit are told as they are written, and an overflow makes the change unknown") {
  Rig w(3);
  make_tree(w.folder);
  w.watch_folder();
  CHECK(w.table.truncated());
  CHECK(w.watcher->counts().files == 3);
  for (const char* f : {"a/f.py", "b/f.py", "c/f.py", "c/d/f.py", "sentinel"})
    write_file(w.folder / f, "edited");
  Names all;
  REQUIRE(w.until([&] {
    const auto names = w.paths();
    all.insert(names.begin(), names.end());
    return all.size() == 5;
  }));
  REQUIRE(w.rest());
  w.changes.clear();
  const int limit = std::stoi(os::inotify_limit("max_queued_events"));
  for (int i = 0; i < limit + 1000; ++i) {
    REQUIRE(utimensat(AT_FDCWD, (w.folder / (i % 2 == 0 ? "a/f.py" : "b/f.py")).c_str(), nullptr, 0) == 0);
  }
  REQUIRE(w.until([&] { return !w.changes.empty(); }));
  CHECK(w.changes[0].unknown);
}
