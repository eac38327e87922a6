// CRC-32C (Castagnoli; RFC 3720, appendix B.4), as mailboxes and spill files carry it.
#pragma once

#include <cstdint>
#include <string_view>

namespace runmain::telemetry {

// Of `bytes` after those whose checksum is `before`; crc32c("123456789") is 0xe3069283.
std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0);

// The same where the CPU has no instruction for it.
std::uint32_t crc32c_by_tables(std::string_view bytes, std::uint32_t before = 0);

}  // namespace runmain::telemetry
