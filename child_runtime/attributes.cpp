#include "attributes.hpp"

namespace runmain::child {
namespace {

// Fields of AnyValue.
constexpr unsigned kString = 1;
constexpr unsigned kBool = 2;
constexpr unsigned kInt = 3;
constexpr unsigned kDouble = 4;
constexpr unsigned kArray = 5;
constexpr unsigned kBytes = 7;

std::uint64_t zigzag_free(std::int64_t value) {
  return static_cast<std::uint64_t>(value);
}  // int64, not sint64

std::size_t note_cut(std::size_t kept, std::size_t whole, bool* cut) {
  if (cut != nullptr && kept < whole) *cut = true;
  return kept;
}

// Of the i-th element of an array, as an AnyValue's content.
std::size_t element_size(const runmain_value& v, std::size_t i, std::uint32_t limit, bool* cut) {
  switch (v.type) {
    case RUNMAIN_VALUE_STRINGS: {
      const runmain_text& text = v.of.strings[i];
      return field_size(note_cut(cut_length(text.data, text.size, limit), text.size, cut));
    }
    case RUNMAIN_VALUE_BOOLS: return 2;
    case RUNMAIN_VALUE_INTS: return 1 + varint_size(zigzag_free(v.of.integers[i]));
    default: return 9;
  }
}

void write_element(WireWriter& out, const runmain_value& v, std::size_t i, std::uint32_t limit) {
  switch (v.type) {
    case RUNMAIN_VALUE_STRINGS: {
      const runmain_text& text = v.of.strings[i];
      out.bytes(kString, text.data, cut_length(text.data, text.size, limit));
      break;
    }
    case RUNMAIN_VALUE_BOOLS: out.number(kBool, v.of.booleans[i] != 0 ? 1 : 0); break;
    case RUNMAIN_VALUE_INTS: out.number(kInt, zigzag_free(v.of.integers[i])); break;
    default: out.fixed64(kDouble, std::bit_cast<std::uint64_t>(v.of.reals[i]));
  }
}

std::size_t array_size(const runmain_value& v, std::uint32_t limit, bool* cut) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < v.size; ++i) size += field_size(element_size(v, i, limit, cut));
  return size;
}

// Of an AnyValue's content.
std::size_t value_size(const runmain_value& v, std::uint32_t limit, bool* cut) {
  switch (v.type) {
    case RUNMAIN_VALUE_STRING:
      return field_size(note_cut(cut_length(v.of.string, v.size, limit), v.size, cut));
    case RUNMAIN_VALUE_BYTES: return field_size(note_cut(v.size < limit ? v.size : limit, v.size, cut));
    case RUNMAIN_VALUE_BOOL: return 2;
    case RUNMAIN_VALUE_INT: return 1 + varint_size(zigzag_free(v.of.integer));
    case RUNMAIN_VALUE_DOUBLE: return 9;
    default: return field_size(array_size(v, limit, cut));
  }
}

void write_value(WireWriter& out, const runmain_value& v, std::uint32_t limit) {
  switch (v.type) {
    case RUNMAIN_VALUE_STRING: out.bytes(kString, v.of.string, cut_length(v.of.string, v.size, limit)); break;
    case RUNMAIN_VALUE_BYTES: out.bytes(kBytes, v.of.bytes, v.size < limit ? v.size : limit); break;
    case RUNMAIN_VALUE_BOOL: out.number(kBool, v.of.boolean != 0 ? 1 : 0); break;
    case RUNMAIN_VALUE_INT: out.number(kInt, zigzag_free(v.of.integer)); break;
    case RUNMAIN_VALUE_DOUBLE: out.fixed64(kDouble, std::bit_cast<std::uint64_t>(v.of.real)); break;
    default:
      out.open(kArray, array_size(v, limit, nullptr));
      for (std::size_t i = 0; i < v.size; ++i) {
        out.open(1, element_size(v, i, limit, nullptr));
        write_element(out, v, i, limit);
      }
  }
}

}  // namespace

std::size_t cut_length(const char* text, std::size_t size, std::uint32_t characters) {
  if (size <= characters) return size;
  std::size_t seen = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const bool begins_one = (static_cast<unsigned char>(text[i]) & 0xc0U) != 0x80U;
    if (begins_one && seen++ == characters) return i;
  }
  return size;
}

bool is_sendable(const runmain_attribute& attribute) {
  return attribute.key.size > 0 && attribute.value.type >= RUNMAIN_VALUE_STRING &&
         attribute.value.type <= RUNMAIN_VALUE_DOUBLES;
}

std::size_t encoded_size(const runmain_attribute& attribute, std::uint32_t value_length, bool* cut) {
  return field_size(field_size(attribute.key.size) +
                    field_size(value_size(attribute.value, value_length, cut)));
}

void encode(WireWriter& out, unsigned field, const runmain_attribute& attribute, std::uint32_t value_length) {
  const std::size_t value = value_size(attribute.value, value_length, nullptr);
  out.open(field, field_size(attribute.key.size) + field_size(value));
  out.bytes(1, attribute.key.data, attribute.key.size);
  out.open(2, value);
  write_value(out, attribute.value, value_length);
}

AttributeList::AttributeList(const runmain_attribute* attributes, std::size_t count, AttributeLimits limits)
    : attributes_(attributes), count_(count), limits_(limits), end_(count) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    if (!taken(i)) continue;
    if (kept == limits_.count) {
      if (end_ == count_) end_ = i;
      ++dropped_;
      continue;
    }
    ++kept;
    size_ += encoded_size(attributes_[i], limits_.value_length, &cut_);
  }
}

// Whether no later one has its key.
bool AttributeList::taken(std::size_t index) const {
  if (!is_sendable(attributes_[index])) return false;
  for (std::size_t i = index + 1; i < count_; ++i) {
    if (is_sendable(attributes_[i]) && same_text(attributes_[i].key, attributes_[index].key)) return false;
  }
  return true;
}

void AttributeList::write(WireWriter& out, unsigned field) const {
  for (std::size_t i = 0; i < end_; ++i) {
    if (taken(i)) encode(out, field, attributes_[i], limits_.value_length);
  }
}

runmain_attribute string_attribute(const char* key, runmain_text value) {
  runmain_attribute out{};
  out.key = text_of(key);
  out.value.type = RUNMAIN_VALUE_STRING;
  out.value.size = value.size;
  out.value.of.string = value.data;
  return out;
}

runmain_attribute int_attribute(const char* key, std::int64_t value) {
  runmain_attribute out{};
  out.key = text_of(key);
  out.value.type = RUNMAIN_VALUE_INT;
  out.value.of.integer = value;
  return out;
}

runmain_text key_of(const WireField& attribute) {
  WireFields fields(attribute.data, attribute.end);
  WireField field{};
  while (fields.next(field)) {
    if (field.number == 1) {
      return {reinterpret_cast<const char*>(field.data), static_cast<std::size_t>(field.end - field.data)};
    }
  }
  return {nullptr, 0};
}

}  // namespace runmain::child
