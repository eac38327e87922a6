// JSON form of plain structs: the archive of the journal, walking the same fields() as base/archive.hpp.
//
// Structs are objects with the fields' names as keys; enums are the names that kEnumNames lists; durations
// and times are integers of nanoseconds; a variant of types with kType is an object with "type"; a string
// that is not UTF-8 is
// {"hex":"…"}, so that every byte survives.
// Invariant: a JsonReader never throws and never accepts a number that does not fit or a name that is none;
// after a fault ok() is false. A key that is missing leaves the default, so that a newer build reads an older
// journal.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/ids.hpp"
#include "base/named_archive.hpp"

namespace runmain::drive {

// The names of an enum's values from 0 on, for every enum that an archive meets: specialize it beside the
// enum's use.
template <class E>
inline constexpr std::array<const char*, 0> kEnumNames{};

// Whether these bytes are UTF-8 (RFC 3629: no surrogates, nothing overlong, nothing above U+10FFFF).
bool is_utf8(std::string_view bytes);
std::string to_hex(std::string_view bytes);
bool from_hex(std::string_view hex, std::string& out);

namespace json_detail {

nlohmann::ordered_json string_to_json(const std::string& text);
bool string_from_json(const nlohmann::json& json, std::string& text);

// The value of a whole number that lies between `low` and `high`. Floats are never taken.
bool number_from_json(const nlohmann::json& json, std::int64_t low, std::uint64_t high, std::int64_t& n);

}  // namespace json_detail

class JsonWriter {
 public:
  static constexpr bool kReading = false;
  using Json = nlohmann::ordered_json;
  explicit JsonWriter(Json& object) : object_(object) {}

  template <class T>
  void operator()(const char* name, T& v) {
    object_[name] = make(v);
  }
  template <class T>
  static Json make(T& v);

 private:
  Json& object_;
};

class JsonReader {
 public:
  static constexpr bool kReading = true;
  using Json = nlohmann::json;
  explicit JsonReader(const Json& object) : object_(object) {}

  template <class T>
  void operator()(const char* name, T& v) {
    if (!ok_) return;
    const auto it = object_.find(name);
    if (it == object_.end()) return;
    if (!take(*it, v)) {
      ok_ = false;
      fault_ = fault_.empty() ? name : name + ("." + fault_);
    }
  }
  bool ok() const { return ok_; }
  // The key whose value was wrong, with the keys that lead to it: "key.slot".
  const std::string& fault() const { return fault_; }

  // False if `json` is not a T; `v` is then half filled.
  template <class T>
  bool take(const Json& json, T& v);

 private:
  template <class T>
  bool take_struct(const Json& json, T& v);
  template <class T>
  bool take_variant(const Json& json, T& v);
  template <class T>
  bool take_list(const Json& json, T& v);
  template <class T>
  bool take_enum(const Json& json, T& v);
  template <class T>
  bool take_integer(const Json& json, T& v);

