// How fast output goes from rings to log files: 100-byte lines, prefix, time stamp, rotation.
//
//   output_throughput [--mib N] [--rings N] [--size BYTES] [--folder DIR] [--terminal] [--memory]
//
// A second process plays the keeper and fills the rings from memory. Prints MB/s of the children's bytes, the
// CPU time of the head, and what the head's private memory is afterwards over what it was before.
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "unit/drive/test_output_world.hpp"

namespace {

using namespace runmain;
using namespace runmain::output_test;

struct Wanted {
  std::uint64_t mib = 512;
  std::uint32_t rings = 1;
  std::uint64_t max_size = 10U << 20U;
  std::string folder = "/tmp";
  bool terminal = false;  // to a pipe that is read as fast as it goes
  bool memory = false;    // no log file: history
};

Wanted parse(int argc, char** argv) {
  Wanted w;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    const bool has_value = i + 1 < argc;
    if (flag == "--terminal") w.terminal = true;
    if (flag == "--memory") w.memory = true;
    if (flag == "--mib" && has_value) w.mib = std::strtoull(argv[++i], nullptr, 10);
    if (flag == "--rings" && has_value)
      w.rings = static_cast<std::uint32_t>(std::strtoul(argv[++i], nullptr, 10));
    if (flag == "--size" && has_value) w.max_size = std::strtoull(argv[++i], nullptr, 10);
    if (flag == "--folder" && has_value) w.folder = argv[++i];
  }
  return w;
}

// The keeper's process: fills every ring in turn.
[[noreturn]] void feed(FakeKeeper& keeper, const Wanted& wanted) {
  std::string lines;
  for (int i = 0; i < 2621; ++i) lines += std::string(99, static_cast<char>('a' + i % 26)) + "\n";
  std::vector<std::uint64_t> left(wanted.rings, (wanted.mib << 20U) / wanted.rings / 100 * 100);
  std::vector<std::uint64_t> sent(wanted.rings, 0);
  for (std::uint32_t open = wanted.rings; open > 0;) {
    bool moved = false;
    for (std::uint32_t ring = 0; ring < wanted.rings; ++ring) {
      if (left[ring] == 0) continue;
      const std::string_view part = std::string_view(lines).substr(sent[ring] % lines.size());
      const std::size_t n =
          keeper.put(ring, part.substr(0, std::min<std::uint64_t>(part.size(), left[ring])));
      sent[ring] += n;
      left[ring] -= n;
      moved = moved || n > 0;
      if (left[ring] > 0) continue;
      keeper.end(ring);
      --open;
    }
    if (moved) continue;
    pollfd p{keeper.fds.space_event, POLLIN, 0};
    poll(&p, 1, 1000);
    keeper.take_room();
  }
  _exit(0);
}

// Reads a pipe to its end.
[[noreturn]] void swallow(int fd) {
  static char buffer[1 << 20];
  while (read(fd, buffer, sizeof buffer) > 0) {
  }
  _exit(0);
}

// Private memory of this process in KiB (smaps_rollup).
long private_kib() {
  std::ifstream in("/proc/self/smaps_rollup");
  std::string word;
  long sum = 0;
  while (in >> word) {
    long kib = 0;
    if ((word == "Private_Clean:" || word == "Private_Dirty:") && in >> kib) sum += kib;
  }
  return sum;
}

double cpu_seconds() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

}  // namespace

int main(int argc, char** argv) {
  const Wanted wanted = parse(argc, argv);
  setenv("TMPDIR", wanted.folder.c_str(), 1);
  TestFolder folder;
  FakeKeeper keeper;
  int ends[2] = {-1, -1};
  pid_t reader = 0;
  if (wanted.terminal) {
    if (pipe2(ends, O_CLOEXEC) != 0) return 1;
    reader = fork();
    if (reader == 0) {
      close(ends[1]);
      swallow(ends[0]);
    }
    close(ends[0]);
  }
  core::ServiceSpec web = service("web", 2, wanted.memory ? "" : folder / "web.log");
  web.log.max_size = wanted.max_size;
  for (std::uint32_t ring = 0; ring < wanted.rings; ++ring) {
    keeper.open(ring, ChildKey{ServiceId{0}, ring % 2, 1, ring});
  }
  double seconds = 0;
  double cpu = 0;
  long before = 0;
  long after = 0;
  {
    Head head(keeper, {{ServiceId{0}, web}}, ends[1]);
    before = private_kib();
    const Time start = os::Loop::now();
    const double cpu_start = cpu_seconds();
    const pid_t feeder = fork();
    if (feeder == 0) feed(keeper, wanted);
    const auto all_ended = [&] {
      for (std::uint32_t ring = 0; ring < wanted.rings; ++ring) {
        if (keeper.board->rings[ring].ended.load() == 0 || !keeper.consumed(ring)) return false;
      }
      return true;
    };
    head.until(all_ended, std::chrono::seconds(600));
    seconds = std::chrono::duration<double>(os::Loop::now() - start).count();
    cpu = cpu_seconds() - cpu_start;
    waitpid(feeder, nullptr, 0);
    head.until([&] { return keeper.board->head_asleep.load() == 1; });
    after = private_kib();
  }
  if (ends[1] >= 0) close(ends[1]);
  if (reader > 0) waitpid(reader, nullptr, 0);
  const double megabytes = static_cast<double>(wanted.mib << 20U) / 1e6;
  std::printf("output: %.0f MB/s (%.0f MB in %.2f s, head %.2f s CPU = %.0f MB/s a core), memory %+ld KiB\n",
              megabytes / seconds, megabytes, seconds, cpu, megabytes / cpu, after - before);
  return 0;
}
