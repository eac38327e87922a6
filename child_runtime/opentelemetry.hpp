// For programs that already use opentelemetry-cpp: a SpanProcessor of that SDK whose spans go into the
// mailbox, so that they outlive the program and no exporter, thread or socket lives in it.
//
//   auto processor = std::make_unique<runmain::MailboxSpanProcessor>();
//   auto provider = std::make_shared<opentelemetry::sdk::trace::TracerProvider>(std::move(processor));
//
// Ids, parents, sampling and limits are the SDK's; the resource is runmain's (OTEL_* and the role).
// Invariant: what trace.h says of threads, forks and signals holds from OnStart on. Non-goals: metrics and
// logs of that SDK; its Resource, which the worker's replaces. Needs opentelemetry-cpp 1.9 or newer; nothing
// of runmain's build does: the target runmain::opentelemetry is there where the package is found. Header
// only.
#pragma once

#include <opentelemetry/common/attribute_value.h>
#include <opentelemetry/common/key_value_iterable.h>
#include <opentelemetry/sdk/common/attribute_utils.h>
#include <opentelemetry/sdk/instrumentationscope/instrumentation_scope.h>
#include <opentelemetry/sdk/trace/processor.h>
#include <opentelemetry/sdk/trace/recordable.h>
#include <opentelemetry/trace/span_context.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "trace.h"

namespace runmain {

namespace detail {

namespace otel = opentelemetry;

inline runmain_text otel_text(otel::nostd::string_view view) noexcept { return {view.data(), view.size()}; }

inline runmain_span_context to_runmain(const otel::trace::SpanContext& context) noexcept {
  runmain_span_context out{};
  context.trace_id().CopyBytesTo(otel::nostd::span<std::uint8_t, 16>(out.trace_id, 16));
  context.span_id().CopyBytesTo(otel::nostd::span<std::uint8_t, 8>(out.span_id, 8));
  out.flags = context.trace_flags().flags();
  out.is_remote = context.IsRemote() ? 1 : 0;
  return out;
}

// A value of that SDK, its own or a view, as one of ours. What has to be made for it is kept here.
class OtelValue {
 public:
  template <class T>
  const runmain_value& of(const T& value) {
    value_ = runmain_value{};
    set(value);
    return value_;
  }

 private:
  void set(bool value) { scalar(RUNMAIN_VALUE_BOOL, value ? 1 : 0); }
  void set(double value) {
    value_.type = RUNMAIN_VALUE_DOUBLE;
    value_.of.real = value;
  }
  template <class T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) void set(T value) {
    scalar(RUNMAIN_VALUE_INT, static_cast<std::int64_t>(value));
  }
  void set(const char* value) {
    text(value != nullptr ? otel::nostd::string_view(value) : otel::nostd::string_view());
  }
  void set(otel::nostd::string_view value) { text(value); }
  void set(const std::string& value) { text(otel::nostd::string_view(value.data(), value.size())); }
  template <class T>
  void set(otel::nostd::span<const T> values) {
    list(values.begin(), values.end());
  }
  template <class T>
  void set(const std::vector<T>& values) {
    list(values.begin(), values.end());
  }

  void scalar(std::uint32_t type, std::int64_t value) {
    value_.type = type;
    value_.of.integer = value;  // the same place as of.boolean
  }
  void text(otel::nostd::string_view value) {
    value_.type = RUNMAIN_VALUE_STRING;
    value_.of.string = value.data();
    value_.size = value.size();
  }
  template <class I>
  void list(I begin, I end) {
    using T = std::remove_cv_t<std::remove_reference_t<decltype(*begin)>>;
    if constexpr (std::is_same_v<T, std::uint8_t>) {
      bytes_.assign(begin, end);
      finish(RUNMAIN_VALUE_BYTES, bytes_.size(), [&] { value_.of.bytes = bytes_.data(); });
    } else if constexpr (std::is_same_v<T, double>) {
      reals_.assign(begin, end);
      finish(RUNMAIN_VALUE_DOUBLES, reals_.size(), [&] { value_.of.reals = reals_.data(); });
    } else if constexpr (std::is_convertible_v<T, bool> && sizeof(T) == sizeof(bool) &&
                         !std::is_integral_v<T>) {
      bools(begin, end);  // of std::vector<bool>
    } else if constexpr (std::is_same_v<T, bool>) {
      bools(begin, end);
    } else if constexpr (std::is_integral_v<T>) {
      integers_.clear();
      for (; begin != end; ++begin) integers_.push_back(static_cast<std::int64_t>(*begin));
      finish(RUNMAIN_VALUE_INTS, integers_.size(), [&] { value_.of.integers = integers_.data(); });
    } else if constexpr (std::is_convertible_v<T, bool> &&
                         !std::is_convertible_v<T, otel::nostd::string_view> &&
                         !std::is_same_v<T, std::string>) {
      bools(begin, end);  // std::vector<bool>'s references
    } else {
      texts_.clear();
      for (; begin != end; ++begin) texts_.push_back({begin->data(), begin->size()});
      finish(RUNMAIN_VALUE_STRINGS, texts_.size(), [&] { value_.of.strings = texts_.data(); });
    }
  }
  template <class I>
  void bools(I begin, I end) {
    bytes_.clear();
    for (; begin != end; ++begin) bytes_.push_back(static_cast<bool>(*begin) ? 1 : 0);
    finish(RUNMAIN_VALUE_BOOLS, bytes_.size(), [&] { value_.of.booleans = bytes_.data(); });
  }
  template <class F>
  void finish(std::uint32_t type, std::size_t size, F&& point) {
    value_.type = type;
    value_.size = size;
    point();
  }

