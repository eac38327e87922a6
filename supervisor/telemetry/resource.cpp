#include "telemetry/resource.hpp"

#include <protozero/pbf_writer.hpp>

#include "telemetry/attribute.hpp"

namespace runmain::telemetry {
namespace {

constexpr std::uint32_t kResourceAttributes = 1;

}  // namespace

std::string own_resource(const std::string& instance_id, std::int64_t pid) {
  std::string bytes;
  protozero::pbf_writer out{bytes};
  const auto text = [&](const char* key, const std::string& value) {
    add_text(out, kResourceAttributes, key, value);
  };
  text("service.name", "runmain");
  text("service.version", RUNMAIN_VERSION);
  text("service.instance.id", instance_id);
  text("telemetry.sdk.name", "runmain");
  text("telemetry.sdk.language", "cpp");
  text("telemetry.sdk.version", RUNMAIN_VERSION);
  add_number(out, kResourceAttributes, "process.pid", pid);
  return bytes;
}

}  // namespace runmain::telemetry
