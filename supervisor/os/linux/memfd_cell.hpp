// One value in a memfd, replaced as a whole: a reader finds the old one or the new one, whenever the writer
// dies. Layout: a header names the size and the side; the value stands on side 0 or 1, far apart. Thread: one
// writer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace runmain::os {

inline constexpr std::uint64_t kCellMax = 512ULL << 20U;  // bytes of a value

class MemfdCell {
 public:
  // `fd` is the caller's for the life of this.
  explicit MemfdCell(int fd) : fd_(fd) {}

  // On failure (no memory, too large) the old value stays.
  Result<void> store(std::string_view value);
  // Empty if nothing was ever stored.
  Result<std::string> load() const;

 private:
  int fd_;
};

}  // namespace runmain::os
