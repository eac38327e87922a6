// A digest of what a state can still lead to: an archive that leaves out what only counts or is only told,
// and takes times relative to now, so that an explorer knows a state again that it met by another way.
// Invariant: two states with different futures differ in a field that is walked here, but for the texts of
// facts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/archive.hpp"
#include "base/time.hpp"

namespace runmain::core {

class ShapeWriter {
 public:
  static constexpr bool kReading = false;
  explicit ShapeWriter(Time now) : now_(now) {}

  template <class T>
  void operator()(const char* name, T& v) {
    if (!skipped(name)) put(v);
  }
  template <class T>
  void put(T& v) {
    namespace d = archive_detail;
    if constexpr (std::is_same_v<T, std::string>) {
      mix(std::hash<std::string_view>{}(v));
    } else if constexpr (d::IsVector<T>::value || d::IsArray<T>::value) {
      mix(v.size());
      for (auto& e : v) put(e);
    } else if constexpr (d::IsOptional<T>::value) {
      mix(v ? 1 : 0);
      if (v) put(*v);
    } else if constexpr (d::IsPair<T>::value) {
      put(v.first);
      put(v.second);
    } else if constexpr (d::IsVariant<T>::value) {
      mix(v.index());
      std::visit([this](auto& e) { put(e); }, v);
    } else if constexpr (d::IsDuration<T>::value) {
      mix(static_cast<std::uint64_t>(v.count()));
    } else if constexpr (d::IsTimePoint<T>::value) {
      mix(v == kNever ? ~0ULL : v <= now_ ? 0ULL : static_cast<std::uint64_t>((v - now_).count()));
    } else if constexpr (std::is_enum_v<T> || std::is_integral_v<T>) {
      mix(static_cast<std::uint64_t>(v));
    } else {
      v.fields(*this);
    }
  }
  std::uint64_t digest() const { return hash_; }

 private:
  // Names are literals: what was found out about a pointer once stays true.
  static bool skipped(const char* name) {
    struct Known {
      const char* name = nullptr;
      bool skipped = false;
    };
    static Known known[1024];
    Known& k = known[reinterpret_cast<std::uintptr_t>(name) % 1024];
    if (k.name != name) k = Known{name, is_listed(name)};
    return k.skipped;
  }
  static bool is_listed(std::string_view name) {
    static constexpr std::string_view kSkipped[] = {
        "events",  "effects",    "random",    "now",          "since",      "ready_at",
        "history", "history_at", "cause",     "time",         "restarts",   "reloads",
        "reason",  "spec",       "text",      "death_at",     "number",     "pid",
        "proven",  "failure_at", "held_back", "reload_since", "dirty_count"};
    return std::find(std::begin(kSkipped), std::end(kSkipped), name) != std::end(kSkipped);
  }
  void mix(std::uint64_t v) {
    hash_ = (hash_ ^ v) * 0x9e3779b97f4a7c15ULL;
    hash_ ^= hash_ >> 29U;
    hash_ *= 0xbf58476d1ce4e5b9ULL;
    hash_ ^= hash_ >> 32U;
  }

  Time now_;
  std::uint64_t hash_ = 0x243f6a8885a308d3ULL;
};

}  // namespace runmain::core
