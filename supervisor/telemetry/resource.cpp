#include "telemetry/resource.hpp"

#include <protozero/pbf_writer.hpp>

#include "telemetry/schema.hpp"

namespace runmain::telemetry {
namespace {

constexpr std::uint32_t kResourceAttributes = 1;

template <class F>
void add(protozero::pbf_writer& out, const char* key, F&& value) {
  protozero::pbf_writer attribute(out, kResourceAttributes);
  attribute.add_string(kKeyValueKey, key);
  protozero::pbf_writer any(attribute, kKeyValueValue);
  value(any);
}

}  // namespace

std::string own_resource(const std::string& instance_id, std::int64_t pid) {
  std::string bytes;
  protozero::pbf_writer out{bytes};
  const auto text = [&](const char* key, const std::string& value) {
    add(out, key, [&](auto& any) { any.add_string(kAnyString, value); });
  };
  text("service.name", "runmain");
  text("service.version", RUNMAIN_VERSION);
  text("service.instance.id", instance_id);
  text("telemetry.sdk.name", "runmain");
  text("telemetry.sdk.language", "cpp");
  text("telemetry.sdk.version", RUNMAIN_VERSION);
  add(out, "process.pid", [&](auto& any) { any.add_int64(kAnyInt, pid); });
  return bytes;
}

}  // namespace runmain::telemetry
