// One span, log record or metric on its way: its OTLP bytes and where it comes from, as views of bytes that
// somebody else keeps. Follows opentelemetry-proto 1.x.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace runmain::telemetry {

// Numbers as in a mailbox's RUNMAIN_RECORD_REQUEST.
enum class Signal : std::uint8_t { traces, metrics, logs };
inline constexpr std::size_t kSignals = 3;

// Encoded messages: Resource, InstrumentationScope, and the addresses of their schemas. Each may be empty.
struct Origin {
  std::string_view resource;
  std::string_view resource_schema;
  std::string_view scope;
  std::string_view scope_schema;

  friend bool operator==(const Origin&, const Origin&) = default;
};

struct SpanIds {
  std::array<std::uint8_t, 16> trace{};
  std::array<std::uint8_t, 8> span{};

  friend bool operator==(const SpanIds&, const SpanIds&) = default;
  template <class A>
  void fields(A& a) {
    a("trace", trace);
    a("span", span);
  }
};

struct Item {
  Signal signal = Signal::traces;
  Origin origin;
  std::string_view bytes;      // Span, LogRecord or Metric, checked
  SpanIds ids;                 // of a span
  std::uint32_t lane = 0;      // of a mailbox
  bool reconstructed = false;  // its process died before it ended
};

}  // namespace runmain::telemetry