  const Json& object_;
  bool ok_ = true;
  std::string fault_;
};

template <class T>
JsonWriter::Json JsonWriter::make(T& v) {
  namespace d = archive_detail;
  using U = std::remove_const_t<T>;
  if constexpr (std::is_same_v<U, std::string>) {
    return json_detail::string_to_json(v);
  } else if constexpr (d::IsVector<U>::value || d::IsArray<U>::value) {
    Json list = Json::array();
    for (auto& e : v) list.push_back(make(e));
    return list;
  } else if constexpr (d::IsOptional<U>::value) {
    return v ? make(*v) : Json(nullptr);
  } else if constexpr (d::IsPair<U>::value) {
    Json list = Json::array();
    list.push_back(make(v.first));
    list.push_back(make(v.second));
    return list;
  } else if constexpr (d::IsVariant<U>::value) {
    return std::visit(
        [](auto& e) {
          Json object = {{"type", std::decay_t<decltype(e)>::kType}};
          JsonWriter writer(object);
          e.fields(writer);
          return object;
        },
        v);
  } else if constexpr (d::IsDuration<U>::value) {
    return Json(std::chrono::nanoseconds(v).count());
  } else if constexpr (d::IsTimePoint<U>::value) {
    return Json(std::chrono::nanoseconds(v.time_since_epoch()).count());
  } else if constexpr (std::is_enum_v<U>) {
    constexpr auto& names = kEnumNames<U>;
    static_assert(!names.empty(), "an enum in an archive needs its names");
    const auto index = static_cast<std::size_t>(v);
    return index < names.size() ? Json(names[index]) : Json(nullptr);
  } else if constexpr (d::IsId<U>::value) {
    return Json(v.value);
  } else if constexpr (std::is_integral_v<U>) {
    return Json(v);
  } else {
    Json object = Json::object();
    JsonWriter writer(object);
    const_cast<U&>(v).fields(
        writer);  // fields() is one function for both directions; writing changes nothing
    return object;
  }
}

template <class T>
bool JsonReader::take_struct(const Json& json, T& v) {
  if (!json.is_object()) return false;
  JsonReader inner(json);
  v.fields(inner);
  if (!inner.ok_) fault_ = inner.fault_;
  return inner.ok_;
}

template <class T>
bool JsonReader::take_variant(const Json& json, T& v) {
  if (!json.is_object()) return false;
  const auto type = json.find("type");
  if (type == json.end() || !type->is_string()) return false;
  const auto& name = type->template get_ref<const std::string&>();
  for (std::size_t i = 0; i < std::variant_size_v<T>; ++i) {
    bool taken = false;
    bool good = false;
    archive_detail::with_alternative(v, i, [&](auto& e) {
      if (name != std::decay_t<decltype(e)>::kType) return;
      taken = true;
      good = take_struct(json, e);
    });
    if (taken) return good;
  }
  return false;
}

template <class T>
bool JsonReader::take_list(const Json& json, T& v) {
  if (!json.is_array()) return false;
  if constexpr (archive_detail::IsPair<T>::value) {
    return json.size() == 2 && take(json[0], v.first) && take(json[1], v.second);
  } else {
    if constexpr (archive_detail::IsVector<T>::value) {
      v.clear();
      v.resize(json.size());
    }
    if (json.size() != v.size()) return false;
    for (std::size_t i = 0; i < v.size(); ++i) {
      if (!take(json[i], v[i])) return false;
    }
    return true;
  }
}

template <class T>
bool JsonReader::take_enum(const Json& json, T& v) {
  constexpr auto& names = kEnumNames<T>;
  static_assert(!names.empty(), "an enum in an archive needs its names");
  if (!json.is_string()) return false;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (json.get_ref<const std::string&>() != names[i]) continue;
    v = static_cast<T>(i);
    return true;
  }
  return false;
}

template <class T>
bool JsonReader::take_integer(const Json& json, T& v) {
  std::int64_t n = 0;
  constexpr auto high = static_cast<std::uint64_t>(std::numeric_limits<T>::max());
  constexpr auto low = std::is_signed_v<T> ? static_cast<std::int64_t>(std::numeric_limits<T>::min()) : 0;
  if (!json_detail::number_from_json(json, low, high, n)) return false;
  v = static_cast<T>(n);
  return true;
}

template <class T>
bool JsonReader::take(const Json& json, T& v) {
  namespace d = archive_detail;
  if constexpr (std::is_same_v<T, std::string>) {
    return json_detail::string_from_json(json, v);
  } else if constexpr (d::IsVector<T>::value || d::IsArray<T>::value || d::IsPair<T>::value) {
    return take_list(json, v);
  } else if constexpr (d::IsOptional<T>::value) {
    v.reset();
    return json.is_null() || take(json, v.emplace());
  } else if constexpr (d::IsVariant<T>::value) {
    return take_variant(json, v);
  } else if constexpr (d::IsDuration<T>::value) {
    std::int64_t ns = 0;
    if (!take_integer(json, ns)) return false;
    v = std::chrono::duration_cast<T>(std::chrono::nanoseconds(ns));
    return true;
  } else if constexpr (d::IsTimePoint<T>::value) {
    typename T::duration since{};
    if (!take(json, since)) return false;
    v = T(since);
    return true;
  } else if constexpr (std::is_enum_v<T>) {
    return take_enum(json, v);
  } else if constexpr (d::IsId<T>::value) {
    return take_integer(json, v.value);
  } else if constexpr (std::is_same_v<T, bool>) {
    if (json.is_boolean()) v = json.get<bool>();
    return json.is_boolean();
  } else if constexpr (std::is_integral_v<T>) {
    return take_integer(json, v);
  } else {
    return take_struct(json, v);
  }
}

}  // namespace runmain::drive
