// runmain-keeper: see keeper/keeper.hpp. Started by `runmain up`, which has made the sockets, the lock and
// the journal; their numbers come as arguments.
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "keeper/check_line.hpp"
#include "keeper/keeper.hpp"
#include "keeper/survivors.hpp"

namespace {

// We need thousands of fds; a child gets the limits back that we were started with.
rlimit raise_limit() {
  rlimit original{};
  getrlimit(RLIMIT_NOFILE, &original);
  rlimit raised = original;
  raised.rlim_cur = raised.rlim_max;
  setrlimit(RLIMIT_NOFILE, &raised);
  return original;
}

// Above the numbers that the spawner needs, and not for children.
int move_up(const char* number) {
  const int fd = fcntl(std::atoi(number), F_DUPFD_CLOEXEC, runmain::os::kReservedFds);
  if (fd < 0) std::fprintf(stderr, "runmain-keeper: fd %s: %s\n", number, std::strerror(errno));
  return fd;
}

// Whatever else was inherited is nobody's business here.
void close_others(std::vector<int> keep) {
  std::sort(keep.begin(), keep.end());
  DIR* dir = opendir("/proc/self/fd");
  if (dir == nullptr) return;
  std::vector<int> found;
  while (const dirent* entry = readdir(dir)) {
    const int fd = std::atoi(entry->d_name);
    if (fd > 2 && fd != dirfd(dir)) found.push_back(fd);
  }
  closedir(dir);
  for (const int fd : found) {
    if (!std::binary_search(keep.begin(), keep.end(), fd)) close(fd);
  }
}

constexpr rlim_t kFdsNeeded = runmain::os::kReservedFds + 64;  // and a few for each service

// What is open beside stdio and these was inherited from nobody knows whom.
int resume(const char* number) {
  const int memory = std::atoi(number);
  const auto state = runmain::keeper::load_state(memory);
  if (!state) {
    std::fprintf(stderr, "runmain-keeper: %s\n", state.error().text().c_str());
    return 1;
  }
  close_others(runmain::keeper::fds_of(*state));
  auto keeper = runmain::keeper::Keeper::resume(*state);
  if (keeper) return (*keeper)->run();
  std::fprintf(stderr, "runmain-keeper: %s\n", keeper.error().text().c_str());
  return 1;
}

// Asked by the keeper that may be replaced by this program (keeper/upgrade.hpp): its state is fd 3.
int check() {
  const auto state = runmain::keeper::load_state(3);
  if (!state) {
    std::fprintf(stderr, "%s\n", state.error().text().c_str());
    return 1;
  }
  std::fputs(runmain::keeper::check_line("runmain-keeper").c_str(), stdout);
  return 0;
}

int usage() {
  std::fputs(
      "usage: runmain-keeper [--control-fd N] [--channel-fd N] [--lock-fd N] [--journal-fd N] "
      "[--adoption FILE] -- HEAD "
      "[ARG...]\n"
      "This program is started by `runmain up`.\n",
      stderr);
  return 2;
}

// What a killed keeper has left, for `runmain status` and `runmain down`: --left WHAT, in
// keeper/survivors.hpp.
int left_behind(int argc, char** argv) {
  runmain::keeper::Place place;
  for (int i = 3; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--adoption") == 0) place.adoption = argv[i + 1];
    if (std::strcmp(argv[i], "--config") == 0) place.config = argv[i + 1];
    if (std::strcmp(argv[i], "--channel") == 0) place.channel = argv[i + 1];
  }
  return runmain::keeper::report_survivors(place, argv[2]);
}

}  // namespace

int main(int argc, char** argv) {
  runmain::os::fill_stdio();
  if (argc == 2 && std::strcmp(argv[1], "--check") == 0) return check();
  if (argc > 2 && std::strcmp(argv[1], "--resume") == 0) return resume(argv[2]);
  if (argc > 2 && std::strcmp(argv[1], "--left") == 0) return left_behind(argc, argv);
  runmain::keeper::KeeperOptions options;
  options.original_nofile = raise_limit();
  if (options.original_nofile.rlim_max < kFdsNeeded) {
    std::fprintf(stderr,
                 "runmain-keeper: the limit of open files is %llu, at least %llu are needed (ulimit -n)\n",
                 static_cast<unsigned long long>(options.original_nofile.rlim_max),
                 static_cast<unsigned long long>(kFdsNeeded));
    return 2;
  }
  int i = 1;
  for (; i + 1 < argc && std::strcmp(argv[i], "--") != 0; i += 2) {
    if (std::strcmp(argv[i], "--adoption") == 0) {
      options.adoption = argv[i + 1];
      continue;
    }
    int* where = std::strcmp(argv[i], "--control-fd") == 0   ? &options.control_fd
                 : std::strcmp(argv[i], "--channel-fd") == 0 ? &options.channel_fd
                 : std::strcmp(argv[i], "--lock-fd") == 0    ? &options.lock_fd
                 : std::strcmp(argv[i], "--journal-fd") == 0 ? &options.journal_fd
                                                             : nullptr;
    if (where == nullptr) return usage();
    *where = move_up(argv[i + 1]);
    if (*where < 0) return 2;
  }
  if (i >= argc || std::strcmp(argv[i], "--") != 0) return usage();
  for (++i; i < argc; ++i) options.head.emplace_back(argv[i]);
  if (options.head.empty()) return usage();
  close_others({options.control_fd, options.channel_fd, options.lock_fd, options.journal_fd});
  auto keeper = runmain::keeper::Keeper::make(options);
  if (!keeper) {
    std::fprintf(stderr, "runmain-keeper: %s\n", keeper.error().text().c_str());
    return 1;
  }
  return (*keeper)->run();
}
