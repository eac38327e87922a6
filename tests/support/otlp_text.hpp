// OTLP spans and resources as plain values, for tests: a small strict reader of protobuf's wire format.
//
// What is not well formed, or a field that OTLP does not know there, is told by `bad`.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace otlp {

struct Field {
  unsigned number = 0;
  unsigned type = 0;
  std::uint64_t value = 0;  // of varint and fixed fields
  std::string_view bytes;
};

class Fields {
 public:
  explicit Fields(std::string_view data) : data_(data) {}

  bool next(Field& out) {
    if (at_ >= data_.size() || bad_) return false;
    const std::uint64_t tag = varint();
    out = Field{static_cast<unsigned>(tag >> 3U), static_cast<unsigned>(tag & 7U), 0, {}};
    switch (out.type) {
      case 0: out.value = varint(); break;
      case 1: out.value = fixed(8); break;
      case 5: out.value = fixed(4); break;
      case 2: {
        const std::uint64_t size = varint();
        if (bad_ || size > data_.size() - at_) return fail();
        out.bytes = data_.substr(at_, size);
        at_ += size;
        break;
      }
      default: return fail();
    }
    return bad_ || out.number == 0 ? fail() : true;
  }
  bool bad() const { return bad_; }

 private:
  bool fail() {
    bad_ = true;
    return false;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ >= data_.size()) break;
      const auto byte = static_cast<unsigned char>(data_[at_++]);
      value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
      if (byte < 0x80) return value;
    }
    bad_ = true;
    return 0;
  }
  std::uint64_t fixed(std::size_t size) {
    std::uint64_t value = 0;
    if (size > data_.size() - at_) {
      bad_ = true;
      return 0;
    }
    std::memcpy(&value, data_.data() + at_, size);
    at_ += size;
    return value;
  }

  std::string_view data_;
  std::size_t at_ = 0;
  bool bad_ = false;
};

inline std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", static_cast<unsigned char>(c));
    out += two;
  }
  return out;
}

// "GET", 200, true, 1.5, bytes:00ff, [1,2]
inline std::string value_text(std::string_view any, bool& bad) {
  Fields fields(any);
  Field f;
  std::string out;
  while (fields.next(f)) {
    if (f.number == 1) out = std::string(f.bytes);
    if (f.number == 2) out = f.value != 0 ? "true" : "false";
    if (f.number == 3) out = std::to_string(static_cast<std::int64_t>(f.value));
    if (f.number == 4) {
      double number = 0;
      std::memcpy(&number, &f.value, 8);
      char text[40];
      std::snprintf(text, sizeof text, "%g", number);
      out = text;
    }
    if (f.number == 5) {
      Fields elements(f.bytes);
      Field e;
      out = "[";
      while (elements.next(e)) out += (out.size() > 1 ? "," : "") + value_text(e.bytes, bad);
      out += "]";
      bad = bad || elements.bad();
    }
    if (f.number == 7) out = "bytes:" + hex(f.bytes);
    bad = bad || f.number == 6 || f.number > 7;
  }
  bad = bad || fields.bad();
  return out;
}

struct Attributes {
  std::vector<std::pair<std::string, std::string>> list;

  void add(std::string_view key_value, bool& bad) {
    Fields fields(key_value);
    Field f;
    std::pair<std::string, std::string> one;
    while (fields.next(f)) {
      if (f.number == 1) one.first = std::string(f.bytes);
      if (f.number == 2) one.second = value_text(f.bytes, bad);
      bad = bad || f.number > 2;
    }
    bad = bad || fields.bad() || one.first.empty();
    list.push_back(std::move(one));
  }
  // "none" if it is not there.
  std::string get(std::string_view key) const {
    for (const auto& [k, v] : list) {
      if (k == key) return v;
    }
    return "none";
  }
  bool unique() const {
    for (std::size_t i = 0; i < list.size(); ++i) {
      for (std::size_t k = i + 1; k < list.size(); ++k) {
        if (list[i].first == list[k].first) return false;
      }
    }
    return true;
  }
};

