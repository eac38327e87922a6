// A mailbox in our memory: the only place where shared words are loaded and stored.
//
// Invariant: the file can not become shorter while it is mapped (F_SEAL_SHRINK), so no access is a SIGBUS;
// whatever is loaded may be different the next time. Thread: one reader. Non-goal: to understand what is
// there.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "os/linux/fd.hpp"
#include "telemetry/mailbox_layout.hpp"

namespace runmain::telemetry {

// Words that several processes use, as the header says who writes which.
template <class T>
T load(const T& word) {
  return std::atomic_ref<T>(const_cast<T&>(word)).load(std::memory_order_acquire);
}
template <class T>
void store(T& word, T value) {
  std::atomic_ref<T>(word).store(value, std::memory_order_release);
}

class MailboxMemory {
 public:
  // Maps the file. `known`: what its header said when it was first opened; the header is not asked again
  // then. On failure why it is refused: not sealed against shrinking, shorter than its header says, a header
  // with a fault (code kUnknownVersion: of a version that we do not speak), or an errno.
  static Result<MailboxMemory> open(os::UniqueFd fd, const Geometry& known);

  MailboxMemory(MailboxMemory&& other) noexcept;
  MailboxMemory& operator=(MailboxMemory&& other) noexcept;
  ~MailboxMemory();

  const Geometry& geometry() const { return geometry_; }
  runmain_mailbox& header() const { return *reinterpret_cast<runmain_mailbox*>(base_); }
  runmain_lane& lane(std::uint32_t lane) const {
    return *reinterpret_cast<runmain_lane*>(base_ + geometry_.lane_offset(lane));
  }
  runmain_open_slot* slots(std::uint32_t lane) const {
    return reinterpret_cast<runmain_open_slot*>(base_ + geometry_.lane_offset(lane) +
                                                geometry_.slots_offset());
  }
  const char* dictionary(std::uint32_t lane) const {
    return base_ + geometry_.lane_offset(lane) + RUNMAIN_LANE_DICTIONARY;
  }
  const char* ring(std::uint32_t lane) const {
    return base_ + geometry_.lane_offset(lane) + geometry_.ring_offset();
  }

  // The first lane from `lane` on that has memory; lane_count if there is none. A look at one that has none
  // would give it some.
  std::uint32_t next_with_memory(std::uint32_t lane) const;

 private:
  MailboxMemory() = default;

  os::UniqueFd fd_;
  char* base_ = nullptr;
  std::size_t size_ = 0;
  Geometry geometry_;
};

// A new one, sealed, as runmain gives it to a child. On failure the errno. Owned by the caller.
Result<os::UniqueFd> make_mailbox(const Geometry& geometry);

}  // namespace runmain::telemetry
