#include "config/read_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace runmain::config {
namespace {

Error fault(int code) {
  const std::string message = code == ENOENT || code == ENOTDIR ? "no such file" : std::strerror(code);
  return Error{message, {}, {}, code};
}

Result<std::string> read_all(int fd, std::size_t max) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return fault(errno);
  if (!S_ISREG(status.st_mode)) {
    const int code = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
    return Error{S_ISDIR(status.st_mode) ? "is a folder" : "is not a regular file", {}, {}, code};
  }
  std::string text;
  char buffer[65536];
  while (true) {
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fault(errno);
    if (n == 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > max) return Error{"larger than " + std::to_string(max) + " bytes", {}, {}, EFBIG};
  }
}

}  // namespace

Result<std::string> read_file(const std::string& path, std::size_t max) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer; a regular file ignores it.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return fault(errno);
  auto text = read_all(fd, max);
  close(fd);
  return text;
}

}  // namespace runmain::config
