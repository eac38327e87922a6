// gzip (RFC 1952) by zlib, with a bound where bytes of strangers grow.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace runmain::telemetry {

// At the quickest level: spans are much alike, and there are many.
Result<std::string> gzip(std::string_view bytes);

// One or more members. On failure: damaged, cut off, or more than `limit` bytes come out of it.
Result<std::string> gunzip(std::string_view bytes, std::size_t limit);

}  // namespace runmain::telemetry
