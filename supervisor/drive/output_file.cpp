#include "drive/output_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace runmain::drive {
namespace {

constexpr mode_t kLogMode = 0644;  // less the umask

bool exists(const std::string& path) {
  struct stat st {};
  return lstat(path.c_str(), &st) == 0;
}

// The last bytes of one file, at most `limit`; empty if it cannot be read.
std::string tail_of(const std::string& path, std::size_t limit) {
  const os::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat st {};
  if (!fd || fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode)) return {};
  const auto size = static_cast<std::uint64_t>(st.st_size);
  auto bytes =
      os::pread_some(fd.get(), std::min<std::uint64_t>(size, limit), size > limit ? size - limit : 0);
  return bytes ? std::move(*bytes) : std::string();
}

}  // namespace

void OutputFile::configure(std::uint64_t max_size, std::uint32_t keep) {
  max_size_ = max_size;
  keep_ = std::min(keep, kLogKeepMax);
}

std::string OutputFile::numbered(std::uint32_t number) const { return path_ + "." + std::to_string(number); }

Result<void> OutputFile::fault(const std::string& what) {
  const int code = errno;
  fd_.reset();
  return Error::from_errno(what, code);
}

// O_NONBLOCK: a fifo without a reader must not hold us.
Result<void> OutputFile::open() {
  constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  fd_.reset(::open(path_.c_str(), kFlags, kLogMode));
  half_written_ = false;
  struct stat st {};
  if (!fd_ || fstat(fd_.get(), &st) != 0) return fault("open");
  if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode)) {
    errno = EINVAL;
    return fault("open: neither a file nor a device");
  }
  regular_ = S_ISREG(st.st_mode);
  device_ = st.st_dev;
  inode_ = st.st_ino;
  size_ = regular_ ? static_cast<std::uint64_t>(st.st_size) : 0;
  return {};
}

bool OutputFile::moved_away() const {
  struct stat st {};
  return stat(path_.c_str(), &st) != 0 || st.st_dev != device_ || st.st_ino != inode_;
}

Result<void> OutputFile::prepare(Time now) {
  if (fd_ && half_written_) {
    if (ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0) return Error::from_errno("ftruncate", errno);
    half_written_ = false;
  }
  if (fd_ && now - checked_ >= kLogCheckInterval) {
    checked_ = now;
    if (moved_away()) fd_.reset();
  }
  if (!fd_) {
    checked_ = now;
    return open();
  }
  if (!regular_) return {};
  struct stat st {};
  if (fstat(fd_.get(), &st) != 0) return fault("fstat");
  if (st.st_nlink == 0) return open();
  size_ = static_cast<std::uint64_t>(st.st_size);  // truncated from outside, or written to by others
  return {};
}

std::uint64_t OutputFile::room() const {
  if (!regular_) return ~0ULL;
  return size_ < max_size_ ? max_size_ - size_ : 0;
}

Result<void> OutputFile::rotate(Time now) {
  checked_ = now;
  if (moved_away()) return open();
  if (keep_ == 0) {
    if (unlink(path_.c_str()) != 0) return Error::from_errno("unlink", errno);
    return open();
  }
  std::uint32_t gap = 1;
  while (gap < keep_ && exists(numbered(gap))) ++gap;
  for (std::uint32_t to = gap; to > 0; --to) {
    const std::string from = to == 1 ? path_ : numbered(to - 1);
    if (rename(from.c_str(), numbered(to).c_str()) != 0)
      return Error::from_errno("rename to " + numbered(to), errno);
  }
  return open();
}

Result<void> OutputFile::append(std::string_view bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = write(fd_.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const Error error = Error::from_errno("write", n < 0 ? errno : EIO);
      half_written_ = regular_ && done > 0;
      if (half_written_ && ftruncate(fd_.get(), static_cast<off_t>(size_)) == 0) half_written_ = false;
      return error;
    }
    done += static_cast<std::size_t>(n);
  }
  if (regular_) size_ += bytes.size();
  return {};
}

bool OutputFile::cut(const OutputPlace& place) {
  for (std::uint32_t number = 0; number <= keep_; ++number) {
    const std::string path = number == 0 ? path_ : numbered(number);
    const os::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    struct stat st {};
    if (!fd || fstat(fd.get(), &st) != 0 || st.st_dev != place.device || st.st_ino != place.inode) continue;
    // Never longer: somebody may have truncated it meanwhile.
    if (static_cast<std::uint64_t>(st.st_size) <= place.offset) return true;
    return ftruncate(fd.get(), static_cast<off_t>(place.offset)) == 0;
  }
  return false;
}

std::string OutputFile::tail(std::size_t limit) const {
  std::string all;
  bool whole = true;
  for (std::uint32_t number = 0; number <= keep_ && all.size() < limit; ++number) {
    const std::string path = number == 0 ? path_ : numbered(number);
    std::string part = tail_of(path, limit - all.size());
    if (part.empty() && number > 0) break;
    whole = part.size() + all.size() < limit;
    all.insert(0, part);
  }
  if (!whole && !all.empty()) all.erase(0, std::min(all.find('\n'), all.size() - 1) + 1);
  return all;
}

}  // namespace runmain::drive