  runmain_value value_{};
  std::vector<std::uint8_t> bytes_;
  std::vector<std::int64_t> integers_;
  std::vector<double> reals_;
  std::vector<runmain_text> texts_;
};

// Attributes as an array of ours, as long as this lives. The views in them are the caller's.
class OtelAttributes {
 public:
  explicit OtelAttributes(const otel::common::KeyValueIterable& attributes) {
    attributes.ForEachKeyValue([this](otel::nostd::string_view key,
                                      otel::common::AttributeValue value) noexcept {
      OtelValue& kept = values_.emplace_back();
      const runmain_value& made =
          otel::nostd::visit([&kept](const auto& v) -> const runmain_value& { return kept.of(v); }, value);
      all_.push_back({otel_text(key), made});
      return true;
    });
  }
  const runmain_attribute* data() const { return all_.data(); }
  std::size_t size() const { return all_.size(); }

 private:
  std::deque<OtelValue> values_;
  std::vector<runmain_attribute> all_;
};

}  // namespace detail

// A span of that SDK which is one of ours from begin() on; what it gets before that is kept.
class MailboxRecordable final : public opentelemetry::sdk::trace::Recordable {
 public:
  ~MailboxRecordable() override { runmain_span_release(span_); }

  // It has started, and all that is given with a start is known.
  void begin() noexcept {
    runmain_context* parent = nullptr;
    if (has_parent_) {
      runmain_shared* state =
          trace_state_.empty() ? nullptr : runmain_shared_make(trace_state_.data(), trace_state_.size());
      parent = runmain_context_make(&parent_, state, nullptr);
      runmain_shared_release(state);
    }
    runmain_start start{};
    start.size = sizeof start;
    start.kind = kind_;
    start.flags = parent == nullptr ? RUNMAIN_START_ROOT : 0;
    start.parent = parent;
    start.start_unix_nano = start_ns_;
    start.ids = &ids_;
    span_ = runmain_span_start(tracer_, name_.data(), name_.size(), &start);
    runmain_context_release(parent);
    for (const auto& [key, value] : attributes_) {
      opentelemetry::nostd::visit([&, &k = key](const auto& v) { set(k, v); }, value);
    }
    for (const auto& add : links_) add(span_);
    attributes_.clear();
    links_.clear();
  }
  void end() noexcept { runmain_span_end(span_, start_ns_ + duration_ns_); }

