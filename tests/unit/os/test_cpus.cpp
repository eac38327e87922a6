// CPUs that may be used, read from a made-up /proc and /sys.
#include "os/linux/cpus.hpp"

#include <sched.h>

#include <filesystem>
#include <fstream>

#include "os_help.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::os::test;

namespace {

constexpr const char* kV2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
constexpr const char* kV1 = "33 32 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";

struct File {
  std::string path;
  std::string text;
};

struct Case {
  const char* what;
  std::string cgroup;
  std::string mountinfo;
  std::vector<File> files;
  std::uint32_t cpus;
};

void write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}

}  // namespace

TEST_CASE("the quota is the smallest on the way up, rounded up to whole CPUs") {
  const std::string top = "/sys/fs/cgroup";
  const std::vector<Case> table = {
      {"no cgroups at all", "", "", {}, 0},
      {"no quota", "0::/a\n", kV2, {{top + "/a/cpu.max", "max 100000\n"}}, 0},
      {"one and a half", "0::/a\n", kV2, {{top + "/a/cpu.max", "150000 100000\n"}}, 2},
      {"exactly two", "0::/a\n", kV2, {{top + "/a/cpu.max", "200000 100000\n"}}, 2},
      {"a tenth", "0::/a\n", kV2, {{top + "/a/cpu.max", "10000 100000\n"}}, 1},
      {"the parent has less",
       "0::/a/b/c\n",
       kV2,
       {{top + "/a/b/c/cpu.max", "800000 100000\n"}, {top + "/a/cpu.max", "300000 100000\n"}},
       3},
      {"the parent has more",
       "0::/a/b\n",
       kV2,
       {{top + "/a/b/cpu.max", "100000 50000\n"}, {top + "/a/cpu.max", "900000 100000\n"}},
       2},
      {"a namespace of its own: the top is the container",
       "0::/\n",
       kV2,
       {{top + "/cpu.max", "400000 100000\n"}},
       4},
      {"above the namespace", "0::/../x\n", kV2, {{top + "/cpu.max", "100000 100000\n"}}, 1},
      {"only a part of the tree is mounted",
       "0::/docker/7/app\n",
       "30 23 0:26 /docker/7 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
       {{top + "/app/cpu.max", "max 100000\n"}, {top + "/cpu.max", "250000 100000\n"}},
       3},
      {"a name that only begins alike",
       "0::/docker/77\n",
       "30 23 0:26 /docker/7 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
       {{top + "/cpu.max", "250000 100000\n"}},
       3},
      {"a mount point with a blank",
       "0::/a\n",
       "30 23 0:26 / /sys/c\\040g rw - cgroup2 cgroup2 rw\n",
       {{"/sys/c g/a/cpu.max", "100000 100000\n"}},
       1},
      {"version 1",
       "5:memory:/m\n4:cpu,cpuacct:/a/b\n",
       kV1,
       {{top + "/cpu/a/b/cpu.cfs_quota_us", "-1\n"},
        {top + "/cpu/a/b/cpu.cfs_period_us", "100000\n"},
        {top + "/cpu/a/cpu.cfs_quota_us", "250000\n"},
        {top + "/cpu/a/cpu.cfs_period_us", "100000\n"}},
       3},
      {"cpuset is not cpu", "4:cpuset:/a\n", kV1, {{top + "/cpu/a/cpu.cfs_quota_us", "1\n"}}, 0},
      {"no numbers", "0::/a\n", kV2, {{top + "/a/cpu.max", "many 100000\n"}}, 0},
      {"a period of nothing", "0::/a\n", kV2, {{top + "/a/cpu.max", "5 0\n"}}, 0},
      {"a quota above all bounds", "0::/a\n", kV2, {{top + "/a/cpu.max", "9223372036854775807 1\n"}}, 65536},
  };
  for (const Case& one : table) {
    CAPTURE(one.what);
    const TempFolder root;
    write(root.path() + "/proc/self/cgroup", one.cgroup);
    write(root.path() + "/proc/self/mountinfo", one.mountinfo);
    for (const File& file : one.files) write(root.path() + file.path, file.text);
    CHECK(os::quota_cpus(root.path()) == one.cpus);
  }
}

TEST_CASE("no more CPUs than the affinity allows, and at least one") {
  cpu_set_t before;
  REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
  const auto all = static_cast<std::uint32_t>(CPU_COUNT(&before));
  CHECK(os::usable_cpus() >= 1);
  CHECK(os::usable_cpus() <= all);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
  CHECK(os::usable_cpus() == 1);
  REQUIRE(sched_setaffinity(0, sizeof before, &before) == 0);
}
