// The C++20 face of trace.h and current.h: spans and contexts with owners, attributes of every type.
//
//     auto span = runmain::start_as_current_span("GET /users");   // current in this scope, ended at its end
//     span.set_attribute("http.response.status_code", 200);
//
// Invariant: nothing here knows more than the C headers; what is said there holds here. The short name starts
// and activates; start_span does not, and says so by its type. Header only. Nothing throws. Non-goals:
// headers of other processes (propagation), coroutines (coroutine.hpp).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "current.hpp"
#include "trace.h"

namespace runmain {

inline runmain_text as_text(std::string_view text) noexcept { return {text.data(), text.size()}; }

// A value of an attribute. Borrows what it is made of: strings and arrays must outlive the call that takes
// it.
class Value {
 public:
  Value(const char* text) noexcept : Value(std::string_view(text)) {}
  Value(std::string_view text) noexcept {
    value_.type = RUNMAIN_VALUE_STRING;
    value_.size = text.size();
    value_.of.string = text.data();
  }
  Value(const std::string& text) noexcept : Value(std::string_view(text)) {}
  template <class T>
  requires std::is_arithmetic_v<T> Value(T number)
  noexcept {
    if constexpr (std::is_same_v<T, bool>) {
      value_.type = RUNMAIN_VALUE_BOOL;
      value_.of.boolean = number ? 1 : 0;
    } else if constexpr (std::is_integral_v<T>) {
      value_.type = RUNMAIN_VALUE_INT;
      value_.of.integer = static_cast<std::int64_t>(number);
    } else {
      value_.type = RUNMAIN_VALUE_DOUBLE;
      value_.of.real = static_cast<double>(number);
    }
  }
  Value(std::span<const std::byte> bytes) noexcept {
    value_.type = RUNMAIN_VALUE_BYTES;
    value_.size = bytes.size();
    value_.of.bytes = reinterpret_cast<const std::uint8_t*>(bytes.data());
  }
  Value(std::span<const std::int64_t> numbers) noexcept {
    value_.type = RUNMAIN_VALUE_INTS;
    value_.size = numbers.size();
    value_.of.integers = numbers.data();
  }
  Value(std::span<const double> numbers) noexcept {
    value_.type = RUNMAIN_VALUE_DOUBLES;
    value_.size = numbers.size();
    value_.of.reals = numbers.data();
  }
  Value(std::span<const bool> flags) noexcept {
    static_assert(sizeof(bool) == 1);
    value_.type = RUNMAIN_VALUE_BOOLS;
    value_.size = flags.size();
    value_.of.booleans = reinterpret_cast<const std::uint8_t*>(flags.data());
  }
  Value(std::span<const std::string_view> texts) noexcept {
    // As runmain_text: a pointer and a size; which of them is first is the library's to say.
    texts_.reserve(texts.size());
    for (const std::string_view text : texts) texts_.push_back(as_text(text));
    set_texts();
  }
  Value(std::span<const std::string> texts) noexcept {
    texts_.reserve(texts.size());
    for (const std::string& text : texts) texts_.push_back(as_text(text));
    set_texts();
  }
  template <class T>
  Value(const std::vector<T>& values) noexcept : Value(std::span<const T>(values)) {}

  const runmain_value& get() const noexcept { return value_; }

 private:
  void set_texts() noexcept {
    value_.type = RUNMAIN_VALUE_STRINGS;
    value_.size = texts_.size();
    value_.of.strings = texts_.data();
  }

