// baggage: W3C Baggage, "HTTP header format". Members are kept as they came, so that what passes through is
// not changed.
#include <cerrno>

#include "header_text.hpp"
#include "message.hpp"

namespace runmain::child {

using namespace header_text;

namespace {

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// tchar of RFC 7230, section 3.2.6.
bool is_token_character(char c) {
  return is_alphanumeric(c) || (c != '\0' && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr);
}

bool is_token(runmain_text text) {
  for (std::size_t i = 0; i < text.size; ++i) {
    if (!is_token_character(text.data[i])) return false;
  }
  return text.size > 0;
}

// *baggage-octet
bool is_encoded_value(runmain_text text) {
  for (std::size_t i = 0; i < text.size; ++i) {
    const char c = text.data[i];
    if (c <= 0x20 || c >= 0x7f || c == '"' || c == ',' || c == ';' || c == '\\') return false;
  }
  return true;
}

// Splits "key = value" at its first "="; the value's data is NULL if there is none.
void split_pair(runmain_text text, runmain_text& key, runmain_text& value) {
  const bool has_value = find(text, '=') < text.size;
  key = trimmed(take_until(text, '='));
  value = has_value ? trimmed(text) : runmain_text{nullptr, 0};
}

// Reads the next property that is not empty. False at the end. `valid` says whether it is one.
bool next_property(runmain_text& rest, runmain_baggage_property& out, bool& valid) {
  while (rest.size > 0) {
    const runmain_text text = trimmed(take_until(rest, ';'));
    if (text.size == 0) continue;
    split_pair(text, out.key, out.value);
    valid = is_token(out.key) && is_encoded_value(out.value);
    return true;
  }
  return false;
}

bool are_properties(runmain_text text) {
  runmain_baggage_property property{};
  bool valid = true;
  while (valid && next_property(text, property, valid)) {
  }
  return valid;
}

// A list-member; `properties` still with their white space.
bool read_member(runmain_text text, runmain_baggage_member& out) {
  const runmain_text pair = trimmed(take_until(text, ';'));
  split_pair(pair, out.key, out.value);
  out.properties = trimmed(text);
  return out.value.data != nullptr && is_token(out.key) && is_encoded_value(out.value) &&
         are_properties(out.properties);
}

// Writes what it is given, as far as there is room, and counts all of it.
class Writer {
 public:
  Writer(char* out, std::size_t room) : out_(out), room_(room) {}

  void put(char c) {
    if (size_ < room_) out_[size_] = c;
    ++size_;
  }
  void put(runmain_text text) {
    for (std::size_t i = 0; i < text.size; ++i) put(text.data[i]);
  }
  void put_encoded(runmain_text text);
  void put_member(const runmain_baggage_member& member, bool encode);

  std::size_t size() const { return size_; }

