// Binary form of plain structs, for the head's state log and the head-keeper protocol.
//
// A struct says its fields once, `template <class A> void fields(A& a) { a("name", name); … }`, and every
// archive (this one, the journal's JSON) walks them. Integers are LEB128 (zig-zag when signed), strings and
// vectors are length-prefixed, variants are an index and the alternative. Invariant: a Reader never reads
// past its bytes; after a fault `ok()` is false and everything read is a default. Non-goal: compatibility by
// field name; writers and readers of these bytes are of one build, or carry a version.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace runmain {

// No vector or string in an archive is longer than this many elements: a bound for hostile or torn bytes.
inline constexpr std::size_t kArchiveMax = 16U << 20U;

class BinaryWriter {
 public:
  static constexpr bool kReading = false;
  explicit BinaryWriter(std::string& out) : out_(out) {}

  template <class T>
  void operator()(const char*, T& v) {
    put(v);
  }
  template <class T>
  void put(T& v);
  void put_unsigned(std::uint64_t v) {
    for (; v >= 0x80; v >>= 7U) out_.push_back(static_cast<char>(v | 0x80U));
    out_.push_back(static_cast<char>(v));
  }

 private:
  std::string& out_;
};

class BinaryReader {
 public:
  static constexpr bool kReading = true;
  explicit BinaryReader(std::string_view in) : in_(in) {}

  template <class T>
  void operator()(const char*, T& v) {
    get(v);
  }
  template <class T>
  void get(T& v);
  std::uint64_t get_unsigned() {
    std::uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ >= in_.size()) break;
      const auto byte = static_cast<unsigned char>(in_[at_++]);
      v |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
      if ((byte & 0x80U) == 0) return v;
    }
    ok_ = false;
    return 0;
  }
  bool ok() const { return ok_; }
  bool done() const { return at_ == in_.size(); }
  std::string_view rest() const { return in_.substr(at_); }

 private:
  // A count of elements that may still be there: each takes at least one byte.
  std::size_t get_count() {
    const std::uint64_t n = get_unsigned();
    if (n > kArchiveMax || n > in_.size() - at_) ok_ = false;
    return ok_ ? static_cast<std::size_t>(n) : 0;
  }

  std::string_view in_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

namespace archive_detail {

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsArray : std::false_type {};
template <class T, std::size_t N>
struct IsArray<std::array<T, N>> : std::true_type {};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
struct IsPair : std::false_type {};
template <class A, class B>
struct IsPair<std::pair<A, B>> : std::true_type {};
template <class T>
struct IsVariant : std::false_type {};
template <class... T>
struct IsVariant<std::variant<T...>> : std::true_type {};
template <class T>
struct IsDuration : std::false_type {};
template <class R, class P>
struct IsDuration<std::chrono::duration<R, P>> : std::true_type {};
template <class T>
struct IsTimePoint : std::false_type {};
template <class C, class D>
struct IsTimePoint<std::chrono::time_point<C, D>> : std::true_type {};

constexpr std::uint64_t zigzag(std::int64_t v) {
  return (static_cast<std::uint64_t>(v) << 1U) ^ static_cast<std::uint64_t>(v >> 63);
}
constexpr std::int64_t unzigzag(std::uint64_t v) {
  return static_cast<std::int64_t>(v >> 1U) ^ -static_cast<std::int64_t>(v & 1U);
}

// Makes the alternative number `index` of a variant and hands it to `use`. False if there is none.
template <std::size_t I = 0, class V, class F>
bool with_alternative(V& v, std::size_t index, F&& use) {
  if constexpr (I < std::variant_size_v<V>) {
    if (index == I) {
      use(v.template emplace<I>());
      return true;
    }
    return with_alternative<I + 1>(v, index, std::forward<F>(use));
  } else {
    return false;
  }
}

}  // namespace archive_detail

template <class T>
void BinaryWriter::put(T& v) {
  namespace d = archive_detail;
  using U = std::remove_const_t<T>;
  if constexpr (std::is_same_v<U, std::string>) {
    put_unsigned(v.size());
    out_.append(v);
  } else if constexpr (d::IsVector<U>::value) {
    put_unsigned(v.size());
    for (auto&& e : v) {
      if constexpr (std::is_same_v<U, std::vector<bool>>) {
        put_unsigned(e ? 1 : 0);
      } else {
        put(e);
      }
    }
  } else if constexpr (d::IsArray<U>::value) {
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
  } else if constexpr (d::IsDuration<U>::value) {
    put_unsigned(d::zigzag(v.count()));
  } else if constexpr (d::IsTimePoint<U>::value) {
    put_unsigned(d::zigzag(v.time_since_epoch().count()));
  } else if constexpr (std::is_enum_v<U>) {
    put_unsigned(static_cast<std::uint64_t>(v));
  } else if constexpr (std::is_same_v<U, bool>) {
    put_unsigned(v ? 1 : 0);
  } else if constexpr (std::is_integral_v<U> && std::is_signed_v<U>) {
    put_unsigned(d::zigzag(v));
  } else if constexpr (std::is_integral_v<U>) {
    put_unsigned(v);
  } else {
    const_cast<U&>(v).fields(*this);  // fields() is one function for both directions; writing changes nothing
  }
}

template <class T>
void BinaryReader::get(T& v) {
  namespace d = archive_detail;
  if constexpr (std::is_same_v<T, std::string>) {
    const std::size_t n = get_count();
    v.assign(in_.substr(at_, n));
    at_ += n;
  } else if constexpr (d::IsVector<T>::value) {
    const std::size_t n = get_count();
    v.clear();
    for (std::size_t i = 0; i < n && ok_; ++i) {
      typename T::value_type e{};
      get(e);
      v.push_back(std::move(e));
    }
  } else if constexpr (d::IsArray<T>::value) {
    for (auto& e : v) get(e);
  } else if constexpr (d::IsOptional<T>::value) {
    v.reset();
    if (get_unsigned() != 0) get(v.emplace());
  } else if constexpr (d::IsPair<T>::value) {
    get(v.first);
    get(v.second);
  } else if constexpr (d::IsVariant<T>::value) {
    const std::uint64_t index = get_unsigned();
    if (!d::with_alternative(v, index, [this](auto& e) { this->get(e); })) ok_ = false;
  } else if constexpr (d::IsDuration<T>::value) {
    v = T(static_cast<typename T::rep>(d::unzigzag(get_unsigned())));
  } else if constexpr (d::IsTimePoint<T>::value) {
    v = T(typename T::duration(d::unzigzag(get_unsigned())));
  } else if constexpr (std::is_enum_v<T>) {
    v = static_cast<T>(get_unsigned());
  } else if constexpr (std::is_same_v<T, bool>) {
    v = get_unsigned() != 0;
  } else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
    v = static_cast<T>(d::unzigzag(get_unsigned()));
  } else if constexpr (std::is_integral_v<T>) {
    v = static_cast<T>(get_unsigned());
  } else {
    v.fields(*this);
  }
}

template <class T>
std::string to_binary(const T& v) {
  std::string out;
  BinaryWriter(out).put(v);
  return out;
}

// False if the bytes are not exactly one T; `v` is then half filled and must not be used.
template <class T>
[[nodiscard]] bool from_binary(std::string_view bytes, T& v) {
  BinaryReader in(bytes);
  in.get(v);
  return in.ok() && in.done();
}

}  // namespace runmain
