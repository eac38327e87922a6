// What b_stamp writes down when its main() begins, read by who has caused the start.
#pragma once

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <ctime>
#include <fstream>
#include <string>

namespace runmain::bench {

inline long long now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

// The stamps in a file that grows: waits by inotify for the next one.
class Stamps {
 public:
  explicit Stamps(std::string file) : file_(std::move(file)) {
    std::ofstream(file_, std::ios::app).close();
    inotify_ = inotify_init1(IN_CLOEXEC);
    inotify_add_watch(inotify_, file_.c_str(), IN_MODIFY);
  }
  ~Stamps() { close(inotify_); }
  Stamps(const Stamps&) = delete;
  Stamps& operator=(const Stamps&) = delete;

  struct Stamp {
    long long ns = 0;  // CLOCK_MONOTONIC; 0: none came
    pid_t pid = 0;
  };
  Stamp next(int guard_ms = 30'000) {
    for (;;) {
      std::ifstream in(file_);
      in.seekg(at_);
      Stamp s;
      if (in >> s.ns >> s.pid) {
        at_ = in.tellg();
        ++count_;
        return s;
      }
      pollfd p{inotify_, POLLIN, 0};
      if (poll(&p, 1, guard_ms) <= 0) return {};
      char buffer[4096];
      (void)!read(inotify_, buffer, sizeof buffer);
    }
  }
  long count() const { return count_; }  // read until now

 private:
  std::string file_;
  int inotify_ = -1;
  std::streamoff at_ = 0;
  long count_ = 0;
};

}  // namespace runmain::bench
