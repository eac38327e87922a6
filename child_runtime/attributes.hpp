// Attributes in OTLP: KeyValue and AnyValue (opentelemetry-proto, common.proto), with the limits of the
// specification: what is too long is cut, in characters for strings and in bytes for bytes.
//
// Invariant: encoded_size() and encode() agree. Non-goal: whether a string is UTF-8; the reader looks after
// that.
#pragma once

#include "trace.h"
#include "wire.hpp"

namespace runmain::child {

// Of one attribute and of lists of them.
struct AttributeLimits {
  std::uint32_t count = RUNMAIN_NO_LIMIT;
  std::uint32_t value_length = RUNMAIN_NO_LIMIT;
};

// What runmain_attribute has, without its names. `cut` is set by encoded_size if the value is shortened.
bool is_sendable(const runmain_attribute& attribute);

// Bytes of the whole field, tag included. Requires is_sendable.
std::size_t encoded_size(const runmain_attribute& attribute, std::uint32_t value_length, bool* cut = nullptr);
void encode(WireWriter& out, unsigned field, const runmain_attribute& attribute, std::uint32_t value_length);

// A list with unique keys: of two the last counts, what is beyond the limit is left out.
class AttributeList {
 public:
  AttributeList(const runmain_attribute* attributes, std::size_t count, AttributeLimits limits);

  std::size_t size() const { return size_; }          // bytes of all fields
  std::uint32_t dropped() const { return dropped_; }  // by the count's limit
  bool cut() const { return cut_; }                   // a value was shortened
  void write(WireWriter& out, unsigned field) const;

 private:
  bool taken(std::size_t index) const;

  const runmain_attribute* attributes_;
  std::size_t count_;
  AttributeLimits limits_;
  std::size_t end_ = 0;  // those from here on are beyond the limit
  std::size_t size_ = 0;
  std::uint32_t dropped_ = 0;
  bool cut_ = false;
};

// How much of a string is in its first `characters`: whole bytes of UTF-8.
std::size_t cut_length(const char* text, std::size_t size, std::uint32_t characters);

inline runmain_text text_of(const char* text) { return {text, std::strlen(text)}; }
runmain_attribute string_attribute(const char* key, runmain_text value);
runmain_attribute int_attribute(const char* key, std::int64_t value);

// Which bit of a span's filter is a key's.
inline std::uint32_t key_bit(runmain_text key) {
#if RUNMAIN_SPAN_INLINE
  return runmain_key_bit(key.data, key.size);
#else
  std::uint32_t hash = 2166136261U;  // FNV-1a
  for (std::size_t i = 0; i < key.size; ++i)
    hash = (hash ^ static_cast<unsigned char>(key.data[i])) * 16777619U;
  return hash >> 23U;
#endif
}

// The key of an encoded KeyValue.
runmain_text key_of(const WireField& attribute);
inline bool same_text(runmain_text a, runmain_text b) {
  return a.size == b.size && (a.size == 0 || std::memcmp(a.data, b.data, a.size) == 0);
}

}  // namespace runmain::child
