// Binary form of plain structs with the names of their fields: for what a program of the next or the last
// version has to read, the states that are handed on in an upgrade.
//
// Walks the same fields() as base/archive.hpp, numbers and strings are as there. A struct is its size, then
// for each field name, size and value; an array begins with its count, as a vector does. Invariant: a reader
// passes over fields that it does not know, and leaves those that are not there at their defaults; it never
// reads past its bytes, and after a fault `ok()` is false. So fields are only ever added, a default means
// what the program did before the field was there, and alternatives of a variant are added at its end.
// Non-goal: an alternative that the reader does not know is a fault; other meanings under an old name, which
// take a new version number.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/archive.hpp"
#include "base/ids.hpp"

namespace runmain {

namespace archive_detail {

template <class T>
struct IsId : std::false_type {};
template <class Tag>
struct IsId<Id<Tag>> : std::true_type {};

// What an archive writes as one value, without fields of its own.
template <class T>
inline constexpr bool kIsPlain = std::is_same_v<T, std::string> || IsDuration<T>::value ||
                                 IsTimePoint<T>::value || std::is_enum_v<T> || std::is_integral_v<T>;

}  // namespace archive_detail

class NamedWriter {
 public:
  static constexpr bool kReading = false;
  explicit NamedWriter(std::string& out) : out_(out) {}

  template <class T>
  void operator()(const char* name, T& v) {
    put_text(name);
    sized([&] { put(v); });
  }
  template <class T>
  void put(T& v);
  // A field whose value `write` appends to the bytes as put() would, and what put() would make of a struct.
  template <class F>
  void field(const char* name, F&& write) {
    put_text(name);
    sized(write);
  }
  template <class F>
  void sized(F&& write);

 private:
  void put_unsigned(std::uint64_t v) { BinaryWriter(out_).put_unsigned(v); }
  void put_text(std::string_view text) {
    put_unsigned(text.size());
    out_.append(text);
  }

  std::string& out_;
};

class NamedReader {
 public:
  static constexpr bool kReading = true;
  explicit NamedReader(std::string_view in) : in_(in) {}

  template <class T>
  void operator()(const char* name, T& v);
  template <class T>
  void get(T& v);
  bool ok() const { return ok_; }
  bool done() const { return in_.empty(); }
  std::string_view rest() const { return in_; }

 private:
  struct Field {
    std::string_view name;
    std::string_view value;
  };
  // One that begins here, taken off the front.
  template <class T>
  void get_plain(T& v) {
    BinaryReader reader(in_);
    reader.get(v);
    ok_ = ok_ && reader.ok();
    in_ = reader.rest();
  }
  std::uint64_t get_unsigned() {
    std::uint64_t v = 0;
    get_plain(v);
    return v;
  }
  std::string_view get_text() {
    const std::uint64_t n = get_unsigned();
    if (n > in_.size()) ok_ = false;
    const std::string_view text = ok_ ? in_.substr(0, static_cast<std::size_t>(n)) : std::string_view();
    in_.remove_prefix(text.size());
    return text;
  }
  std::uint64_t get_count() {
    const std::uint64_t n = get_unsigned();
    if (n > kArchiveMax || n > in_.size()) ok_ = false;  // an element takes at least one byte
    return ok_ ? n : 0;
  }
  void open() {
    while (ok_ && !done()) {
      const std::string_view name = get_text();
      fields_.push_back({name, get_text()});
    }
  }

