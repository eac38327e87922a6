#include "os/linux/inotify.hpp"

#include <unistd.h>

#include <climits>

#include "os/linux/folder.hpp"

namespace runmain::os {
namespace {

constexpr std::size_t kReadBytes = 64U << 10U;

int injected(InotifyCall call) { return inotify_fault() ? inotify_fault()(call) : 0; }

}  // namespace

std::function<int(InotifyCall)>& inotify_fault() {
  static std::function<int(InotifyCall)> fault;
  return fault;
}

std::string inotify_limit(const std::string& name) {
  auto text = read_file("/proc/sys/fs/inotify/" + name, 64);
  if (!text) return "unknown";
  while (!text->empty() && (text->back() == '\n' || text->back() == ' ')) text->pop_back();
  return *text;
}

Result<Inotify> Inotify::make() {
  if (const int error = injected(InotifyCall::make); error != 0)
    return Error::from_errno("inotify_init1", error);
  UniqueFd fd(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd) return Error::from_errno("inotify_init1", errno);
  return Inotify(std::move(fd));
}

Result<int> Inotify::add(const std::string& path, std::uint32_t mask) {
  if (const int error = injected(InotifyCall::add); error != 0)
    return Error::from_errno("inotify " + path, error);
  if (path.size() < PATH_MAX) {
    const int wd = inotify_add_watch(fd_.get(), path.c_str(), mask);
    if (wd < 0) return Error::from_errno("inotify " + path, errno);
    return wd;
  }
  // No call takes the whole path: it is walked to, and the watch is set through the fd's link in /proc.
  auto folder = Folder::open(path);
  if (!folder) return folder.error();
  const std::string link = "/proc/self/fd/" + std::to_string(folder->fd());
  const int wd =
      inotify_add_watch(fd_.get(), link.c_str(), mask & ~static_cast<std::uint32_t>(IN_DONT_FOLLOW));
  if (wd < 0) return Error::from_errno("inotify " + path.substr(0, 64) + "…", errno);
  return wd;
}

void Inotify::remove(int wd) { inotify_rm_watch(fd_.get(), wd); }

Result<std::size_t> Inotify::read(const std::function<void(const InotifyEvent&)>& use) {
  buffer_.resize(kReadBytes);
  ssize_t got = 0;
  do {
    got = ::read(fd_.get(), buffer_.data(), buffer_.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    if (errno == EAGAIN) return std::size_t{0};
    return Error::from_errno("read inotify", errno);
  }
  std::size_t count = 0;
  for (std::size_t at = 0; at + sizeof(inotify_event) <= static_cast<std::size_t>(got); ++count) {
    inotify_event head{};
    std::memcpy(&head, buffer_.data() + at, sizeof head);
    const char* name = buffer_.data() + at + sizeof head;
    at += sizeof head + head.len;
    use({head.wd, head.mask, head.cookie, head.len == 0 ? std::string_view() : std::string_view(name)});
  }
  return count;
}

}  // namespace runmain::os
