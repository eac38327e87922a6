// The secrets and the name of one start of one child, derived and never stored: a new head computes the same
// ones from the keeper's 16 bytes and the child's key.
//
// Invariant: nonce, instance id and OTLP token come from separate domains of one keyed function (SipHash-2-4,
// Aumasson and Bernstein 2012), so an id that everybody may read tells nothing about the nonce. Non-goal:
// secrets that outlive a keeper. Thread: any.
#pragma once

#include <array>
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

// ---- traces of the lifecycle: ids that every head finds again, and that a child can be told before its span
// ends

struct SpanIdentity {
  std::array<std::uint8_t, 16> trace{};
  std::array<std::uint8_t, 8> span{};  // all zero: none
  friend bool operator==(const SpanIdentity&, const SpanIdentity&) = default;
};

// The root of how a child came to be: all first starts of a generation have one, and so have its settling and
// its build; each later start of a slot in it (after a crash, a recycling) has its own.
SpanIdentity coming_of(std::string_view secret, const ChildKey& key);
// The start of this child, in that trace.
SpanIdentity start_of(std::string_view secret, const ChildKey& key);
// Another span of that trace, such as "drain".
SpanIdentity part_of(std::string_view secret, std::string_view purpose, const SpanIdentity& trace,
                     const ChildKey& key);
// What has no child: a trace of its own.
SpanIdentity trace_of(std::string_view secret, std::string_view purpose, const ChildKey& key);

// "00-…-…-01" (W3C Trace Context, 3.2): TRACEPARENT of a child, whose parent is its start.
std::string to_traceparent(const SpanIdentity& identity);
// The same the other way round; nothing if it is none of version 00.
std::optional<SpanIdentity> parse_traceparent(std::string_view text);

// Whether both are equal, in a time that depends on their lengths only.
bool equal_secrets(std::string_view a, std::string_view b);

}  // namespace runmain