  std::string_view in_;
  bool ok_ = true;
  std::vector<Field> fields_;  // of the struct that is being read
  std::size_t next_ = 0;       // the field that most likely comes next
};

// Most are short: one byte is kept free for the size.
template <class F>
void NamedWriter::sized(F&& write) {
  const std::size_t at = out_.size();
  out_.push_back('\0');
  write();
  std::string size;
  BinaryWriter(size).put_unsigned(out_.size() - at - 1);
  out_.replace(at, 1, size);
}

template <class T>
void NamedWriter::put(T& v) {
  namespace d = archive_detail;
  using U = std::remove_const_t<T>;
  if constexpr (d::kIsPlain<U>) {
    BinaryWriter(out_).put(v);
  } else if constexpr (d::IsId<U>::value) {
    BinaryWriter(out_).put(v.value);
  } else if constexpr (std::is_same_v<U, std::vector<bool>>) {
    BinaryWriter(out_).put(v);
  } else if constexpr (d::IsVector<U>::value || d::IsArray<U>::value) {
    put_unsigned(v.size());
    for (auto& e : v) put(e);
  } else if constexpr (d::IsOptional<U>::value) {
    put_unsigned(v ? 1 : 0);
    if (v) put(*v);
  } else if constexpr (d::IsPair<U>::value) {
    put(v.first);
    put(v.second);
  } else if constexpr (d::IsVariant<U>::value) {
    put_unsigned(v.index());
    std::visit([this](auto& e) { this->put(e); }, v);
  } else {
    // fields() is one function for both directions; writing changes nothing
    sized([&] { const_cast<U&>(v).fields(*this); });
  }
}

template <class T>
void NamedReader::get(T& v) {
  namespace d = archive_detail;
  if constexpr (std::is_same_v<T, std::string>) {
    v = get_text();  // as long as there are bytes: a state within a state is long
  } else if constexpr (d::kIsPlain<T>) {
    get_plain(v);
  } else if constexpr (d::IsId<T>::value) {
    get_plain(v.value);
  } else if constexpr (std::is_same_v<T, std::vector<bool>>) {
    get_plain(v);
  } else if constexpr (d::IsVector<T>::value) {
    const std::uint64_t n = get_count();
    v.clear();
    for (std::uint64_t i = 0; i < n && ok_; ++i) {
      typename T::value_type e{};
      get(e);
      v.push_back(std::move(e));
    }
  } else if constexpr (d::IsArray<T>::value) {
    const std::uint64_t n = get_count();
    for (std::uint64_t i = 0; i < n && ok_; ++i) {
      typename T::value_type beyond{};
      get(i < v.size() ? v[static_cast<std::size_t>(i)] : beyond);
    }
  } else if constexpr (d::IsOptional<T>::value) {
    v.reset();
    if (get_unsigned() != 0) get(v.emplace());
  } else if constexpr (d::IsPair<T>::value) {
    get(v.first);
    get(v.second);
  } else if constexpr (d::IsVariant<T>::value) {
    const std::uint64_t index = get_unsigned();
    if (!ok_ || !d::with_alternative(v, index, [this](auto& e) { this->get(e); })) ok_ = false;
  } else {
    NamedReader inner(get_text());
    inner.open();
    if (inner.ok_) v.fields(inner);
    ok_ = ok_ && inner.ok_;
  }
}

template <class T>
void NamedReader::operator()(const char* name, T& v) {
  if (!ok_) return;
  const auto is = [name](const Field& f) { return f.name == name; };
  auto found = std::find_if(fields_.begin() + static_cast<std::ptrdiff_t>(next_), fields_.end(), is);
  if (found == fields_.end()) found = std::find_if(fields_.begin(), fields_.end(), is);
  if (found == fields_.end()) return;
  next_ = static_cast<std::size_t>(found - fields_.begin()) + 1;
  NamedReader value(found->value);
  value.get(v);
  ok_ = value.ok_ && value.done();
}

template <class T>
std::string to_named(const T& v) {
  std::string out;
  NamedWriter(out).put(v);
  return out;
}

// False if the bytes are not one T of any version; `v` is then half filled and must not be used.
template <class T>
[[nodiscard]] bool from_named(std::string_view bytes, T& v) {
  NamedReader in(bytes);
  in.get(v);
  return in.ok() && in.done();
}

// The version of the states that are handed on. A program reads those of its own, of the one before and of
// the one after.
std::uint32_t state_version();
bool reads_state_version(std::uint32_t version);

}  // namespace runmain
