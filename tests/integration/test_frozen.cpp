// A worker that waits for a file system that never answers: no signal ends it. What a stop does with it, and
// that nobody else waits for it.
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "support/pools.hpp"

using namespace runmain::test;

namespace {

// A file system that says hello and then takes every question without answering one.
class FrozenFs {
 public:
  explicit FrozenFs(const std::string& at) : at_(at), fd_(open("/dev/fuse", O_RDWR | O_CLOEXEC)) {
    const std::string options = "fd=" + std::to_string(fd_) + ",rootmode=40000,user_id=0,group_id=0";
    mounted_ =
        fd_ >= 0 && mount("runmain-test", at_.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) == 0;
  }
  ~FrozenFs() { thaw(); }
  FrozenFs(const FrozenFs&) = delete;
  FrozenFs& operator=(const FrozenFs&) = delete;
  bool usable() const { return mounted_; }

  // Waits for somebody's question, which stays open: who asks waits for ever, and is in state D once a signal
  // has come.
  bool wait_asked() {
    for (;;) {
      pollfd p{fd_, POLLIN, 0};
      if (poll(&p, 1, static_cast<int>(std::chrono::milliseconds(kGuard).count())) != 1) return false;
      const ssize_t n = read(fd_, buffer_.data(), buffer_.size());
      if (n < 0 && (errno == EINTR || errno == ENOENT)) continue;
      fuse_in_header head{};
      if (n < static_cast<ssize_t>(sizeof head)) return false;
      std::memcpy(&head, buffer_.data(), sizeof head);
      if (head.opcode != FUSE_INIT) return true;
      greet(head.unique);
    }
  }
  // Every question fails.
  void thaw() {
    if (fd_ >= 0) close(fd_);
    if (mounted_) umount2(at_.c_str(), MNT_DETACH);
    fd_ = -1;
    mounted_ = false;
  }

 private:
  void greet(std::uint64_t unique) {
    fuse_init_out hello{};
    hello.major = FUSE_KERNEL_VERSION;
    hello.minor = FUSE_KERNEL_MINOR_VERSION;
    hello.max_write = 4096;
    fuse_out_header head{sizeof head + sizeof hello, 0, unique};
    iovec parts[2] = {{&head, sizeof head}, {&hello, sizeof hello}};
    CHECK(writev(fd_, parts, 2) == static_cast<ssize_t>(head.len));
  }

  std::string at_;
  int fd_;
  bool mounted_ = false;
  std::array<char, 64U << 10U> buffer_{};
};

}  // namespace

TEST_CASE("a worker in a file system that never answers is named when it cannot be ended; others go on") {
  const Folder folder;
  FrozenFs frozen(folder.path());
  if (!frozen.usable()) return skip("needs /dev/fuse and the right to mount");
  Supervised up(
      "[service.stuck]\ncommand = [\"/bin/cat\", \"" + folder.file("x") +
      "\"]\nready = { after = \"10ms\" }\nstop = { timeout = \"200ms\" }\n"
      "[service.web]\ncommand = [\"@BIN@/t_http\", \"--fd\", \"{fd}\"]\nlisten = \"127.0.0.1:0\"\n" +
      kNotify);
  up.start();
  REQUIRE(frozen.wait_asked());
  REQUIRE(up.wait_ready());
  const pid_t stuck = up.pids("stuck").at(0);
  const pid_t before = up.pids("web").at(0);
  REQUIRE(up.request("stop", {{"services", {"stuck"}}, {"wait", false}}).contains("ok"));
  REQUIRE(up.wait_event("child.stop_timed_out", "stuck").is_object());
  CHECK(up.cli({"restart", "web"}).status == 0);
  CHECK(get(up.address("web"), "/").ok);
  CHECK(up.pids("web").at(0) != before);
  CHECK(alive(stuck));
  const Json left = up.wait_event("child.survivors_left", "stuck");
  REQUIRE(left.is_object());
  INFO(left.dump());
  const std::string who = left["data"]["survivors"];
  CHECK(who.find(std::to_string(stuck)) != std::string::npos);
  CHECK(who.find("state D") != std::string::npos);
  REQUIRE(up.wait_status([](const Json& s) { return s["services"][0]["state"] == "failed"; }).is_object());
  CHECK(up.service("stuck")["reason"].get<std::string>().find(who) != std::string::npos);
  CHECK(up.cli({"restart", "web"}).status == 0);
  frozen.thaw();
  CHECK(wait_gone(stuck));
}
