// The secrets and the name of one start of one child, derived and never stored: a new head computes the same
// ones from the keeper's 16 bytes and the child's key.
//
// Invariant: nonce, instance id and OTLP token come from separate domains of one keyed function (SipHash-2-4,
// Aumasson and Bernstein 2012), so an id that everybody may read tells nothing about the nonce. Non-goal:
// secrets that outlive a keeper. Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.hpp"

namespace runmain {

inline constexpr std::size_t kSecretBytes = 16;

// SipHash-2-4 of `bytes`. Of a key that is longer than 16 bytes the first 16 count; a shorter one is filled
// with zeros.
std::uint64_t siphash24(std::string_view key, std::string_view bytes);

// 32 hexadecimal digits: what a process must know to claim the role of `key`.
std::string nonce(std::string_view secret, const ChildKey& key);

// RUNMAIN_INSTANCE_ID: a UUID of version 8 (RFC 9562, section 5.8), another one for every start.
std::string instance_id(std::string_view secret, const ChildKey& key);

// What a start's programs show to the OTLP receiver: "SERVICE.SLOT.GENERATION.ATTEMPT.MAC", the key in
// decimal and 32 hexadecimal digits that only who has the secret can make.
std::string otlp_token(std::string_view secret, const ChildKey& key);
// Whose token this is; nothing if it is none of this secret.
std::optional<ChildKey> owner_of_otlp_token(std::string_view secret, std::string_view token);

// Whether both are equal, in a time that depends on their lengths only.
bool equal_secrets(std::string_view a, std::string_view b);

}  // namespace runmain
