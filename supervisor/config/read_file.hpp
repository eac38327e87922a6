// Reads a whole file once: what is parsed, shown and checked is one state of it, even if it is replaced
// meanwhile. Invariant: never blocks on a FIFO or device, never returns more than asked for. Non-goal:
// watching it.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.hpp"

namespace runmain::config {

// On success the bytes. On failure a message such as "no such file" with the errno in `code` (EFBIG above
// `max` bytes). Any thread.
Result<std::string> read_file(const std::string& path, std::size_t max);

}  // namespace runmain::config
