// Bytes as text: hexadecimal and base64 (RFC 4648).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace runmain::telemetry {

std::string to_hex(std::string_view bytes);
std::optional<std::string> from_hex(std::string_view text);  // upper and lower case

std::string to_base64(std::string_view bytes);
// Both alphabets, with padding or without.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace runmain::telemetry
