// How much memory there is: control groups that are made up, and one that is real.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "os/linux/memory.hpp"
#include "os_help.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::os;
using namespace runmain::os::test;

namespace {

constexpr std::uint64_t kMiB = 1U << 20U;

// A machine of our own: /proc and a place where groups are mounted.
struct Machine {
  TempFolder root;
  std::string proc = root.path("proc");

  Machine() {
    for (const char* folder : {"proc", "proc/self", "v1", "v2"}) make(folder);
    put("proc/meminfo", "MemTotal:  8388608 kB\nMemFree:  1 kB\nMemAvailable:  4194304 kB\n");
    put("proc/vmstat", "nr_free_pages 5\noom_kill 17\n");
    groups("", "");
  }
  void make(const std::string& folder) const { ::mkdir(root.path(folder).c_str(), 0755); }
  void put(const std::string& name, const std::string& text) const { root.file(name, text, 0644); }
  // Our groups' paths; `mount_root`: the part of the hierarchy that is mounted.
  void groups(const std::string& v1, const std::string& v2, const std::string& mount_root = "/") const {
    std::string mounts = "22 1 0:5 / / rw - ext4 /dev/vda rw\n";
    std::string own = "9:name=systemd:/\n";
    if (!v1.empty()) {
      mounts += "30 25 0:27 " + mount_root + " " + root.path("v1") +
                " rw,relatime shared:9 - cgroup cgroup rw,cpu,memory\n";
      own += "4:cpu,memory:" + v1 + "\n";
    }
    if (!v2.empty()) {
      mounts += "31 25 0:28 " + mount_root + " " + root.path("v2") + " rw,relatime - cgroup2 cgroup2 rw\n";
      own += "0::" + v2 + "\n";
    }
    put("proc/self/mountinfo", mounts);
    put("proc/self/cgroup", own);
  }
};

}  // namespace

TEST_CASE("without control groups the machine's available memory counts") {
  const Machine m;
  CHECK(available_memory(m.proc) == 4096 * kMiB);
  CHECK(OomCounter(m.proc).kills(true) == 17);
  m.put("proc/meminfo", "");
  CHECK(available_memory(m.proc) == std::nullopt);
}

TEST_CASE("the least that a group on the way to the top leaves is what there is") {
  const Machine m;
  m.groups("", "/a/b");
  for (const char* folder : {"v2/a", "v2/a/b"}) m.make(folder);
  m.put("v2/a/b/memory.max", "max\n");
  m.put("v2/a/b/memory.current", "1000\n");
  m.put("v2/a/memory.max", std::to_string(512 * kMiB) + "\n");
  m.put("v2/a/memory.current", std::to_string(300 * kMiB) + "\n");
  m.put("v2/a/memory.stat", "anon 1\ninactive_file " + std::to_string(100 * kMiB) + "\nactive_file 9\n");
  m.put("v2/a/b/memory.events", "low 0\nhigh 0\nmax 4\noom 2\noom_kill 2\noom_group_kill 0\n");
  CHECK(available_memory(m.proc) == 312 * kMiB);  // 512 - (300 - 100)
  OomCounter counter(m.proc);
  CHECK(counter.kills(true) == 2);
  m.put("v2/a/b/memory.events", "oom_kill 3\n");
  CHECK(counter.kills(false) == 3);
  // Moved to another group: what was found stays until it is asked for anew, or is gone.
  m.groups("", "/a");
  m.put("v2/a/memory.events", "oom_kill 7\n");
  CHECK(counter.kills(false) == 3);
  CHECK(counter.kills(true) == 3);  // what that one had counted is nobody's business …
  m.put("v2/a/memory.events", "oom_kill 9\n");
  CHECK(counter.kills(false) == 5);  // … but what it counts now is
  m.put("v2/a/memory.events", "");
  CHECK(counter.kills(false) == 5);  // the machine's, from now on
  m.put("proc/vmstat", "oom_kill 18\n");
  CHECK(counter.kills(false) == 6);
  // What was counted before a move is counted, and a smaller number is no victim.
  m.put("v2/a/memory.events", "oom_kill 2\n");
  m.put("proc/vmstat", "oom_kill 20\n");
  CHECK(counter.kills(true) == 8);
  m.put("v2/a/memory.events", "oom_kill 3\n");
  CHECK(counter.kills(true) == 9);
  m.put("v2/a/memory.current", std::to_string(900 * kMiB) + "\n");
  CHECK(available_memory(m.proc) == 0U);
}

