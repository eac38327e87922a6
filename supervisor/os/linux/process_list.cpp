#include "os/linux/process_list.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "os/linux/proc.hpp"

namespace runmain::os {

namespace {

constexpr std::size_t kBufferBytes = 32U << 10U;  // about 1,000 entries a call
constexpr pid_t kPidMaxDefault = 32768;

// linux_dirent64 of getdents64(2): 8 bytes inode, 8 bytes offset, then these.
constexpr std::size_t kLengthAt = 16;
constexpr std::size_t kNameAt = 19;

// A /proc that was mounted in another pid namespace has numbers that mean other processes here.
bool is_our_proc() {
  std::array<char, 32> link;
  const ssize_t n = ::readlink("/proc/self", link.data(), link.size());
  return n > 0 && parse_number(std::string_view(link.data(), static_cast<std::size_t>(n))) ==
                      static_cast<std::uint64_t>(::getpid());
}

}  // namespace

Result<void> ProcessList::read(std::vector<pid_t>& out) {
  out.clear();
  if (!proc_) {
    if (!is_our_proc()) return Error{"/proc is not there, or of another pid namespace", {}, {}, ENOTSUP};
    proc_.reset(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  if (!proc_) return Error::from_errno("open /proc", errno);
  if (buffer_.empty()) buffer_.resize(kBufferBytes);
  if (::lseek(proc_.get(), 0, SEEK_SET) != 0) return Error::from_errno("lseek /proc", errno);
  for (;;) {
    const long n = ::syscall(SYS_getdents64, proc_.get(), buffer_.data(), buffer_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno("getdents64 /proc", errno);
    if (n == 0) return {};
    for (std::size_t at = 0; at < static_cast<std::size_t>(n);) {
      std::uint16_t length = 0;
      std::memcpy(&length, buffer_.data() + at + kLengthAt, sizeof length);
      pid_t pid = 0;
      const char* name = buffer_.data() + at + kNameAt;
      for (; *name >= '0' && *name <= '9'; ++name) pid = pid * 10 + (*name - '0');
      if (*name == '\0' && pid > 0) out.push_back(pid);
      at += length;
    }
  }
}

Result<pid_t> ProcessList::last_pid() {
  if (!loadavg_) loadavg_.reset(::open("/proc/loadavg", O_RDONLY | O_CLOEXEC));
  if (!loadavg_) return Error::from_errno("open /proc/loadavg", errno);
  std::array<char, 128> text;
  const ssize_t n = ::pread(loadavg_.get(), text.data(), text.size(), 0);
  if (n < 0) return Error::from_errno("read /proc/loadavg", errno);
  const std::string_view line(text.data(), static_cast<std::size_t>(n));
  const std::size_t blank = line.rfind(' ');
  const auto pid = blank == std::string_view::npos ? std::nullopt : parse_number(line.substr(blank + 1));
  if (!pid || *pid > INT32_MAX) return Error::from_errno("parse /proc/loadavg", EPROTO);
  return static_cast<pid_t>(*pid);
}

pid_t ProcessList::pid_max() {
  const auto value = parse_number(proc_text("/proc/sys/kernel/pid_max", 32));
  return value && *value > 1 && *value < INT32_MAX ? static_cast<pid_t>(*value) : kPidMaxDefault;
}

}  // namespace runmain::os
