#include "os/linux/memfd_cell.hpp"

#include <fcntl.h>

#include <cstring>

#include "os/linux/fd.hpp"

namespace runmain::os {
namespace {

constexpr std::uint64_t kHeaderBytes = 4096;
constexpr std::uint64_t kKept =
    256U << 10U;  // an old value of so many bytes may stay: it is written over soon

struct Header {
  std::uint64_t size = 0;
  std::uint64_t side = 0;
};

std::uint64_t offset_of(std::uint64_t side) { return kHeaderBytes + (side & 1U) * kCellMax; }

void give_back(int fd, std::uint64_t side) {
  fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset_of(side)),
            static_cast<off_t>(kCellMax));
}

Result<Header> read_header(int fd) {
  auto raw = pread_some(fd, sizeof(Header), 0);
  if (!raw) return raw.error();
  Header header;
  if (raw->size() == sizeof header) std::memcpy(&header, raw->data(), sizeof header);
  return header;
}

}  // namespace

Result<void> MemfdCell::store(std::string_view value) {
  if (value.size() > kCellMax) return Error{"a value of more than 512 MiB"};
  auto old = read_header(fd_);
  if (!old) return old.error();
  const Header next{value.size(), (old->side + 1) & 1U};
  if (auto written = pwrite_all(fd_, value, offset_of(next.side)); !written) {
    give_back(fd_, next.side);
    return written;
  }
  const std::string_view bytes(reinterpret_cast<const char*>(&next), sizeof next);
  if (auto written = pwrite_all(fd_, bytes, 0); !written) return written;
  if (old->size <= kKept) return {};
  give_back(fd_, old->side);
  return {};
}

Result<std::string> MemfdCell::load() const {
  auto header = read_header(fd_);
  if (!header) return header.error();
  if (header->size == 0 || header->size > kCellMax) return std::string();
  return pread_some(fd_, header->size, offset_of(header->side));
}

}  // namespace runmain::os
