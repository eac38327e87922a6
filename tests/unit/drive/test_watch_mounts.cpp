// Mounts: one that comes and goes, a folder that is in two places, a tree that is laid over another; and the
// kernel's own refusal of watches. Each test runs in a child process with a mount namespace of its own (and a
// user namespace, where we are not root); where neither may be made, nothing can be tried.
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>

#include "watch_support.hpp"

using namespace runmain;
using namespace runmain::drive;
using namespace runmain::drive::test;

namespace {

constexpr int kNotHere = 77;

void need(bool fact, const std::string& what) {
  if (!fact) throw std::runtime_error(what);
}

void put(const std::string& path, const std::string& text) {
  std::ofstream out(path);
  out << text;
  need(out.flush().good(), "write " + path);
}

struct Mount {
  std::string from;
  std::string at;
  const char* type = nullptr;
  unsigned long flags = 0;
  std::string options;
};

// What the machine does not give is no fault of ours.
void mount_or_end(const Mount& m) {
  if (mount(m.from.c_str(), m.at.c_str(), m.type, m.flags, m.options.c_str()) == 0) return;
  std::printf("cannot mount %s: %s\n", m.at.c_str(), std::strerror(errno));
  std::fflush(stdout);
  _exit(kNotHere);
}

void enter_namespaces(bool user) {
  const uid_t uid = geteuid();
  const gid_t gid = getegid();
  if (unshare(CLONE_NEWNS | (user ? CLONE_NEWUSER : 0)) != 0) _exit(kNotHere);
  if (user) {
    put("/proc/self/setgroups", "deny");
    put("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1");
    put("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1");
  }
  need(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "private mounts");
}

// The exit status says what became of it: 0, 1 (and why is printed), or not here.
void in_own_namespaces(bool user, const std::function<void()>& body) {
  const TempFolder outer;  // outlives the child's mounts, and is removed where they are not
  std::fflush(nullptr);
  const pid_t pid = fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    int status = 0;
    setenv("TMPDIR", outer.path().c_str(), 1);
    try {
      enter_namespaces(user);
      body();
    } catch (const std::exception& e) {
      std::printf("failed: %s\n", e.what());
      status = 1;
    }
    std::fflush(nullptr);
    _exit(status);
  }
  int status = 0;
  REQUIRE(waitpid(pid, &status, 0) == pid);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNotHere) {
    WARN("no namespaces or mounts here");
    return;
  }
  CHECK(status == 0);
}

void in_own_mounts(const std::function<void()>& body) { in_own_namespaces(geteuid() != 0, body); }

void need_told(Rig& w, const Names& wanted, const std::string& when) {
  Names all;
  const bool came = w.until([&] {
    for (const std::string& path : w.paths()) all.insert(path);
    return std::includes(all.begin(), all.end(), wanted.begin(), wanted.end());
  });
  std::string text;
  for (const std::string& path : all) text += " " + path;
  need(came, when + ": told were only" + text);
  need(all == wanted, when + ": told were" + text);
}

}  // namespace

TEST_CASE("a tmpfs in the watched tree is watched, gone and back, also as the root itself") {
  for (const char* watched : {"", "m"}) {
    in_own_mounts([&] {
      Rig w;
      fs::create_directories(w.folder / "m");
      mount_or_end({"tmpfs", w.folder / "m", "tmpfs"});
      put(w.folder / "m/a", "1");
      w.watch({*watched == '\0' ? w.folder.path() : w.folder / watched});
      put(w.folder / "m/a", "22");
      need_told(w, {"m/a"}, "edit");
      need(umount((w.folder / "m").c_str()) == 0, "umount");
      need_told(w, {"m/a"}, "unmounted");
      mount_or_end({"tmpfs", w.folder / "m", "tmpfs"});
      put(w.folder / "m/b", "1");
      need_told(w, {"m/b"}, "mounted again");
      need(w.rest(), "rest");
      put(w.folder / "m/b", "22");
      need_told(w, {"m/b"}, "edit on the new one");
    });
  }
}

TEST_CASE("a folder that is bound to a second place tells edits through either") {
  in_own_mounts([] {
    Rig w;
    fs::create_directories(w.folder / "real");
    fs::create_directories(w.folder / "bound");
    put(w.folder / "real/a", "1");
    mount_or_end({w.folder / "real", w.folder / "bound", nullptr, MS_BIND});
    w.watch({w.folder / "bound"});
    put(w.folder / "real/a", "22");
    need_told(w, {"bound/a"}, "edit of the other place");
    put(w.folder / "bound/a", "333");
    need_told(w, {"bound/a"}, "edit of this place");
    w.watch_folder();
    put(w.folder / "bound/a", "4444");
    need_told(w, {"bound/a", "real/a"}, "both are watched");
  });
}

TEST_CASE("an edit of an overlay's lower file through the overlay is told once, one below it by polling") {
  in_own_mounts([] {
    Rig w;
    mount_or_end({"tmpfs", w.folder.path(), "tmpfs"});
    for (const char* name : {"lower", "upper", "work", "merged"}) fs::create_directories(w.folder / name);
    put(w.folder / "lower/a", "1");
    put(w.folder / "lower/b", "1");
    mount_or_end({"overlay", w.folder / "merged", "overlay", 0,
                  "lowerdir=" + w.folder / "lower" + ",upperdir=" + w.folder / "upper" +
                      ",workdir=" + w.folder / "work"});
    w.watch({w.folder / "merged"});
    for (const char* text : {"22", "333"}) {
      put(w.folder / "merged/a", text);
      need_told(w, {"merged/a"}, "copied up or not");
    }
    core::WatchSpec spec;
    spec.paths = {w.folder / "merged"};
    spec.poll = true;
    w.watcher->set(kWeb, spec);
    put(w.folder / "lower/b", "22");
    need_told(w, {"merged/b"}, "edit below");
  });
}

// fs.inotify.max_user_watches is the whole machine's; a user namespace has a limit of its own.
TEST_CASE("when the kernel has no watch left half-way, what is left over is polled and both are told") {
  in_own_namespaces(true, [] {
    Rig w;
    Names all;
    // Those for the folders above, the root itself and four of the eight in it.
    const auto above = std::count(w.folder.path().begin(), w.folder.path().end(), '/');
    std::ofstream limit("/proc/sys/user/max_inotify_watches");
    limit << above + 1 + 4;
    if (!limit.flush()) _exit(kNotHere);
    for (int i = 0; i < 8; ++i) {
      const std::string name = "d" + std::to_string(i);
      fs::create_directories(w.folder / name);
      put(w.folder / (name + "/f"), "1");
      all.insert(name + "/f");
    }
    w.watch_folder();
    need(w.was_told("no inotify watch is left"), "the limit is named");
    need(w.watcher->counts().polled == 4, "half-way");
    for (const std::string& path : all) put(w.folder / path, "22");
    need_told(w, all, "edits");
  });
}
