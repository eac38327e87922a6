#include "base/identity.hpp"

#include <array>
#include <bit>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <utility>

namespace runmain {
namespace {

// Little-endian, as the paper has it, on every machine. Bytes past the end count as 0.
std::uint64_t load(std::string_view bytes, std::size_t at) {
  std::uint64_t word = 0;
  if (std::endian::native == std::endian::little && at + sizeof word <= bytes.size()) {
    std::memcpy(&word, bytes.data() + at, sizeof word);
    return word;
  }
  for (std::size_t i = 0; i < 8 && at + i < bytes.size(); ++i) {
    word |= std::uint64_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  }
  return word;
}

struct SipState {
  std::uint64_t v0, v1, v2, v3;

  void round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void absorb(std::uint64_t word) {
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  }
};

void append_word(std::string& out, std::uint64_t word) {
  for (int shift = 0; shift < 64; shift += 8) out.push_back(static_cast<char>(word >> shift));
}

// 128 bits for one purpose: two hashes of the key's numbers, told apart by a counter.
std::pair<std::uint64_t, std::uint64_t> derive(std::string_view secret, std::string_view purpose,
                                               const ChildKey& key) {
  std::string message(purpose);
  append_word(message, std::uint64_t{key.service.value} << 32U | key.slot);
  append_word(message, std::uint64_t{key.generation} << 32U | key.attempt);
  return {siphash24(secret, message + '\1'), siphash24(secret, message + '\2')};
}

// As bytes, of which one is never 0.
template <std::size_t N>
std::array<std::uint8_t, N> to_id(const std::pair<std::uint64_t, std::uint64_t>& bits) {
  std::array<std::uint8_t, N> id{};
  for (std::size_t i = 0; i < N; ++i) {
    id[i] = static_cast<std::uint8_t>((i < 8 ? bits.first : bits.second) >> (8 * (i % 8)));
  }
  id[N - 1] |= 1U;
  return id;
}

// All first starts of a generation came the same way.
ChildKey key_of_coming(const ChildKey& key) {
  return key.attempt > 1 ? key : ChildKey{key.service, 0, key.generation, 0};
}

std::string hex(std::pair<std::uint64_t, std::uint64_t> bits) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const std::uint64_t word : {bits.first, bits.second}) {
    for (int shift = 60; shift >= 0; shift -= 4) out.push_back(kDigits[(word >> shift) & 0xfU]);
  }
  return out;
}

}  // namespace

std::uint64_t siphash24(std::string_view key, std::string_view bytes) {
  const std::uint64_t k0 = load(key.substr(0, kSecretBytes), 0);
  const std::uint64_t k1 = load(key.substr(0, kSecretBytes), 8);
  SipState s{k0 ^ 0x736f6d6570736575ULL, k1 ^ 0x646f72616e646f6dULL, k0 ^ 0x6c7967656e657261ULL,
             k1 ^ 0x7465646279746573ULL};
  const std::size_t whole = bytes.size() / 8 * 8;
  for (std::size_t at = 0; at < whole; at += 8) s.absorb(load(bytes, at));
  s.absorb(load(bytes, whole) | std::uint64_t{bytes.size() & 0xffU} << 56U);
  s.v2 ^= 0xffU;
  for (int i = 0; i < 4; ++i) s.round();
  return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

std::string nonce(std::string_view secret, const ChildKey& key) {
  return hex(derive(secret, "runmain nonce", key));
}

std::string instance_id(std::string_view secret, const ChildKey& key) {
  auto bits = derive(secret, "runmain instance", key);
  bits.first = (bits.first & ~0xf000ULL) | 0x8000ULL;            // version 8
  bits.second = (bits.second & ~(3ULL << 62U)) | (2ULL << 62U);  // variant 10
  std::string text = hex(bits);
  for (const std::size_t at : {20U, 16U, 12U, 8U}) text.insert(at, 1, '-');
  return text;
}

std::string otlp_token(std::string_view secret, const ChildKey& key) {
  std::string token;
  for (const std::uint32_t part : {key.service.value, key.slot, key.generation, key.attempt}) {
    token += std::to_string(part) + '.';
  }
  return token + hex(derive(secret, "runmain otlp", key));
}

std::optional<ChildKey> owner_of_otlp_token(std::string_view secret, std::string_view token) {
  ChildKey key;
  std::string_view rest = token;
  for (std::uint32_t* part : {&key.service.value, &key.slot, &key.generation, &key.attempt}) {
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), *part);
    if (error != std::errc() || end == rest.data() + rest.size() || *end != '.') return std::nullopt;
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()) + 1);
  }
  if (!equal_secrets(token, otlp_token(secret, key))) return std::nullopt;
  return key;
}

SpanIdentity trace_of(std::string_view secret, std::string_view purpose, const ChildKey& key) {
  return {to_id<16>(derive(secret, "runmain trace " + std::string(purpose), key)),
          to_id<8>(derive(secret, "runmain root " + std::string(purpose), key))};
}

SpanIdentity part_of(std::string_view secret, std::string_view purpose, const SpanIdentity& trace,
                     const ChildKey& key) {
  return {trace.trace, to_id<8>(derive(secret, "runmain span " + std::string(purpose), key))};
}

SpanIdentity coming_of(std::string_view secret, const ChildKey& key) {
  return trace_of(secret, "coming", key_of_coming(key));
}

SpanIdentity start_of(std::string_view secret, const ChildKey& key) {
  return part_of(secret, "start", coming_of(secret, key), key);
}

std::string to_traceparent(const SpanIdentity& identity) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "00-";
  const auto append = [&text](const auto& id) {
    for (const std::uint8_t byte : id) {
      text += kDigits[byte >> 4U];
      text += kDigits[byte & 0xfU];
    }
    text += '-';
  };
  append(identity.trace);
  append(identity.span);
  return text + "01";
}

std::optional<SpanIdentity> parse_traceparent(std::string_view text) {
  constexpr std::size_t kLength = 55;
  SpanIdentity identity;
  const auto read = [text](std::size_t at, auto& id) {
    bool any = false;
    for (std::uint8_t& byte : id) {
      const char* end = text.data() + at + 2;
      if (std::from_chars(text.data() + at, end, byte, 16).ptr != end) return false;
      any = any || byte != 0;
      at += 2;
    }
    return any;
  };
  if (text.size() != kLength || text.substr(0, 3) != "00-" || text[35] != '-' || text[52] != '-')
    return std::nullopt;
  if (!read(3, identity.trace) || !read(36, identity.span)) return std::nullopt;
  return identity;
}

bool equal_secrets(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned>(static_cast<unsigned char>(b[i]));
  }
  return difference == 0;
}

}  // namespace runmain
