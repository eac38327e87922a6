// Addresses as the file writes them.
//   "127.0.0.1:8000"  "[::1]:0"  ":8000" (v4 and v6)  "localhost:8000" (127.0.0.1)
//   "unix:/run/web.sock"  "unix:web.sock" (relative to the file's folder)  "unix:@name" (abstract)
//   "udp:127.0.0.1:53"
// Invariant: a host is numeric and in its canonical form, a path fits sockaddr_un. Non-goal: resolving names.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "core/spec.hpp"

namespace runmain::config {

inline constexpr std::size_t kUnixPathMax = 107;  // unix(7): sun_path holds 108 bytes with the final NUL

// On success `text`, `kind` and what belongs to the kind are set. On failure message and hint, without a
// place. Relative unix paths are taken from `folder`.
Result<core::ListenSpec> parse_address(std::string_view text, const std::string& folder);

// A listener that was written at `at` for `service`.
struct Bound {
  const core::ListenSpec* listen = nullptr;
  std::string service;
};

// Two listeners that the kernel would not let be bound together; the first of them, and the later one.
struct Collision {
  const Bound* first = nullptr;
  const Bound* second = nullptr;
};

// Every listener that collides with one before it, in order. Port 0 never does. Requires that `all` outlives
// the result.
std::vector<Collision> collisions(const std::vector<Bound>& all);

}  // namespace runmain::config
