// Strong ids. A ServiceId is an index that is never used again for another name while a keeper lives.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace runmain {

template <class Tag>
struct Id {
  std::uint32_t value = 0;
  friend constexpr auto operator<=>(const Id&, const Id&) = default;
  template <class A>
  void fields(A& a) {
    a("id", value);
  }
};

using ServiceId = Id<struct ServiceTag>;
inline constexpr ServiceId kNoService{0xffffffffU};

// Children that do not serve (helpers) have slot numbers of their own: a service's build step, the hook that
// looks at a worker that hangs, the command that looks at a worker's health, and the one that finds out
// whether a worker is ready. One of each at a time.
inline constexpr std::uint32_t kBuildSlot = 0xffffU;
inline constexpr std::uint32_t kHookSlot = 0xfffeU;
inline constexpr std::uint32_t kLookSlot = 0xfffdU;
inline constexpr std::uint32_t kProbeSlot = 0xfffcU;
inline constexpr std::uint32_t kHelperSlotFirst = kProbeSlot;
inline constexpr std::uint32_t kNoSlot = 0xffffffffU;

// What a helper's slot is called: "build", "hook", "look", "probe"; nullptr for a worker's.
inline const char* helper_name(std::uint32_t slot) {
  if (slot == kBuildSlot) return "build";
  if (slot == kHookSlot) return "hook";
  if (slot == kLookSlot) return "look";
  return slot == kProbeSlot ? "probe" : nullptr;
}

// Names one start of one child for ever: service, stable worker slot, code generation, and the how-manyth
// start in that slot and generation. A verb that names a known key finds the existing child; it never makes a
// second one.
struct ChildKey {
  ServiceId service{};
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
  std::uint32_t attempt = 0;

  friend constexpr auto operator<=>(const ChildKey&, const ChildKey&) = default;
  bool is_build() const { return slot == kBuildSlot; }
  bool is_hook() const { return slot == kHookSlot; }
  bool is_look() const { return slot == kLookSlot; }
  bool is_probe() const { return slot == kProbeSlot; }
  // It is about a worker.
  bool is_about() const { return is_hook() || is_look() || is_probe(); }
  bool is_worker() const { return slot < kHelperSlotFirst; }
  std::string text() const {
    return std::to_string(service.value) + ":" + std::to_string(slot) + ":" + std::to_string(generation) +
           ":" + std::to_string(attempt);
  }
  template <class A>
  void fields(A& a) {
    a("service", service);
    a("slot", slot);
    a("generation", generation);
    a("attempt", attempt);
  }
};

// Nobody, and ourselves: what runmain's own processes tell is kept under keys as children's is.
inline constexpr ChildKey kNoChild{kNoService, 0, 0, 0};
inline constexpr ChildKey kHeadKey{kNoService, 1, 0, 0};
inline constexpr ChildKey kObserverKey{kNoService, 2, 0, 0};

}  // namespace runmain

template <>
struct std::hash<runmain::ChildKey> {
  std::size_t operator()(const runmain::ChildKey& k) const noexcept {
    std::uint64_t h = (std::uint64_t{k.service.value} << 32U) ^ (std::uint64_t{k.generation} << 16U) ^ k.slot;
    h ^= std::uint64_t{k.attempt} << 40U;
    h *= 0x9e3779b97f4a7c15ULL;
    return static_cast<std::size_t>(h ^ (h >> 29U));
  }
};