TEST_CASE("groups of version 1 count as well, an absent limit does not") {
  const Machine m;
  m.groups("/a", "");
  m.make("v1/a");
  m.put("v1/a/memory.limit_in_bytes", std::to_string(256 * kMiB) + "\n");
  m.put("v1/a/memory.usage_in_bytes", std::to_string(200 * kMiB) + "\n");
  m.put("v1/a/memory.stat", "inactive_file 5\ntotal_inactive_file " + std::to_string(50 * kMiB) + "\n");
  m.put("v1/memory.limit_in_bytes", "9223372036854771712\n");
  m.put("v1/memory.usage_in_bytes", "5\n");
  m.put("v1/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
  CHECK(available_memory(m.proc) == 106 * kMiB);
  CHECK(OomCounter(m.proc).kills(true) == 3);
}

TEST_CASE("in a container only a part of the groups is mounted") {
  const Machine m;
  m.groups("", "/docker/abc/x", "/docker/abc");
  m.make("v2/x");
  m.put("v2/x/memory.max", std::to_string(64 * kMiB));
  m.put("v2/x/memory.current", "0");
  CHECK(available_memory(m.proc) == 64 * kMiB);
  m.groups("", "/docker/abc", "/");  // a path of the host's that is not here
  m.put("v2/memory.max", std::to_string(32 * kMiB));
  m.put("v2/memory.current", "0");
  CHECK(available_memory(m.proc) == 32 * kMiB);
}

TEST_CASE("what processes take is read from proc, shared pages in part where the kernel tells") {
  const Machine m;
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  for (const char* folder : {"proc/7", "proc/8"}) m.make(folder);
  m.put("proc/7/statm", "1000 300 100 1 0 200 0\n");
  m.put("proc/8/statm", "1000 10 5 1 0 2 0\n");
  m.put("proc/7/smaps_rollup", "0-1 ---p 0 0:0 0 [rollup]\nRss:  400 kB\nPss:  100 kB\nPss_Dirty:  90 kB\n");
  CHECK(resident_memory({7, 8, 9}, m.proc) == 310 * page);
  CHECK(shared_out_memory({7, 8, 9}, m.proc) == 100 * 1024 + 10 * page);
  CHECK(resident_memory({::getpid()}) > 0);
}

TEST_CASE("a process that the kernel ends for want of memory is counted") {
  const std::string group = "/sys/fs/cgroup/memory/runmain-test-" + std::to_string(::getpid());
  if (::mkdir(group.c_str(), 0755) != 0) return skip("needs a version 1 memory group");
  struct Remove {
    const std::string& path;
    ~Remove() { ::rmdir(path.c_str()); }
  } const remove{group};
  const auto write_file = [](const std::string& path, const std::string& text) {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    return fd && write_all(fd.get(), text).ok();
  };
  REQUIRE(write_file(group + "/memory.limit_in_bytes", std::to_string(48 * kMiB)));
  const std::string said = in_child(false, [&]() -> std::string {
    if (!write_file(group + "/cgroup.procs", "0")) return "cannot join";
    const auto left = available_memory();
    if (!left || *left > 48 * kMiB) return "the limit is not seen";
    const auto before = OomCounter().kills(true);
    const pid_t eater = ::fork();
    if (eater == 0) {
      write_file("/proc/self/oom_score_adj", "1000");  // it, and nobody else
      for (int i = 0; i < 64; ++i) {
        void* at = ::mmap(nullptr, 4 * kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at != MAP_FAILED) std::memset(at, 1, 4 * kMiB);
      }
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(eater, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) return "it was not killed";
    const auto after = OomCounter().kills(true);
    return before && after && *after == *before + 1 ? "counted" : "not counted";
  });
  CHECK(said == "counted");
}
