// Reloaders at work, each in a folder of its own: `runmain dev`, a bare loop as the floor, and the known
// ones.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <random>

#include "bench.hpp"
#include "stamps.hpp"
#include "support/supervised.hpp"

namespace runmain::bench {

using test::children_of;
using test::Folder;
using test::Supervised;
using Fill = std::function<void(const std::string& folder)>;  // makes more files before it starts

inline const std::string kStamp = std::string(RUNMAIN_BIN_DIR) + "/b_stamp";
inline constexpr int kMissedMs = 5000;  // a save that has started nothing by then is missed

// In place, as most editors do, two files in turn.
inline void save(const std::string& folder, int number) {
  const std::string path = folder + (number % 2 == 0 ? "/src/main.txt" : "/src/other.txt");
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const std::string text = "edit " + std::to_string(number) + "\n";
  (void)!write(fd, text.data(), text.size());
  close(fd);
}

// A reloader at work in a folder of its own.
class Contender {
 public:
  explicit Contender(std::string name) : name_(std::move(name)) {}
  virtual ~Contender() = default;
  virtual std::string folder() = 0;
  virtual void tidy() {}                  // between two saves
  virtual std::vector<pid_t> pids() = 0;  // of the reloader itself

  std::string stamp_file() const { return beside_.file("stamps"); }
  const std::string& name() const { return name_; }
  long long first_stamp() { return stamps_.next(60'000).ns; }
  bool first_start() { return first_stamp() != 0; }
  void measure(int number) {
    while (stamps_.next(0).ns != 0) ++extra_;  // starts that nobody asked for
    const long long before = now_ns();
    save(folder(), number);
    const auto stamp = stamps_.next(kMissedMs);
    if (stamp.ns == 0) {
      ++missed_;
    } else {
      took_.push_back(static_cast<double>(stamp.ns - before) / 1e6);
    }
    tidy();
  }
  void end() {
    while (stamps_.next(500).ns != 0) ++extra_;
  }
  double median() const { return percentile(took_, 50); }
  std::string text() const {
    return name_ + " " + number(median(), " ms") + " (" + number(percentile(took_, 99), " ms") + "), " +
           std::to_string(missed_) + " missed, " + std::to_string(extra_) + " starts too many";
  }

 private:
  std::string name_;
  Folder beside_;
  Stamps stamps_{beside_.file("stamps")};
  std::vector<double> took_;
  long missed_ = 0;
  long extra_ = 0;
};

class Runmain : public Contender {
 public:
  explicit Runmain(const Fill& fill = {})
      : Contender("runmain dev"), up_(Supervised::Dev{{"--", kStamp, stamp_file()}}) {
    up_.folder().write("src/main.txt", "0");
    up_.folder().write("src/other.txt", "0");
    if (fill) fill(up_.folder().path());
    up_.start();
  }
  // When main() began, in ms of CLOCK_MONOTONIC.
  double start_again() {
    up_.start();
    return static_cast<double>(first_stamp()) / 1e6;
  }
  void stop() { up_.stop(); }
  std::vector<pid_t> pids() override { return {up_.keeper_pid(), up_.head_pid()}; }
  std::string folder() override { return up_.folder().path(); }
  void tidy() override { up_.wait_output("\n\n", std::chrono::milliseconds(1)); }  // its pipe must not fill

 private:
  Supervised up_;
};

// A process of ours in a group of its own, ended with all that it has started.
class Process : public Contender {
 public:
  explicit Process(const std::string& name, const Fill& fill = {}) : Contender(name) {
    folder_.write("src/main.txt", "0");
    folder_.write("src/other.txt", "0");
    if (fill) fill(folder_.path());
  }
  ~Process() override {
    if (pid_ > 0) {
      kill(-pid_, SIGTERM);
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    // We are the reaper of what is left, whatever group it has made for itself: the ends of some bring us
    // others.
    for (bool found = true; found;) {
      found = false;
      for (const pid_t child : children_of(getpid())) {
        if (!is_stamp(child)) continue;
        found = true;
        kill(child, SIGKILL);
        waitpid(child, nullptr, 0);
      }
    }
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
  std::string folder() override { return folder_.path(); }
  std::vector<pid_t> pids() override { return {pid_}; }

 protected:
  template <class Run>
  void begin(Run run) {
    pid_ = fork();
    if (pid_ != 0) return;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (chdir(folder_.path().c_str()) != 0) _exit(126);
    run();
    _exit(127);
  }
  Folder folder_;

 private:
  bool is_stamp(pid_t pid) const {
    std::ifstream in("/proc/" + std::to_string(pid) + "/cmdline");
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    return text.find(stamp_file()) != std::string::npos;
  }
  pid_t pid_ = -1;
};

// The floor.
class Bare : public Process {
 public:
  Bare() : Process("bare loop") {
    begin([this] { loop(); });
  }

 private:
  void loop() {
    const int inotify = inotify_init1(IN_CLOEXEC);
    inotify_add_watch(inotify, "src", IN_CLOSE_WRITE | IN_MOVED_TO);
    const std::string file = stamp_file();
    for (;;) {
      const pid_t pid = vfork();
      if (pid == 0) {
        execl(kStamp.c_str(), kStamp.c_str(), file.c_str(), nullptr);
        _exit(127);
      }
      char buffer[4096];
      (void)!read(inotify, buffer, sizeof buffer);
      kill(pid, SIGTERM);
      waitpid(pid, nullptr, 0);
    }
  }
};

// Others, each with the flags that its manual gives for this.
class Peer : public Process {
 public:
  explicit Peer(const std::string& name, const Fill& fill = {}) : Process(name, fill) {
    const std::string stamp = kStamp + " " + stamp_file();
    folder_.write(".air.toml", "root = \".\"\ntmp_dir = \"tmp\"\n[build]\ncmd = \"true\"\nentrypoint = [\"" +
                                   kStamp + "\", \"" + stamp_file() +
                                   "\"]\ninclude_ext = [\"txt\"]\ninclude_dir = [\"src\"]\ndelay = 1\n");
    const std::string command = command_of(name, stamp);
    begin([&] {
      const int quiet = open("/dev/null", O_RDWR | O_CLOEXEC);
      for (const int fd : {0, 1, 2}) dup2(quiet, fd);
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    });
  }

  static bool known(const std::string& name) { return !command_of(name, "").empty(); }

 private:
  static std::string command_of(const std::string& name, const std::string& stamp) {
    if (name == "nodemon") return "exec nodemon --quiet --watch src --ext txt --exec '" + stamp + "'";
    if (name == "entr") return "ls src/main.txt src/other.txt | entr -n -r " + stamp;
    if (name == "watchexec") return "exec watchexec --quiet --watch src --restart -- " + stamp;
    if (name == "watchfiles") return "exec watchfiles --filter all '" + stamp + "' src";
    if (name == "air") return "exec air -c .air.toml";
    if (name == "watchmedo") return "exec watchmedo auto-restart -d src -R --signal SIGTERM -- " + stamp;
    return "";
  }
};

inline bool on_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string rest = std::string(path != nullptr ? path : "") + ":";
  for (std::size_t end; (end = rest.find(':')) != std::string::npos; rest.erase(0, end + 1)) {
    if (access((rest.substr(0, end) + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

// Saves in turns, each when the window of the one before is over.
inline void measure_in_turns(const std::vector<std::unique_ptr<Contender>>& all, int pairs) {
  std::mt19937 random(static_cast<unsigned>(pairs));
  for (int i = 0; i < pairs; ++i) {
    for (const auto& one : all) {
      one->measure(i);
      poll(nullptr, 0, static_cast<int>(40 + random() % 40));
    }
  }
  for (const auto& one : all) one->end();
}

}  // namespace runmain::bench
