// What workers of t_spans have finished, in a file that outlives them: a row a worker, a count a thread.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>

namespace spans {

inline constexpr unsigned kThreads = 16;
inline constexpr unsigned kRows = 2048;

struct Row {
  char instance[64];
  std::atomic<std::uint64_t> ended[kThreads];
};

struct Counters {
  std::atomic<std::uint32_t> used;
  Row rows[kRows];
};

// Maps the file, which is made if it is not there. nullptr: it cannot be.
inline Counters* map_counters(const char* path) {
  const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return nullptr;
  struct stat status {};
  const bool sized = fstat(fd, &status) == 0 && (status.st_size >= static_cast<off_t>(sizeof(Counters)) ||
                                                 ftruncate(fd, sizeof(Counters)) == 0);
  void* mapped =
      sized ? mmap(nullptr, sizeof(Counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
  close(fd);
  return mapped == MAP_FAILED ? nullptr : static_cast<Counters*>(mapped);
}

// A row for this process; nullptr: there is none left.
inline Row* take_row(const char* path, const char* instance) {
  Counters* counters = map_counters(path);
  if (counters == nullptr || instance == nullptr) return nullptr;
  const std::uint32_t mine = counters->used.fetch_add(1);
  if (mine >= kRows) return nullptr;
  std::strncpy(counters->rows[mine].instance, instance, sizeof(Row::instance) - 1);
  return &counters->rows[mine];
}

}  // namespace spans
