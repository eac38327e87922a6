// The C++20 face of propagation.h: the same values with views and strings, and any map-like type as a
// carrier. Header only.
//
// Invariant: extraction never throws and leaves what was not found as it was; what is said in propagation.h
// holds here. Non-goal: which context is current (current.h).
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <cstdint>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "propagation.h"

namespace runmain {

namespace detail {

inline runmain_text to_text(std::string_view view) noexcept { return {view.data(), view.size()}; }
inline std::string_view to_view(runmain_text text) noexcept {
  return text.size > 0 ? std::string_view(text.data, text.size) : std::string_view();
}

// By one of the C functions that work as snprintf(3).
template <class F>
std::string grown(std::string_view text, F&& convert) {
  std::string out(convert(to_text(text), nullptr, 0), '\0');
  convert(to_text(text), out.data(), out.size() + 1);
  return out;
}

inline bool same_in_any_case(std::string_view a, std::string_view b) noexcept {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [lower](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace detail

// ---- values ----

class TraceState {
 public:
  TraceState() noexcept : state_{} {}

  // One header's value; nothing if it is not valid.
  static std::optional<TraceState> parse(std::string_view header) noexcept {
    TraceState out;
    const runmain_text value = detail::to_text(header);
    if (runmain_trace_state_parse(&value, 1, &out.state_) != 0) return std::nullopt;
    return out;
  }

  bool empty() const noexcept { return state_.size == 0; }
  std::size_t size() const noexcept { return state_.members; }
  // The header's value; a view into this.
  std::string_view header() const noexcept { return {state_.text, state_.size}; }
  std::optional<std::string_view> get(std::string_view key) const noexcept {
    runmain_text value{};
    if (runmain_trace_state_get(&state_, detail::to_text(key), &value) == 0) return std::nullopt;
    return detail::to_view(value);
  }
  // Moves the key to the front. False: key or value are not allowed, and nothing has changed.
  bool set(std::string_view key, std::string_view value) noexcept {
    return runmain_trace_state_set(&state_, detail::to_text(key), detail::to_text(value)) == 0;
  }
  bool remove(std::string_view key) noexcept {
    return runmain_trace_state_remove(&state_, detail::to_text(key)) != 0;
  }

  const runmain_trace_state& c() const noexcept { return state_; }
  runmain_trace_state& c() noexcept { return state_; }

 private:
  runmain_trace_state state_;
};

class Baggage {
 public:
  struct Property {
    std::string key;
    std::optional<std::string> value;
  };
  struct Member {
    std::string key;
    std::string value;
    std::vector<Property> properties;
  };

  Baggage() noexcept { clear(); }

  static Baggage parse(std::string_view header) noexcept {
    Baggage out;
    const runmain_text value = detail::to_text(header);
    runmain_baggage_parse(&value, 1, &out.baggage_);
    return out;
  }

  void clear() noexcept {
    baggage_.size = 0;
    baggage_.members = 0;
  }
  bool empty() const noexcept { return baggage_.size == 0; }
  std::size_t size() const noexcept { return baggage_.members; }
  // The header's value; a view into this.
  std::string_view header() const noexcept { return {baggage_.text, baggage_.size}; }

  std::optional<std::string> get(std::string_view key) const {
    runmain_baggage_member member{};
    if (runmain_baggage_get(&baggage_, detail::to_text(key), &member) == 0) return std::nullopt;
    return decoded(member.value);
  }
  std::vector<Member> members() const {
    std::vector<Member> out;
    runmain_baggage_member member{};
    for (std::size_t at = 0; runmain_baggage_next(&baggage_, &at, &member) != 0;) {
      out.push_back({std::string(detail::to_view(member.key)), decoded(member.value),
                     properties_of(member.properties)});
    }
    return out;
  }
  // `value` is any text, `properties` as in the header. False: not allowed, or no room; nothing has changed.
  bool set(std::string_view key, std::string_view value, std::string_view properties = {}) noexcept {
    return runmain_baggage_set(&baggage_, detail::to_text(key), detail::to_text(value),
                               detail::to_text(properties)) == 0;
  }
  bool remove(std::string_view key) noexcept {
    return runmain_baggage_remove(&baggage_, detail::to_text(key)) != 0;
  }

  const runmain_baggage& c() const noexcept { return baggage_; }
  runmain_baggage& c() noexcept { return baggage_; }

 private:
  static std::string decoded(runmain_text value) {
    return detail::grown(detail::to_view(value), runmain_percent_decode);
  }
  static std::vector<Property> properties_of(runmain_text text) {
    std::vector<Property> out;
    runmain_baggage_property property{};
    for (std::size_t at = 0; runmain_baggage_next_property(text, &at, &property) != 0;) {
      out.push_back({std::string(detail::to_view(property.key)), std::nullopt});
      if (property.value.data != nullptr) out.back().value = decoded(property.value);
    }
    return out;
  }

  runmain_baggage baggage_;  // of its text only the first `size` bytes mean anything
};

// What goes from process to process.
struct Propagated {
  runmain_span_context span{};  // all zero: none
  TraceState state;
  Baggage baggage;
};

// ---- carriers ----

namespace detail {

template <class T>
concept Text = std::convertible_to<const T&, std::string_view>;

// Text, or several of it under one name.
template <class T>
concept TextOrTexts = Text<T> ||
    (std::ranges::input_range<const T>&& Text<std::ranges::range_value_t<const T>>);

// std::map, std::unordered_multimap, std::vector<std::pair<…>>, … of texts, or of containers of texts. Their
// elements must be in the carrier, not made while it is gone through: views of them are kept for a while.
template <class C>
concept MapLike = std::ranges::input_range<const C> &&
    std::is_reference_v<std::ranges::range_reference_t<const C>> &&
    requires(const std::ranges::range_value_t<const C>& element) {
  requires Text<std::remove_cvref_t<decltype(element.first)>>;
  requires TextOrTexts<std::remove_cvref_t<decltype(element.second)>>;
};

// The index-th text of `value`; takes as many as there are off `index` if there are fewer.
template <class V>
std::optional<std::string_view> text_at(const V& value, std::size_t& index) {
  if constexpr (Text<V>) {
    if (index-- == 0) return std::string_view(value);
  } else {
    for (const auto& text : value) {
      if (index-- == 0) return std::string_view(text);
    }
  }
  return std::nullopt;
}

template <MapLike C>
int get_from_map(void* data, const char* name, std::size_t index, runmain_text* out) noexcept {
  try {
    for (const auto& element : *static_cast<const C*>(data)) {
      if (!same_in_any_case(element.first, name)) continue;
      if (const auto text = text_at(element.second, index)) {
        *out = to_text(*text);
        return 1;
      }
    }
  } catch (...) {  // a carrier that fails has nothing
  }
  return 0;
}

template <class C>
int set_in_map(void* data, const char* name, runmain_text value) noexcept {
  using Element = std::ranges::range_value_t<C>;
  using Key = std::remove_cvref_t<decltype(std::declval<Element&>().first)>;
  using Value = std::remove_cvref_t<decltype(std::declval<Element&>().second)>;
  try {
    C& carrier = *static_cast<C*>(data);
    Element element = [&] {
      if constexpr (std::constructible_from<Value, std::string_view>) {
        return Element(Key(name), Value(to_view(value)));
      } else {
        return Element(Key(name), Value{typename Value::value_type(to_view(value))});
      }
    }();
    erase_if(carrier, [name](const auto& old) { return same_in_any_case(old.first, name); });
    carrier.insert(carrier.end(), std::move(element));
    return 0;
  } catch (...) {
    return -ENOMEM;
  }
}

template <class F>
int get_by_function(void* data, const char* name, std::size_t index, runmain_text* out) noexcept {
  try {
    const std::optional<std::string_view> value = (*static_cast<F*>(data))(std::string_view(name), index);
    if (!value) return 0;
    *out = to_text(*value);
    return 1;
  } catch (...) {
    return 0;
  }
}

template <class F>
int set_by_function(void* data, const char* name, runmain_text value) noexcept {
  try {
    (*static_cast<F*>(data))(std::string_view(name), to_view(value));
    return 0;
  } catch (...) {
    return -ENOMEM;
  }
}

template <class F>
concept Getter = std::is_invocable_r_v<std::optional<std::string_view>, F&, std::string_view, std::size_t>;

template <class F>
concept Setter = std::is_invocable_v<F&, std::string_view, std::string_view>;

}  // namespace detail

inline std::uint32_t propagators() noexcept { return runmain_propagators(); }
inline void set_propagators(std::uint32_t formats) noexcept { runmain_set_propagators(formats); }

inline std::vector<std::string> propagator_fields(std::uint32_t formats = propagators()) {
  const char* names[RUNMAIN_FIELDS_MAX];
  const std::size_t count = runmain_propagator_fields(formats, names, RUNMAIN_FIELDS_MAX);
  return {names, names + count};
}

// Each returns what was found (RUNMAIN_EXTRACTED_…), 0 for nothing; the rest of `into` is as before.
inline int extract(const runmain_carrier& carrier, Propagated& into,
                   std::uint32_t formats = propagators()) noexcept {
  return runmain_extract(formats, &carrier, &into.span, &into.state.c(), &into.baggage.c());
}

template <detail::MapLike C>
int extract(const C& headers, Propagated& into, std::uint32_t formats = propagators()) noexcept {
  // Only read: a C carrier has no const.
  return extract(runmain_carrier{const_cast<C*>(&headers), detail::get_from_map<C>, nullptr}, into, formats);
}

// `get(name, index)` gives the index-th value of a header as std::optional<std::string_view>.
template <detail::Getter F>
int extract(F&& get, Propagated& into, std::uint32_t formats = propagators()) noexcept {
  using Function = std::remove_reference_t<F>;
  auto* data = const_cast<std::remove_const_t<Function>*>(&get);
  return extract(runmain_carrier{data, detail::get_by_function<Function>, nullptr}, into, formats);
}

// Each is true if the carrier took all of it.
inline bool inject(const runmain_carrier& carrier, const Propagated& from,
                   std::uint32_t formats = propagators()) noexcept {
  return runmain_inject(formats, &carrier, &from.span, &from.state.c(), &from.baggage.c()) == 0;
}

template <detail::MapLike C>
bool inject(C& headers, const Propagated& from, std::uint32_t formats = propagators()) noexcept {
  return inject(runmain_carrier{&headers, nullptr, detail::set_in_map<C>}, from, formats);
}

// `set(name, value)` puts a header in the place of all of its name.
template <detail::Setter F>
bool inject(F&& set, const Propagated& from, std::uint32_t formats = propagators()) noexcept {
  using Function = std::remove_reference_t<F>;
  auto* data = const_cast<std::remove_const_t<Function>*>(&set);
  return inject(runmain_carrier{data, nullptr, detail::set_by_function<Function>}, from, formats);
}

// ---- the environment ----

// What this process was started with; read once.
inline int inherited(Propagated& into) noexcept {
  return runmain_inherited_context(&into.span, &into.state.c(), &into.baggage.c());
}

inline std::string environment_name(std::string_view name) {
  return detail::grown(name, runmain_environment_name);
}

// An environment for a child process: a copy, so that ours is never changed.
class ChildEnvironment {
 public:
  explicit ChildEnvironment(char* const* source = environ) {
    for (; source != nullptr && *source != nullptr; ++source) entries_.emplace_back(*source);
  }

  std::optional<std::string_view> get(std::string_view name) const {
    const std::string start = environment_name(name) + "=";
    const auto entry = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const std::string& e) { return e.starts_with(start); });
    if (entry == entries_.end()) return std::nullopt;
    return std::string_view(*entry).substr(start.size());
  }
  // False: a NUL in the value, and nothing has changed.
  bool set(std::string_view name, std::string_view value) {
    if (value.find('\0') != std::string_view::npos) return false;
    std::string entry = environment_name(name) + "=";
    entry += value;
    remove(name);
    entries_.push_back(std::move(entry));
    return true;
  }
  bool remove(std::string_view name) {
    const std::string start = environment_name(name) + "=";
    return std::erase_if(entries_, [&](const std::string& e) { return e.starts_with(start); }) > 0;
  }
  // Names that are normalised ones.
  std::vector<std::string> keys() const {
    const std::vector<char*> all = pointers();
    std::vector<runmain_text> found(entries_.size());
    found.resize(runmain_environment_keys(all.data(), found.data(), found.size()));
    std::vector<std::string> out;
    for (const runmain_text& name : found) out.emplace_back(detail::to_view(name));
    return out;
  }
  // Removes what was inherited, then sets what there is.
  bool inject(const Propagated& from, std::uint32_t formats = propagators()) {
    for (const std::string& field : propagator_fields(formats)) remove(field);
    return runmain::inject([this](std::string_view name, std::string_view value) { set(name, value); }, from,
                           formats);
  }
  int extract(Propagated& into, std::uint32_t formats = propagators()) const {
    const std::vector<char*> all = pointers();
    return runmain_extract_environment(formats, all.data(), &into.span, &into.state.c(), &into.baggage.c());
  }

  // For execve(2) and posix_spawn(3); of this object, until its next change.
  std::vector<char*> pointers() const {
    std::vector<char*> out;
    out.reserve(entries_.size() + 1);
    for (const std::string& entry : entries_) out.push_back(const_cast<char*>(entry.c_str()));
    out.push_back(nullptr);
    return out;
  }

 private:
  std::vector<std::string> entries_;
};

}  // namespace runmain