 private:
  char* out_;
  std::size_t room_;
  std::size_t size_ = 0;
};

void Writer::put_encoded(runmain_text text) {
  for (std::size_t i = 0; i < text.size; ++i) {
    const char c = text.data[i];
    if (is_alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~' || c == '/') {
      put(c);
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    put('%');
    put("0123456789ABCDEF"[byte >> 4U]);
    put("0123456789ABCDEF"[byte & 0xfU]);
  }
}

void Writer::put_member(const runmain_baggage_member& member, bool encode) {
  put(member.key);
  put('=');
  if (encode) {
    put_encoded(member.value);
  } else {
    put(member.value);
  }
  runmain_text properties = member.properties;
  runmain_baggage_property property{};
  bool valid = true;
  while (next_property(properties, property, valid)) {
    put(';');
    put(property.key);
    if (property.value.data == nullptr) continue;
    put('=');
    put(property.value);
  }
}

// The size of baggage that somebody may have filled by hand.
std::size_t size_of(const runmain_baggage& baggage) {
  return baggage.size < RUNMAIN_BAGGAGE_MAX ? baggage.size : RUNMAIN_BAGGAGE_MAX;
}

// A member and where its text is, without commas.
struct Found {
  runmain_baggage_member member;
  std::size_t from;
  std::size_t size;
};

// The member at `position`, or after; `position` moves behind it. False: there is none.
bool next_member(const runmain_baggage& baggage, std::size_t& position, Found& out) {
  const std::size_t size = size_of(baggage);
  while (position < size) {
    runmain_text rest{baggage.text + position, size - position};
    const runmain_text text = take_until(rest, ',');
    out.from = position;
    out.size = text.size;
    position = size - rest.size;
    if (read_member(text, out.member)) return true;
  }
  return false;
}

bool find_member(const runmain_baggage& baggage, runmain_text key, Found& out) {
  std::size_t position = 0;
  while (next_member(baggage, position, out)) {
    if (same(out.member.key, key)) return true;
  }
  return false;
}

// Takes [from, from + size) and one comma out of the text.
void cut(runmain_baggage& baggage, std::size_t from, std::size_t size) {
  std::size_t used = size_of(baggage);
  if (from + size < used) {
    ++size;
  } else if (from > 0) {
    --from;
    ++size;
  }
  std::memmove(baggage.text + from, baggage.text + from + size, used - from - size);
  baggage.size = static_cast<std::uint16_t>(used - size);
  if (baggage.members > 0) --baggage.members;
}

// Appends a member that fits; `encode`: its value is plain text. Returns where it begins.
std::size_t append_member(runmain_baggage& baggage, const runmain_baggage_member& member, bool encode) {
  Writer writer(baggage.text + baggage.size, RUNMAIN_BAGGAGE_MAX - baggage.size);
  if (baggage.size > 0) writer.put(',');
  const std::size_t from = baggage.size + writer.size();
  writer.put_member(member, encode);
  baggage.size = static_cast<std::uint16_t>(baggage.size + writer.size());
  ++baggage.members;
  return from;
}

std::size_t written_size(const runmain_baggage_member& member, bool encode) {
  Writer measure(nullptr, 0);
  measure.put_member(member, encode);
  return measure.size();
}

// Whether `size` bytes more, and a comma, fit where a member of `old_size` goes (0: none does).
bool fits(const runmain_baggage& baggage, std::size_t size, std::size_t old_size) {
  std::size_t used = baggage.size - old_size;
  if (old_size > 0 && used > 0) --used;
  return used + (used > 0 ? 1 : 0) + size <= RUNMAIN_BAGGAGE_MAX &&
         (old_size > 0 || baggage.members < RUNMAIN_BAGGAGE_MEMBERS_MAX);
}

// The keys of what a parse has written, so that a long header is not searched again for each of its members.
class Index {
 public:
  explicit Index(runmain_baggage& baggage) : baggage_(baggage) {}

  // Adds the member if it fits, in the place of one with its key.
  void add(const runmain_baggage_member& member);

 private:
  struct Entry {
    std::uint32_t hash;
    std::uint16_t offset;
    std::uint16_t size;
    std::uint16_t key_size;
  };

  // FNV-1a
  static std::uint32_t hash_of(runmain_text key) {
    std::uint32_t value = 2166136261U;
    for (std::size_t i = 0; i < key.size; ++i) {
      value = (value ^ static_cast<unsigned char>(key.data[i])) * 16777619U;
    }
    return value;
  }
  void remove(std::size_t at);

  runmain_baggage& baggage_;
  std::size_t count_ = 0;
  Entry entries_[RUNMAIN_BAGGAGE_MEMBERS_MAX];
};

void Index::remove(std::size_t at) {
  const std::uint16_t size_before = baggage_.size;
  cut(baggage_, entries_[at].offset, entries_[at].size);
  const auto gone = static_cast<std::uint16_t>(size_before - baggage_.size);
  --count_;
  for (std::size_t i = at; i < count_; ++i) {
    entries_[i] = entries_[i + 1];
    entries_[i].offset = static_cast<std::uint16_t>(entries_[i].offset - gone);
  }
}

void Index::add(const runmain_baggage_member& member) {
  const std::uint32_t hash = hash_of(member.key);
  std::size_t old = 0;
  while (old < count_ &&
         (entries_[old].hash != hash ||
          !same({baggage_.text + entries_[old].offset, entries_[old].key_size}, member.key))) {
    ++old;
  }
  const std::size_t size = written_size(member, false);
  if (!fits(baggage_, size, old < count_ ? entries_[old].size : 0)) return;
  if (old < count_) remove(old);
  const std::size_t from = append_member(baggage_, member, false);
  entries_[count_++] = {hash, static_cast<std::uint16_t>(from), static_cast<std::uint16_t>(size),
                        static_cast<std::uint16_t>(member.key.size)};
}

// Calls `use` for each valid member until it says false.
template <class F>
void each_member(const runmain_text* values, std::size_t count, F&& use) {
  for (std::size_t i = 0; i < count; ++i) {
    runmain_text rest = values[i];
    while (rest.size > 0) {
      runmain_baggage_member member{};
      if (read_member(take_until(rest, ','), member) && !use(member)) return;
    }
  }
}

// The byte that the text stands for at its front, percent-decoded, and how many characters that takes.
char decoded_byte(runmain_text text, std::size_t& taken) {
  std::uint8_t byte = 0;
  taken = 1;
  if (text.data[0] != '%' || text.size < 3 || !read_hex(text.data + 1, 1, true, &byte)) return text.data[0];
  taken = 3;
  return static_cast<char>(byte);
}

// Decodes the character at the front of `text`: its bytes, or U+FFFD, go to `out`.
void decode_character(runmain_text& text, Writer& out) {
  char bytes[4];
  std::size_t taken[4];
  std::size_t count = 0;
  for (std::size_t at = 0; count < 4 && at < text.size; ++count) {
    bytes[count] = decoded_byte({text.data + at, text.size - at}, taken[count]);
    at += taken[count];
  }
  const std::size_t length = utf8_length(bytes, count);
  out.put(length > 0 ? runmain_text{bytes, length} : runmain_text{"\xef\xbf\xbd", 3});
  for (std::size_t i = 0; i < (length > 0 ? length : 1); ++i) {
    text.data += taken[i];
    text.size -= taken[i];
  }
}

void end_text(char* out, std::size_t size, std::size_t length) {
  if (size > 0) out[length < size ? length : size - 1] = '\0';
}

}  // namespace
}  // namespace runmain::child

using namespace runmain::child;

extern "C" {

size_t runmain_baggage_parse(const runmain_text* values, size_t count, runmain_baggage* out) {
  bool any = false;
  each_member(values, count, [&any](const runmain_baggage_member& member) {
    any = written_size(member, false) <= RUNMAIN_BAGGAGE_MAX;
    return !any;
  });
  if (!any) return 0;
  out->size = 0;
  out->members = 0;
  Index index(*out);
  each_member(values, count, [&index](const runmain_baggage_member& member) {
    index.add(member);
    return true;
  });
  return out->members;
}

int runmain_baggage_next(const runmain_baggage* baggage, size_t* position, runmain_baggage_member* out) {
  Found found{};
  if (!next_member(*baggage, *position, found)) return 0;
  *out = found.member;
  return 1;
}

int runmain_baggage_get(const runmain_baggage* baggage, runmain_text key, runmain_baggage_member* out) {
  Found found{};
  if (!find_member(*baggage, key, found)) return 0;
  *out = found.member;
  return 1;
}

int runmain_baggage_set(runmain_baggage* baggage, runmain_text key, runmain_text value,
                        runmain_text properties) {
  if (!is_token(key) || find(properties, ',') < properties.size || !are_properties(properties))
    return -EINVAL;
  const runmain_baggage_member member{key, value, properties};
  Found old{};
  const bool replaces = find_member(*baggage, key, old);
  if (!fits(*baggage, written_size(member, true), replaces ? old.size : 0)) return -ENOSPC;
  if (replaces) cut(*baggage, old.from, old.size);
  append_member(*baggage, member, true);
  return 0;
}

int runmain_baggage_remove(runmain_baggage* baggage, runmain_text key) {
  Found found{};
  if (!find_member(*baggage, key, found)) return 0;
  cut(*baggage, found.from, found.size);
  return 1;
}

int runmain_baggage_next_property(runmain_text properties, size_t* position, runmain_baggage_property* out) {
  runmain_text rest = properties;
  const std::size_t skip = *position < rest.size ? *position : rest.size;
  if (skip > 0) rest.data += skip;
  rest.size -= skip;
  bool valid = true;
  while (next_property(rest, *out, valid)) {
    *position = properties.size - rest.size;
    if (valid) return 1;
  }
  *position = properties.size;
  return 0;
}

size_t runmain_percent_decode(runmain_text text, char* out, size_t size) {
  Writer writer(out, size > 0 ? size - 1 : 0);
  while (text.size > 0) decode_character(text, writer);
  end_text(out, size, writer.size());
  return writer.size();
}

size_t runmain_percent_encode(runmain_text text, char* out, size_t size) {
  Writer writer(out, size > 0 ? size - 1 : 0);
  writer.put_encoded(text);
  end_text(out, size, writer.size());
  return writer.size();
}

}  // extern "C"
