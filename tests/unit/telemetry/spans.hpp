// OTLP messages as tests want them, and random numbers that can be had again.
#pragma once

#include <cstdint>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "telemetry/schema.hpp"

namespace runmain::telemetry::test {

// splitmix64.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31U);
  }
  std::uint64_t below(std::uint64_t n) { return next() % n; }
  std::string bytes(std::size_t size) {
    std::string out(size, '\0');
    for (char& c : out) c = static_cast<char>(next());
    return out;
  }

 private:
  std::uint64_t state_;
};

inline std::string id16(std::uint8_t n) { return std::string(15, '\1') + static_cast<char>(n); }
inline std::string id8(std::uint64_t n) {
  std::string out(8, '\2');
  for (unsigned i = 0; i < 6; ++i) out[7 - i] = static_cast<char>(n >> (8U * i));
  return out;
}

inline std::string text_value(std::string_view text) {
  std::string out;
  protozero::pbf_writer{out}.add_string(1, text.data(), text.size());
  return out;
}

inline std::string key_value(std::string_view key, const std::string& value) {
  std::string out;
  protozero::pbf_writer w{out};
  w.add_string(1, key.data(), key.size());
  w.add_message(2, value);
  return out;
}

inline std::string attribute(std::string_view key, std::string_view text) {
  return key_value(key, text_value(text));
}

struct SpanSpec {
  std::string trace = id16(1);
  std::string span = id8(1);
  std::string name = "GET /";
  std::uint64_t start = 1000;
  std::uint64_t end = 2000;
  std::vector<std::string> attributes{};
};

inline std::string make_span(const SpanSpec& spec) {
  std::string out;
  protozero::pbf_writer w{out};
  w.add_bytes(1, spec.trace);
  w.add_bytes(2, spec.span);
  w.add_string(5, spec.name);
  w.add_enum(6, 2);
  w.add_fixed64(7, spec.start);
  w.add_fixed64(8, spec.end);
  for (const std::string& a : spec.attributes) w.add_message(9, a);
  return out;
}

inline std::string span_number(std::uint64_t n) {
  SpanSpec spec;
  spec.span = id8(n);
  spec.name = "span " + std::to_string(n);
  spec.attributes = {attribute("n", std::to_string(n))};
  return make_span(spec);
}

inline std::string make_resource(std::string_view service) {
  std::string out;
  protozero::pbf_writer{out}.add_message(1, attribute("service.name", service));
  return out;
}

inline std::string make_scope(std::string_view name) {
  std::string out;
  protozero::pbf_writer{out}.add_string(1, name.data(), name.size());
  return out;
}

// An ExportTraceServiceRequest with one resource and one scope.
inline std::string make_request(const std::string& resource, const std::string& scope,
                                const std::vector<std::string>& spans) {
  std::string scope_spans;
  protozero::pbf_writer s{scope_spans};
  for (const std::string& span : spans) s.add_message(2, span);
  s.add_message(1, scope);  // after what it is of: allowed
  std::string resource_spans;
  protozero::pbf_writer r{resource_spans};
  r.add_message(2, scope_spans);
  r.add_message(1, resource);
  std::string request;
  protozero::pbf_writer{request}.add_message(1, resource_spans);
  return request;
}

}  // namespace runmain::telemetry::test