  runmain_value value_{};
  std::vector<runmain_text> texts_;
};

struct Attribute {
  std::string_view key;
  Value value;
};
using Attributes = std::initializer_list<Attribute>;

enum class SpanKind : std::uint32_t {
  internal = RUNMAIN_KIND_INTERNAL,
  server = RUNMAIN_KIND_SERVER,
  client = RUNMAIN_KIND_CLIENT,
  producer = RUNMAIN_KIND_PRODUCER,
  consumer = RUNMAIN_KIND_CONSUMER,
};
enum class StatusCode : int {
  unset = RUNMAIN_STATUS_UNSET,
  ok = RUNMAIN_STATUS_OK,
  error = RUNMAIN_STATUS_ERROR
};

using SpanContext = runmain_span_context;
inline bool is_valid(const SpanContext& c) noexcept {
  const auto any = [](std::span<const std::uint8_t> bytes) {
    for (const std::uint8_t b : bytes) {
      if (b != 0) return true;
    }
    return false;
  };
  return any(c.trace_id) && any(c.span_id);
}

namespace detail {

inline std::vector<runmain_attribute> flatten(const Attribute* attributes, std::size_t count) {
  std::vector<runmain_attribute> out;
  out.reserve(count);
  for (std::size_t i = 0; i < count; ++i)
    out.push_back({as_text(attributes[i].key), attributes[i].value.get()});
  return out;
}
inline std::uint64_t nanoseconds(std::chrono::system_clock::time_point time) noexcept {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count());
}

}  // namespace detail

// ---- spans

// A span that somebody else holds. Valid as long as that one's handle.
class SpanRef {
 public:
  explicit SpanRef(runmain_span* span) noexcept : span_(span) {}

  void set_attribute(std::string_view key, std::string_view value) noexcept {
    runmain_span_set(span_, key.data(), key.size(), value.data(), value.size());
  }
  void set_attribute(std::string_view key, const char* value) noexcept {
    set_attribute(key, std::string_view(value));
  }
  void set_attribute(std::string_view key, const std::string& value) noexcept {
    set_attribute(key, std::string_view(value));
  }
  template <class T>
  requires std::is_arithmetic_v<T>
  void set_attribute(std::string_view key, T value) noexcept {
    if constexpr (std::is_same_v<T, bool>) {
      runmain_span_set_bool(span_, key.data(), key.size(), value ? 1 : 0);
    } else if constexpr (std::is_integral_v<T>) {
      runmain_span_set_int(span_, key.data(), key.size(), static_cast<std::int64_t>(value));
    } else {
      runmain_span_set_double(span_, key.data(), key.size(), static_cast<double>(value));
    }
  }
  void set_attribute(std::string_view key, const Value& value) noexcept {
    runmain_span_set_value(span_, key.data(), key.size(), &value.get());
  }
  void set_attributes(Attributes attributes) noexcept {
    for (const Attribute& a : attributes) set_attribute(a.key, a.value);
  }

  void add_event(std::string_view name, Attributes attributes = {}) noexcept {
    add_event_at(name, 0, attributes);
  }
  void add_event(std::string_view name, std::chrono::system_clock::time_point time,
                 Attributes attributes = {}) noexcept {
    add_event_at(name, detail::nanoseconds(time), attributes);
  }
  void add_link(const SpanContext& context, Attributes attributes = {}) noexcept {
    const auto all = detail::flatten(attributes.begin(), attributes.size());
    const runmain_link link{context, {}, all.data(), all.size()};
    runmain_span_add_link(span_, &link);
  }
  void record_exception(const std::exception& error, Attributes attributes = {}) noexcept {
    const auto all = detail::flatten(attributes.begin(), attributes.size());
#if defined(__cpp_rtti)
    const char* type = typeid(error).name();
#else
    const char* type = "std::exception";
#endif
    runmain_span_record_exception(span_, as_text(type), as_text(error.what()), {}, all.data(), all.size());
  }
  void set_status(StatusCode code, std::string_view description = {}) noexcept {
    runmain_span_set_status(span_, static_cast<int>(code), description.data(), description.size());
  }
  void update_name(std::string_view name) noexcept {
    runmain_span_update_name(span_, name.data(), name.size());
  }

  bool is_recording() const noexcept { return runmain_span_is_recording(span_) != 0; }
  Context context() const noexcept { return Context::retain(runmain_span_get_context(span_)); }
  SpanContext span_context() const noexcept {
    return runmain_context_span_context(runmain_span_get_context(span_));
  }
  // This thread goes on with it.
  void adopt() noexcept { runmain_span_adopt(span_); }
  // Now, or at that time. The first end counts.
  void end() noexcept { runmain_span_end(span_, 0); }
  void end(std::chrono::system_clock::time_point time) noexcept {
    runmain_span_end(span_, detail::nanoseconds(time));
  }