  void SetIdentity(const opentelemetry::trace::SpanContext& context,
                   opentelemetry::trace::SpanId parent) noexcept override {
    ids_ = detail::to_runmain(context);
    has_parent_ = parent.IsValid();
    parent_ = ids_;
    parent.CopyBytesTo(opentelemetry::nostd::span<std::uint8_t, 8>(parent_.span_id, 8));
    trace_state_ = context.trace_state() != nullptr ? context.trace_state()->ToHeader() : std::string();
  }
  void SetAttribute(opentelemetry::nostd::string_view key,
                    const opentelemetry::common::AttributeValue& value) noexcept override {
    if (span_ == nullptr) {
      attributes_.emplace_back(
          std::string(key.data(), key.size()),
          opentelemetry::nostd::visit(opentelemetry::sdk::common::AttributeConverter(), value));
      return;
    }
    opentelemetry::nostd::visit([&](const auto& v) { set({key.data(), key.size()}, v); }, value);
  }
  void AddEvent(opentelemetry::nostd::string_view name, opentelemetry::common::SystemTimestamp time,
                const opentelemetry::common::KeyValueIterable& attributes) noexcept override {
    const detail::OtelAttributes all(attributes);
    const auto ns = static_cast<std::uint64_t>(time.time_since_epoch().count());
    runmain_span_add_event(span_, name.data(), name.size(), ns, all.data(), all.size());
  }
  void AddLink(const opentelemetry::trace::SpanContext& context,
               const opentelemetry::common::KeyValueIterable& attributes) noexcept override {
    if (span_ == nullptr) return links_.push_back(kept_link(context, attributes));
    const detail::OtelAttributes all(attributes);
    const runmain_link link{detail::to_runmain(context), {}, all.data(), all.size()};
    runmain_span_add_link(span_, &link);
  }
  void SetStatus(opentelemetry::trace::StatusCode code,
                 opentelemetry::nostd::string_view description) noexcept override {
    runmain_span_set_status(span_, static_cast<int>(code), description.data(), description.size());
  }
  void SetName(opentelemetry::nostd::string_view name) noexcept override {
    if (span_ != nullptr) return runmain_span_update_name(span_, name.data(), name.size());
    name_.assign(name.data(), name.size());
  }
  void SetSpanKind(opentelemetry::trace::SpanKind kind) noexcept override {
    kind_ = static_cast<std::uint32_t>(kind) + 1;  // theirs begin at 0, OTLP's and ours at 1
  }
  void SetResource(const opentelemetry::sdk::resource::Resource&) noexcept override {}
  void SetStartTime(opentelemetry::common::SystemTimestamp time) noexcept override {
    start_ns_ = static_cast<std::uint64_t>(time.time_since_epoch().count());
  }
  void SetDuration(std::chrono::nanoseconds duration) noexcept override {
    duration_ns_ = static_cast<std::uint64_t>(duration.count());
  }
  void SetInstrumentationScope(
      const opentelemetry::sdk::instrumentationscope::InstrumentationScope& scope) noexcept override {
    const auto text = [](const std::string& s) { return runmain_text{s.data(), s.size()}; };
    tracer_ = runmain_get_tracer(text(scope.GetName()), text(scope.GetVersion()), text(scope.GetSchemaURL()),
                                 nullptr, 0);
  }

 private:
  template <class V>
  void set(const std::string& key, const V& value) {
    detail::OtelValue made;
    runmain_span_set_value(span_, key.data(), key.size(), &made.of(value));
  }
  using AddLater = std::function<void(runmain_span*)>;
  static AddLater kept_link(const opentelemetry::trace::SpanContext& context,
                            const opentelemetry::common::KeyValueIterable& attributes) {
    std::vector<std::pair<std::string, opentelemetry::sdk::common::OwnedAttributeValue>> kept;
    attributes.ForEachKeyValue([&](opentelemetry::nostd::string_view key,
                                   opentelemetry::common::AttributeValue value) noexcept {
      kept.emplace_back(std::string(key.data(), key.size()),
                        opentelemetry::nostd::visit(opentelemetry::sdk::common::AttributeConverter(), value));
      return true;
    });
    return [ids = detail::to_runmain(context), kept = std::move(kept)](runmain_span* span) {
      std::deque<detail::OtelValue> values;
      std::vector<runmain_attribute> all;
      for (const auto& [key, value] : kept) {
        detail::OtelValue& made = values.emplace_back();
        all.push_back({{key.data(), key.size()},
                       opentelemetry::nostd::visit([&](const auto& v) { return made.of(v); }, value)});
      }
      const runmain_link link{ids, {}, all.data(), all.size()};
      runmain_span_add_link(span, &link);
    };
  }

  runmain_span* span_ = nullptr;  // held
  const runmain_tracer* tracer_ = nullptr;
  std::string name_;
  runmain_span_context ids_{};
  runmain_span_context parent_{};
  bool has_parent_ = false;
  std::string trace_state_;
  std::uint32_t kind_ = RUNMAIN_KIND_INTERNAL;
  std::uint64_t start_ns_ = 0;
  std::uint64_t duration_ns_ = 0;
  std::vector<std::pair<std::string, opentelemetry::sdk::common::OwnedAttributeValue>> attributes_;
  std::vector<AddLater> links_;
};

class MailboxSpanProcessor final : public opentelemetry::sdk::trace::SpanProcessor {
 public:
  std::unique_ptr<opentelemetry::sdk::trace::Recordable> MakeRecordable() noexcept override {
    return std::make_unique<MailboxRecordable>();
  }
  void OnStart(opentelemetry::sdk::trace::Recordable& span,
               const opentelemetry::trace::SpanContext&) noexcept override {
    static_cast<MailboxRecordable&>(span).begin();  // MakeRecordable's
  }
  void OnEnd(std::unique_ptr<opentelemetry::sdk::trace::Recordable>&& span) noexcept override {
    if (span != nullptr) static_cast<MailboxRecordable&>(*span).end();
    span.reset();
  }
  // All that has ended is in the mailbox.
  bool ForceFlush(std::chrono::microseconds) noexcept override { return runmain_force_flush() == 0; }
  bool Shutdown(std::chrono::microseconds) noexcept override { return runmain_force_flush() == 0; }
};

}  // namespace runmain
