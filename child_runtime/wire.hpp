// Writing protobuf's wire format (protobuf.dev, "Encoding"), as OTLP needs it.
//
// Invariant: a WireWriter checks nothing: who makes one has counted the bytes before (…_size) and has the
// room. Non-goal: reading what others wrote.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "span_inline.h"

namespace runmain::child {

static_assert(std::endian::native == std::endian::little,
              "mailboxes and protobuf's fixed fields are little-endian");

enum class WireType : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

constexpr std::size_t varint_size(std::uint64_t value) {
  return (static_cast<std::size_t>(std::bit_width(value | 1)) + 6) / 7;
}
// Of a field with `size` bytes in it, its tag included. Field numbers below 16, as all of ours but
// Span.flags.
constexpr std::size_t field_size(std::size_t size) { return 1 + varint_size(size) + size; }

// memcpy(3) of what is short.
inline void copy_short(std::uint8_t* to, const char* from, std::size_t size) {
#if RUNMAIN_SPAN_INLINE
  runmain_copy_short(to, from, size);
#else
  if (size > 0) std::memcpy(to, from, size);
#endif
}

class WireWriter {
 public:
  explicit WireWriter(std::uint8_t* at) : at_(at) {}

  std::uint8_t* at() const { return at_; }

  void varint(std::uint64_t value) {
    while (value >= 0x80) {
      *at_++ = static_cast<std::uint8_t>(value | 0x80U);
      value >>= 7U;
    }
    *at_++ = static_cast<std::uint8_t>(value);
  }
  void tag(unsigned field, WireType type) { varint((field << 3U) | static_cast<unsigned>(type)); }
  void number(unsigned field, std::uint64_t value) {
    tag(field, WireType::varint);
    varint(value);
  }
  void fixed32(unsigned field, std::uint32_t value) {
    tag(field, WireType::fixed32);
    raw(&value, sizeof value);
  }
  void fixed64(unsigned field, std::uint64_t value) {
    tag(field, WireType::fixed64);
    raw(&value, sizeof value);
  }
  // What comes next, `size` bytes, is the field's content.
  void open(unsigned field, std::size_t size) {
    tag(field, WireType::bytes);
    varint(size);
  }
  void bytes(unsigned field, const void* data, std::size_t size) {
    open(field, size);
    raw(data, size);
  }
  void raw(const void* data, std::size_t size) {
    if (size > 0) std::memcpy(at_, data, size);
    at_ += size;
  }

 private:
  std::uint8_t* at_;
};

// One field of a message that this library wrote itself. Goes through it from front to back.
struct WireField {
  const std::uint8_t* begin;  // its tag
  const std::uint8_t* data;   // of bytes: the content
  const std::uint8_t* end;
  unsigned number;
  std::uint64_t value;  // of a varint

  std::size_t size() const { return static_cast<std::size_t>(end - begin); }
};

class WireFields {
 public:
  WireFields(const std::uint8_t* begin, const std::uint8_t* end) : at_(begin), end_(end) {}

  bool next(WireField& out) {
    if (at_ >= end_) return false;
    out.begin = at_;
    const std::uint64_t tag = varint();
    out.number = static_cast<unsigned>(tag >> 3U);
    out.value = 0;
    switch (static_cast<WireType>(tag & 7U)) {
      case WireType::varint: out.value = varint(); break;
      case WireType::fixed64: at_ += 8; break;
      case WireType::fixed32: at_ += 4; break;
      case WireType::bytes: {
        const std::uint64_t size = varint();
        out.data = at_;
        at_ += size;
        break;
      }
    }
    out.end = at_;
    return at_ <= end_;
  }

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; at_ < end_ && shift < 64; shift += 7) {
      const std::uint8_t byte = *at_++;
      value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
      if (byte < 0x80) break;
    }
    return value;
  }

  const std::uint8_t* at_;
  const std::uint8_t* end_;
};

}  // namespace runmain::child
