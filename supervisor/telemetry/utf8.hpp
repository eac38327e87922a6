// UTF-8 as protobuf wants it in strings (Unicode 15, table 3-7): a string that is none makes a collector
// refuse the whole request.
#pragma once

#include <string>
#include <string_view>

namespace runmain::telemetry {

bool is_utf8(std::string_view bytes);

// Every byte that belongs to no character becomes U+FFFD. Harmless text comes back as it is.
std::string to_utf8(std::string_view bytes);

}  // namespace runmain::telemetry
