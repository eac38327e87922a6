#include "core/backoff.hpp"

#include <algorithm>

#include "core/state.hpp"

namespace runmain::core {

std::uint64_t next_random(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15ULL;
  std::uint64_t z = state;
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31U);
}

Duration crash_delay(const Backoff& backoff, std::uint32_t crashes) {
  if (crashes < 2) return Duration::zero();
  const double max = static_cast<double>(std::clamp(backoff.max, Duration::zero(), kSpanMax).count());
  const double factor = static_cast<double>(backoff.factor_percent) / 100.0;
  double delay = static_cast<double>(std::clamp(backoff.initial, Duration::zero(), kSpanMax).count());
  for (std::uint32_t n = 2; n < crashes && delay < max && factor > 1.0; ++n) delay *= factor;
  return Duration(static_cast<Duration::rep>(std::min(delay, max)));
}

Duration crash_delay(const Backoff& backoff, std::uint32_t crashes, std::uint64_t& random) {
  const Duration base = crash_delay(backoff, crashes);
  const std::uint32_t percent = std::min<std::uint32_t>(backoff.jitter_percent, 100);
  if (base == Duration::zero() || percent == 0) return base;
  const Duration::rep reach = base.count() / 100 * percent;
  if (reach <= 0) return base;
  const auto span = static_cast<std::uint64_t>(reach) * 2 + 1;
  const auto offset = static_cast<Duration::rep>(next_random(random) % span) - reach;
  return std::min(base + Duration(offset), std::max(backoff.max, base));
}

Duration spawn_delay(std::uint32_t failures) {
  Duration delay = kSpawnRetryFirst;
  for (std::uint32_t n = 1; n < failures && delay < kSpawnRetryMax; ++n) delay *= 2;
  return std::min(delay, kSpawnRetryMax);
}

Time later(Time now, Duration d) {
  d = std::clamp(d, Duration::zero(), kSpanMax);
  return now > kNever - d ? kNever : now + d;
}

}  // namespace runmain::core
