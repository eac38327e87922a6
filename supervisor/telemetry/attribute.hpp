// KeyValues of our own, as OTLP has them in spans, logs, points and resources (opentelemetry-proto,
// common.proto). Invariant: texts are made UTF-8. Non-goal: values of strangers.
#pragma once

#include <cstdint>
#include <protozero/pbf_writer.hpp>
#include <string_view>

#include "telemetry/schema.hpp"
#include "telemetry/utf8.hpp"

namespace runmain::telemetry {

// An attribute in `field` of `out`; `value` writes its AnyValue.
template <class F>
void add_attribute(protozero::pbf_writer& out, std::uint32_t field, std::string_view key, F&& value) {
  protozero::pbf_writer attribute(out, field);
  attribute.add_string(kKeyValueKey, key.data(), key.size());
  protozero::pbf_writer any(attribute, kKeyValueValue);
  value(any);
}
inline void add_text(protozero::pbf_writer& out, std::uint32_t field, std::string_view key,
                     std::string_view value) {
  add_attribute(out, field, key, [&](auto& any) { any.add_string(kAnyString, to_utf8(value)); });
}
inline void add_number(protozero::pbf_writer& out, std::uint32_t field, std::string_view key,
                       std::int64_t value) {
  add_attribute(out, field, key, [&](auto& any) { any.add_int64(kAnyInt, value); });
}

}  // namespace runmain::telemetry
