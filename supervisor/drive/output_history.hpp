// The latest output of services that have no log file, for `runmain logs`. One sparse memfd of the keeper, a
// fixed region a ServiceId, so it outlives the head.
//
// A region is a header {begin, end} and a ring of bytes: byte n of the history at n % kHistoryRoom. `begin`
// moves before old bytes are overwritten, `end` after new ones are there, so a death in between leaves a
// sound history. Invariant: [begin, end) is never longer than kHistoryRoom. Non-goal: keeping what no longer
// fits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/ids.hpp"

namespace runmain::drive {

inline constexpr std::uint64_t kHistoryRegion = 128U << 10U;  // bytes a service
inline constexpr std::uint64_t kHistoryHeader = 64;
inline constexpr std::uint64_t kHistoryRoom = kHistoryRegion - kHistoryHeader;
inline constexpr std::uint32_t kHistoryServices = 1U << 16U;  // later services have no history

class OutputHistory {
 public:
  // The fd stays the caller's; -1: nothing is kept.
  explicit OutputHistory(int fd) : fd_(fd) {}

  // How many bytes were ever kept for this service.
  std::uint64_t end(ServiceId service);

  // Keeps whole lines; of more than a region the last ones. Where the system has no memory they are not kept,
  // and counted.
  void append(ServiceId service, std::string_view lines);

  // Takes out what was appended from `end` on.
  void cut(ServiceId service, std::uint64_t end);

  // The last whole lines with their newlines, the oldest first; of at most `limit` bytes.
  std::string lines(ServiceId service, std::uint64_t limit = kHistoryRoom);

  std::uint64_t not_kept() const { return not_kept_; }

 private:
  struct Header {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  Header& header(ServiceId service);
  bool store(ServiceId service, const Header& header);
  bool move(ServiceId service, std::uint64_t at, char* out, const char* in, std::size_t size);

  int fd_;
  std::unordered_map<std::uint32_t, Header> headers_;
  std::uint64_t not_kept_ = 0;
};

}  // namespace runmain::drive