struct Event {
  std::uint64_t time = 0;
  std::string name;
  Attributes attributes;
  std::uint64_t dropped = 0;
};

struct Link {
  std::string trace_id;
  std::string span_id;
  std::string trace_state;
  Attributes attributes;
  std::uint64_t dropped = 0;
  std::uint64_t flags = 0;
};

struct Span {
  std::string trace_id;
  std::string span_id;
  std::string parent;
  std::string trace_state;
  std::string name;
  std::uint64_t kind = 0;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t flags = 0;
  Attributes attributes;
  std::vector<Event> events;
  std::vector<Link> links;
  std::uint64_t dropped_attributes = 0;
  std::uint64_t dropped_events = 0;
  std::uint64_t dropped_links = 0;
  std::uint64_t status = 0;
  std::string status_message;
  bool bad = false;

  std::string get(std::string_view key) const { return attributes.get(key); }
};

inline Event read_event(std::string_view bytes, bool& bad) {
  Event out;
  Fields fields(bytes);
  Field f;
  while (fields.next(f)) {
    if (f.number == 1) out.time = f.value;
    if (f.number == 2) out.name = std::string(f.bytes);
    if (f.number == 3) out.attributes.add(f.bytes, bad);
    if (f.number == 4) out.dropped = f.value;
    bad = bad || f.number > 4;
  }
  bad = bad || fields.bad();
  return out;
}

inline Link read_link(std::string_view bytes, bool& bad) {
  Link out;
  Fields fields(bytes);
  Field f;
  while (fields.next(f)) {
    if (f.number == 1) out.trace_id = hex(f.bytes);
    if (f.number == 2) out.span_id = hex(f.bytes);
    if (f.number == 3) out.trace_state = std::string(f.bytes);
    if (f.number == 4) out.attributes.add(f.bytes, bad);
    if (f.number == 5) out.dropped = f.value;
    if (f.number == 6) out.flags = f.value;
    bad = bad || f.number > 6;
  }
  bad = bad || fields.bad();
  return out;
}

// Of singular fields the last one counts; messages are merged.
inline Span read_span(std::string_view bytes) {
  Span out;
  Fields fields(bytes);
  Field f;
  while (fields.next(f)) {
    switch (f.number) {
      case 1: out.trace_id = hex(f.bytes); break;
      case 2: out.span_id = hex(f.bytes); break;
      case 3: out.trace_state = std::string(f.bytes); break;
      case 4: out.parent = hex(f.bytes); break;
      case 5: out.name = std::string(f.bytes); break;
      case 6: out.kind = f.value; break;
      case 7: out.start = f.value; break;
      case 8: out.end = f.value; break;
      case 9: out.attributes.add(f.bytes, out.bad); break;
      case 10: out.dropped_attributes = f.value; break;
      case 11: out.events.push_back(read_event(f.bytes, out.bad)); break;
      case 12: out.dropped_events = f.value; break;
      case 13: out.links.push_back(read_link(f.bytes, out.bad)); break;
      case 14: out.dropped_links = f.value; break;
      case 15: {
        Fields status(f.bytes);
        Field s;
        while (status.next(s)) {
          if (s.number == 2) out.status_message = std::string(s.bytes);
          if (s.number == 3) out.status = s.value;
        }
        out.bad = out.bad || status.bad();
        break;
      }
      case 16: out.flags = f.value; break;
      default: out.bad = true;
    }
  }
  out.bad = out.bad || fields.bad() || out.trace_id.size() != 32 || out.span_id.size() != 16 ||
            out.end < out.start || (!out.parent.empty() && out.parent.size() != 16);
  return out;
}

// Of a Resource (attributes are field 1) or an InstrumentationScope (3).
inline Attributes read_attributes(std::string_view message, unsigned number) {
  Attributes out;
  bool bad = false;
  Fields fields(message);
  Field f;
  while (fields.next(f)) {
    if (f.number == number) out.add(f.bytes, bad);
  }
  return out;
}

}  // namespace otlp
