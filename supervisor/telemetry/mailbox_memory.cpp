#include "telemetry/mailbox_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace runmain::telemetry {

Result<MailboxMemory> MailboxMemory::open(os::UniqueFd fd, const Geometry& known) {
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) return Error::from_errno("the mailbox", errno);
  const int seals = fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return Error{"the mailbox is not sealed: it could be cut off under our eyes"};
  }
  const auto size = static_cast<std::uint64_t>(file.st_size);
  MailboxMemory memory;
  if (known.known()) {
    if (auto fits = check_geometry(known, size); !fits) return fits.error();
    memory.geometry_ = known;
  } else {
    auto header = os::pread_some(fd.get(), sizeof(runmain_mailbox), 0);
    if (!header) return header.error();
    auto geometry = read_geometry(*header, size);
    if (!geometry) return geometry.error();
    memory.geometry_ = std::move(*geometry);
  }
  memory.size_ = static_cast<std::size_t>(memory.geometry_.size());
  void* at = mmap(nullptr, memory.size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) return Error::from_errno("mmap of the mailbox", errno);
  memory.base_ = static_cast<char*>(at);
  memory.fd_ = std::move(fd);
  return memory;
}

MailboxMemory::MailboxMemory(MailboxMemory&& other) noexcept
    : fd_(std::move(other.fd_)),
      base_(std::exchange(other.base_, nullptr)),
      size_(other.size_),
      geometry_(std::move(other.geometry_)) {}

MailboxMemory& MailboxMemory::operator=(MailboxMemory&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(base_, other.base_);
  std::swap(size_, other.size_);
  std::swap(geometry_, other.geometry_);
  return *this;
}

MailboxMemory::~MailboxMemory() {
  if (base_ != nullptr) munmap(base_, size_);
}

std::uint32_t MailboxMemory::next_with_memory(std::uint32_t lane) const {
  if (lane >= geometry_.lane_count) return geometry_.lane_count;
  const std::uint64_t from = geometry_.lane_offset(lane);
  const off_t data = lseek(fd_.get(), static_cast<off_t>(from), SEEK_DATA);
  if (data < 0) return errno == ENXIO ? geometry_.lane_count : lane;  // nothing more; cannot be told
  const std::uint64_t found =
      (static_cast<std::uint64_t>(data) - geometry_.header_size) / geometry_.lane_stride;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(found, geometry_.lane_count));
}

Result<os::UniqueFd> make_mailbox(const Geometry& geometry) {
  os::UniqueFd fd(memfd_create("runmain-mailbox", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return Error::from_errno("memfd_create", errno);
  if (ftruncate(fd.get(), static_cast<off_t>(geometry.size())) != 0)
    return Error::from_errno("ftruncate", errno);
  const runmain_mailbox header = make_header(geometry);
  const std::string_view bytes(reinterpret_cast<const char*>(&header), sizeof header);
  if (auto written = os::pwrite_all(fd.get(), bytes, 0); !written) return written.error();
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return Error::from_errno("F_ADD_SEALS", errno);
  }
  return fd;
}

}  // namespace runmain::telemetry