  runmain_span* get() const noexcept { return span_; }

 protected:
  runmain_span* span_;

 private:
  void add_event_at(std::string_view name, std::uint64_t time, Attributes attributes) noexcept {
    const auto all = detail::flatten(attributes.begin(), attributes.size());
    runmain_span_add_event(span_, name.data(), name.size(), time, all.data(), all.size());
  }
};

// A span that is not current. Ended at the latest when this goes.
class Span : public SpanRef {
 public:
  explicit Span(runmain_span* span) noexcept : SpanRef(span) {}
  Span(Span&& o) noexcept : SpanRef(std::exchange(o.span_, nullptr)) {}
  Span& operator=(Span&& o) noexcept {
    std::swap(span_, o.span_);
    return *this;
  }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;
  ~Span() {
    if (span_ != nullptr && !RUNMAIN_SPAN_IS_NONE(span_)) runmain_span_finish(span_);
  }
};

// A span that is current in the scope of this: neither copied nor moved, so that it ends where it began.
class ScopedSpan : public SpanRef {
 public:
  explicit ScopedSpan(runmain_span* span) noexcept : SpanRef(span) {}
  ScopedSpan(const ScopedSpan&) = delete;
  ScopedSpan& operator=(const ScopedSpan&) = delete;
  ~ScopedSpan() {
    if (!RUNMAIN_SPAN_IS_NONE(span_)) runmain_span_finish(span_);
  }
  // Before the scope's end: it is not current any more, either.
  void end() noexcept {
    runmain_span_leave(span_);
    runmain_span_end(span_, 0);
  }
};

struct SpanOptions {
  SpanKind kind = SpanKind::internal;
  Context parent = {};                               // empty: the current one
  bool root = false;                                 // no parent at all
  std::chrono::system_clock::time_point start = {};  // 1970: now
  std::vector<Attribute> attributes = {};
  std::vector<SpanContext> links = {};
};

class Tracer {
 public:
  Tracer() noexcept = default;  // without a scope's name
  explicit Tracer(std::string_view name, std::string_view version = {}, std::string_view schema_url = {},
                  Attributes attributes = {}) {
    const auto all = detail::flatten(attributes.begin(), attributes.size());
    tracer_ =
        runmain_get_tracer(as_text(name), as_text(version), as_text(schema_url), all.data(), all.size());
  }

  ScopedSpan start_as_current_span(std::string_view name) const noexcept {
    return ScopedSpan(runmain_span_start_current(tracer_, name.data(), name.size(), nullptr));
  }
  ScopedSpan start_as_current_span(std::string_view name, const SpanOptions& options) const {
    return ScopedSpan(start(runmain_span_start_current, name, options));
  }
  Span start_span(std::string_view name) const noexcept {
    return Span(runmain_span_start(tracer_, name.data(), name.size(), nullptr));
  }
  Span start_span(std::string_view name, const SpanOptions& options) const {
    return Span(start(runmain_span_start, name, options));
  }

 private:
  template <class F>
  runmain_span* start(F* function, std::string_view name, const SpanOptions& options) const {
    const auto attributes = detail::flatten(options.attributes.data(), options.attributes.size());
    std::vector<runmain_link> links;
    for (const SpanContext& c : options.links) links.push_back({c, {}, nullptr, 0});
    runmain_start s{};
    s.size = sizeof s;
    s.kind = static_cast<std::uint32_t>(options.kind);
    s.flags = options.root ? RUNMAIN_START_ROOT : 0;
    s.parent = options.parent.get();
    s.start_unix_nano = detail::nanoseconds(options.start);
    s.attributes = attributes.data();
    s.attribute_count = attributes.size();
    s.links = links.data();
    s.link_count = links.size();
    return function(tracer_, name.data(), name.size(), &s);
  }

