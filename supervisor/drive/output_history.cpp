#include "drive/output_history.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace runmain::drive {
namespace {

bool read_at(int fd, char* to, std::size_t size, std::uint64_t at) {
  while (size > 0) {
    const ssize_t n = pread(fd, to, size, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to += n;
    size -= static_cast<std::size_t>(n);
    at += static_cast<std::uint64_t>(n);
  }
  return true;
}

bool write_at(int fd, const char* from, std::size_t size, std::uint64_t at) {
  while (size > 0) {
    const ssize_t n = pwrite(fd, from, size, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    from += n;
    size -= static_cast<std::size_t>(n);
    at += static_cast<std::uint64_t>(n);
  }
  return true;
}

std::uint64_t region_of(ServiceId service) { return std::uint64_t{service.value} * kHistoryRegion; }

// Byte `position` of a service's history in the memfd.
std::uint64_t place_of(ServiceId service, std::uint64_t position) {
  return region_of(service) + kHistoryHeader + position % kHistoryRoom;
}

}  // namespace

OutputHistory::Header& OutputHistory::header(ServiceId service) {
  const auto [found, fresh] = headers_.try_emplace(service.value);
  if (!fresh) return found->second;
  std::uint64_t words[2] = {0, 0};
  const bool kept = read_at(fd_, reinterpret_cast<char*>(words), sizeof words, region_of(service));
  if (kept && words[0] <= words[1] && words[1] - words[0] <= kHistoryRoom)
    found->second = {words[0], words[1]};
  return found->second;
}

bool OutputHistory::store(ServiceId service, const Header& header) {
  const std::uint64_t words[2] = {header.begin, header.end};
  return write_at(fd_, reinterpret_cast<const char*>(words), sizeof words, region_of(service));
}

std::uint64_t OutputHistory::end(ServiceId service) {
  return fd_ < 0 || service.value >= kHistoryServices ? 0 : header(service).end;
}

void OutputHistory::append(ServiceId service, std::string_view lines) {
  if (fd_ < 0 || service.value >= kHistoryServices || lines.empty()) return;
  Header& now = header(service);
  std::uint64_t at = now.end;
  const std::uint64_t end = now.end + lines.size();
  if (lines.size() > kHistoryRoom) {
    at += lines.size() - kHistoryRoom;
    lines.remove_prefix(lines.size() - kHistoryRoom);
  }
  bool kept = true;
  if (end > now.begin + kHistoryRoom) {
    now.begin = std::min(end - kHistoryRoom, now.end);
    kept = store(service, now);
  }
  const std::size_t first = std::min<std::size_t>(lines.size(), kHistoryRoom - at % kHistoryRoom);
  kept = kept && write_at(fd_, lines.data(), first, place_of(service, at)) &&
         write_at(fd_, lines.data() + first, lines.size() - first, place_of(service, at + first));
  const Header next{std::max(now.begin, end < kHistoryRoom ? 0 : end - kHistoryRoom), end};
  if (kept && store(service, next)) {
    now = next;
  } else {
    not_kept_ += static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
  }
}

void OutputHistory::cut(ServiceId service, std::uint64_t end) {
  if (fd_ < 0 || service.value >= kHistoryServices) return;
  Header& now = header(service);
  if (end >= now.end) return;
  now.end = end;
  now.begin = std::min(now.begin, end);
  store(service, now);
}

std::string OutputHistory::lines(ServiceId service, std::uint64_t limit) {
  if (fd_ < 0 || service.value >= kHistoryServices) return {};
  Header now = header(service);
  if (now.end - now.begin > limit) now.begin = now.end - limit;
  std::string out(now.end - now.begin, '\0');
  const std::size_t first = std::min<std::size_t>(out.size(), kHistoryRoom - now.begin % kHistoryRoom);
  if (!read_at(fd_, out.data(), first, place_of(service, now.begin)) ||
      !read_at(fd_, out.data() + first, out.size() - first, place_of(service, now.begin + first))) {
    return {};
  }
  // The start of the first line may be missing.
  if (now.begin > 0 && !out.empty()) out.erase(0, std::min(out.find('\n'), out.size() - 1) + 1);
  return out;
}

}  // namespace runmain::drive
