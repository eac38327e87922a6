#include "keeper/adoption.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/identity.hpp"
#include "base/named_archive.hpp"

namespace runmain::keeper {
namespace {

constexpr std::string_view kTableMagic = "RMADOPTN";
constexpr std::string_view kUnreadMagic = "RMUNREAN";
constexpr std::size_t kHeader = 8 + 4 + 8 + 8;  // magic, version, size, checksum
constexpr std::string_view kSumKey = "runmain-adoption";
// Side 1 begins where side 0 cannot reach; the file is sparse.
constexpr std::uint64_t kSide = 2 * kAdoptionMax;

constexpr std::uint64_t offset_of(std::uint64_t serial) { return (serial & 1U) * kSide; }

void put_le(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8U * static_cast<unsigned>(i))));
}

std::uint64_t get_le(std::string_view in, std::size_t at, int bytes) {
  std::uint64_t value = 0;
  for (int i = bytes; i > 0; --i) {
    value = value << 8U | static_cast<unsigned char>(in[at + static_cast<std::size_t>(i) - 1]);
  }
  return value;
}

// The checksum is over version and size, too.
std::uint64_t sum_of(std::uint32_t version, std::string_view body) {
  std::string all;
  all.reserve(body.size() + 12);
  put_le(all, version, 4);
  put_le(all, body.size(), 8);
  all += body;
  return siphash24(kSumKey, all);
}

std::string to_bytes(std::string_view magic, const std::string& body) {
  std::string out(magic);
  out.reserve(kHeader + body.size());
  put_le(out, state_version(), 4);
  put_le(out, body.size(), 8);
  put_le(out, sum_of(state_version(), body), 8);
  return out + body;
}

template <class T>
Result<T> parse(std::string_view magic, std::string_view bytes) {
  if (bytes.empty()) return Error{"it is empty", {}, {}, EINVAL};
  if (bytes.size() < kHeader || bytes.substr(0, magic.size()) != magic)
    return Error{"it is torn, or no file of runmain", {}, {}, EINVAL};
  const auto version = static_cast<std::uint32_t>(get_le(bytes, 8, 4));
  const std::string_view body = bytes.substr(kHeader);
  const bool whole = get_le(bytes, 12, 8) == body.size() && get_le(bytes, 20, 8) == sum_of(version, body);
  if (whole && !reads_state_version(version))
    return Error{"it is of another version of runmain", {}, {}, EPROTONOSUPPORT};
  T value;
  if (!whole || !from_named(body, value)) return Error{"it is torn", {}, {}, EINVAL};
  return value;
}

// Open for writing.
Result<os::UniqueFd> replace(const std::string& path, std::string_view bytes) {
  const std::string fresh = path + ".new";
  if (unlink(fresh.c_str()) != 0 && errno != ENOENT) return Error::from_errno("unlink " + fresh, errno);
  os::UniqueFd fd(open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return Error::from_errno("open " + fresh, errno);
  if (auto written = os::write_all(fd.get(), bytes); !written) return written.error();
  if (rename(fresh.c_str(), path.c_str()) != 0) return Error::from_errno("rename " + fresh, errno);
  return fd;
}

Result<os::UniqueFd> open_ours(const std::string& path) {
  os::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat st {};
  if (!fd || fstat(fd.get(), &st) != 0) return Error::from_errno("open " + path, errno);
  if (!S_ISREG(st.st_mode) || st.st_uid != geteuid()) return Error{"it is no file of ours", {}, {}, EINVAL};
  return fd;
}

// A side may have had a longer table before.
Result<AdoptionTable> read_side(int fd, std::uint64_t side) {
  auto bytes = os::pread_some(fd, kHeader, offset_of(side));
  if (!bytes) return bytes.error();
  if (bytes->size() == kHeader) {
    const std::uint64_t size = std::min<std::uint64_t>(get_le(*bytes, 12, 8), kAdoptionMax);
    auto body = os::pread_some(fd, size, offset_of(side) + kHeader);
    if (!body) return body.error();
    *bytes += *body;
  }
  return parse_adoption(*bytes);
}

Result<AdoptionTable> read_newest(int fd) {
  auto first = read_side(fd, 0);
  auto second = read_side(fd, 1);
  if (!second) return first;
  return first && first->serial > second->serial ? std::move(first) : std::move(second);
}

}  // namespace

std::string to_record(const AdoptionTable& table) { return to_bytes(kTableMagic, to_named(table)); }
std::string to_record(const UnreadOutput& unread) { return to_bytes(kUnreadMagic, to_named(unread)); }

Result<AdoptionTable> parse_adoption(std::string_view bytes) {
  return parse<AdoptionTable>(kTableMagic, bytes);
}
Result<UnreadOutput> parse_unread(std::string_view bytes) { return parse<UnreadOutput>(kUnreadMagic, bytes); }

Result<void> write_record(const std::string& path, std::string_view bytes) {
  auto written = replace(path, bytes);
  return written ? Result<void>() : written.error();
}

Result<std::string> read_record(const std::string& path) {
  const auto fd = open_ours(path);
  if (!fd) return fd.error();
  return os::read_all(fd->get(), kAdoptionMax + kHeader);
}

Result<void> AdoptionFile::write(AdoptionTable& table) {
  const bool there = is_there();
  table.serial = there ? serial_ + 1 : 0;
  const std::string bytes = to_record(table);
  if (bytes.size() > kAdoptionMax) return Error{path_ + ": the table is larger than 16 MiB"};
  if (!there) return begin(bytes);
  if (auto written = os::pwrite_all(fd_.get(), bytes, offset_of(table.serial)); !written) {
    return Error::from_errno("write " + path_, written.error().code);
  }
  serial_ = table.serial;
  return {};
}

bool AdoptionFile::is_there() const {
  struct stat open {};
  struct stat named {};
  return fd_ && fstat(fd_.get(), &open) == 0 && lstat(path_.c_str(), &named) == 0 &&
         open.st_dev == named.st_dev && open.st_ino == named.st_ino;
}

Result<void> AdoptionFile::begin(std::string_view bytes) {
  auto fd = replace(path_, bytes);
  if (!fd) return fd.error();
  fd_ = std::move(*fd);
  ours_ = true;
  serial_ = 0;
  return {};
}

void AdoptionFile::remove() {
  if (!fd_ || is_there()) unlink(path_.c_str());  // what somebody has put there since is theirs
  fd_.reset();
  ours_ = false;
}

Result<AdoptionTable> read_adoption(const std::string& path) {
  const auto fd = open_ours(path);
  if (!fd) return fd.error();
  auto newest = read_newest(fd->get());
  return newest ? std::move(newest)
                : read_newest(fd->get());  // a keeper that lives may have written meanwhile
}

}  // namespace runmain::keeper