  const runmain_tracer* tracer_ = nullptr;
};

inline ScopedSpan start_as_current_span(std::string_view name) noexcept {
  return Tracer().start_as_current_span(name);
}
inline ScopedSpan start_as_current_span(std::string_view name, const SpanOptions& options) {
  return Tracer().start_as_current_span(name, options);
}
[[nodiscard]] inline Span start_span(std::string_view name) noexcept { return Tracer().start_span(name); }
[[nodiscard]] inline Span start_span(std::string_view name, const SpanOptions& options) {
  return Tracer().start_span(name, options);
}

// The span whose context is current, if it is one of this process; else one that records nothing.
inline SpanRef current_span() noexcept {
  runmain_span* span = runmain_context_span(runmain_current());
  return SpanRef(span != nullptr ? span : runmain_span_none());
}

// ---- the provider

struct TelemetryResult {
  int error = 0;  // as of runmain_telemetry_init
  std::string why;
  explicit operator bool() const { return error == 0; }
};
// RUNMAIN_TELEMETRY_INIT() with a text.
inline TelemetryResult initialise_telemetry(const char* file, int line) {
  const int error = runmain_telemetry_init(file, line);
  if (error == 0) return {};
  std::string text(runmain_telemetry_reason(nullptr, 0), '\0');
  text.resize(std::min(text.size(), runmain_telemetry_reason(text.data(), text.size() + 1)));
  return {error, text};
}

enum class SamplerKind : std::uint32_t {
  always_on = RUNMAIN_SAMPLER_ALWAYS_ON,
  always_off = RUNMAIN_SAMPLER_ALWAYS_OFF,
  trace_id_ratio = RUNMAIN_SAMPLER_RATIO,
  probability = RUNMAIN_SAMPLER_PROBABILITY,
};
// runmain_set_sampler: for spans without a parent, whose decision is that of their children (ParentBased);
// with `ignore_parent` for all. False: `ratio` is none for this kind.
inline bool set_sampler(SamplerKind kind, double ratio = 1, bool ignore_parent = false) noexcept {
  runmain_sampler sampler{};
  sampler.kind = static_cast<std::uint32_t>(kind);
  sampler.ratio = ratio;
  sampler.ignore_parent = ignore_parent ? 1 : 0;
  return runmain_set_sampler(&sampler) == 0;
}

// Makes ids of spans instead of the library: runmain_id_generator says when, and what it must not do. Lives
// as long as the process once it is set. What a function leaves as zeros is made by the library.
class IdGenerator {
 public:
  IdGenerator() noexcept = default;
  IdGenerator(const IdGenerator&) = delete;
  IdGenerator& operator=(const IdGenerator&) = delete;
  virtual ~IdGenerator() = default;

  virtual void trace_id(std::span<std::uint8_t, 16> out) noexcept = 0;
  virtual void span_id(std::span<std::uint8_t, 8> out) noexcept = 0;
  // Whether the last 7 bytes of its trace ids are random. Asked once, when it is set.
  virtual bool is_random() const noexcept { return false; }

 private:
  friend void set_id_generator(IdGenerator& generator) noexcept;
  runmain_id_generator c_{};
};
inline void set_id_generator(IdGenerator& generator) noexcept {
  generator.c_ = {[](void* data, std::uint8_t* out) {
                    static_cast<IdGenerator*>(data)->trace_id(std::span<std::uint8_t, 16>(out, 16));
                  },
                  [](void* data, std::uint8_t* out) {
                    static_cast<IdGenerator*>(data)->span_id(std::span<std::uint8_t, 8>(out, 8));
                  },
                  &generator, generator.is_random() ? 1U : 0U, 0};
  runmain_set_id_generator(&generator.c_);
}
// The library's own again.
inline void unset_id_generator() noexcept { runmain_set_id_generator(nullptr); }

inline bool force_flush() noexcept { return runmain_force_flush() == 0; }
inline bool shutdown_telemetry() noexcept { return runmain_telemetry_shutdown() == 0; }

}  // namespace runmain
