#include "app/telemetry_config.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string_view>

#include "base/env_file.hpp"
#include "base/text.hpp"
#include "drive/launch_telemetry.hpp"
#include "os/linux/fd.hpp"

namespace runmain::app {
namespace {

constexpr std::string_view kOtlp = "OTEL_EXPORTER_OTLP_";
constexpr std::array<const char*, 3> kSignals{"TRACES", "METRICS", "LOGS"};
constexpr std::string_view kGrpcPort = ":4317";
constexpr std::size_t kNamedMax = 3;    // services that a warning names
constexpr std::size_t kShownMax = 100;  // bytes of a user's value in a warning

using Map = std::map<std::string, std::string>;

std::string lowered(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

bool is_ours(std::string_view name) { return name.starts_with("OTEL_"); }

bool is_http(const std::string& url) {
  return !telemetry::signal_url(telemetry::Signal::traces, url).empty();
}

std::string text_of(const Map& map, const std::string& name) {
  const auto found = map.find(name);
  return found == map.end() ? std::string() : found->second;
}

// Of this signal, else of all: the variable's name and value; empty: not set.
std::pair<std::string, std::string> setting(const Map& map, const std::string& signal,
                                            const std::string& option) {
  for (const std::string& name : {std::string(kOtlp) + signal + "_" + option, std::string(kOtlp) + option}) {
    if (const std::string value = text_of(map, name); !value.empty()) return {name, value};
  }
  return {};
}

// The variables of the file's tables replace those of every signal.
void set_option(Map& map, const std::string& option, const std::string& value) {
  if (value.empty()) return;
  for (const char* signal : kSignals) map.erase(std::string(kOtlp) + signal + "_" + option);
  map[std::string(kOtlp) + option] = value;
}

// What the file says.
void lay_over(const core::TelemetrySpec& spec, Map& map) {
  for (const auto& [option, value] : drive::exporter_options(spec)) set_option(map, option, value);
}

// What counts for a service. Empty is not set.
Map effective(const TelemetryService& service, const std::vector<std::string>& environment) {
  Map map;
  for (const std::string& line : environment) {
    const std::size_t equals = line.find('=');
    if (equals != std::string::npos && is_ours(line)) map[line.substr(0, equals)] = line.substr(equals + 1);
  }
  for (const auto& [name, value] : service.env) {
    if (is_ours(name)) map[name] = value;
  }
  std::erase_if(map, [](const auto& entry) { return entry.second.empty(); });
  lay_over(service.spec, map);
  return map;
}

// The specification's booleans: anything but "true" is false.
bool is_disabled(const Map& map) { return lowered(text_of(map, "OTEL_SDK_DISABLED")) == "true"; }

std::string shown(const std::string& text) { return printable(text.substr(0, kShownMax), false); }

bool at_grpc_port(const std::string& url) { return address_of(url).ends_with(kGrpcPort); }

// Where a signal goes, or why nowhere.
struct Goal {
  std::string url;
  std::string warning;
};

Goal goal_of(const Map& map, const std::string& signal) {
  if (is_disabled(map)) return {};
  if (text_of(map, "OTEL_" + signal + "_EXPORTER") == "none") return {};
  const auto [name, url] = setting(map, signal, "ENDPOINT");
  if (url.empty()) return {};
  if (!is_http(url))
    return {
        {},
        name + "=" + shown(url) + " is no http or https URL, so nothing is exported: write http://HOST:4318"};
  const auto [protocol_name, protocol] = setting(map, signal, "PROTOCOL");
  if (protocol == "grpc")
    return {{},
            protocol_name + "=grpc is not spoken, so nothing is exported to " + address_of(url) +
                ": runmain exports http/protobuf, whose port is 4318"};
  if (protocol.empty() && at_grpc_port(url))
    return {{},
            name + " has the port of gRPC, which is not spoken, so nothing is exported to " +
                address_of(url) +
                ": write port 4318, or OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf if it speaks that there"};
  return {url, {}};
}

// Whom the warnings are about, each one once.
class Warnings {
 public:
  void add(const std::string& text, const std::string& service) {
    if (text.empty()) return;
    const auto same = [&](const auto& warning) { return warning.first == text; };
    auto found = std::find_if(all_.begin(), all_.end(), same);
    if (found == all_.end()) found = all_.insert(all_.end(), {text, {}});
    if (found->second.empty() || found->second.back() != service) found->second.push_back(service);
  }

  std::vector<std::string> take() const {
    std::vector<std::string> lines;
    for (const auto& [text, services] : all_) {
      std::string names;
      for (std::size_t i = 0; i < std::min(services.size(), kNamedMax); ++i)
        names += (names.empty() ? "" : ", ") + services[i];
      if (services.size() > kNamedMax)
        names += " and " + std::to_string(services.size() - kNamedMax) + " more";
      lines.push_back(names + ": " + text);
    }
    return lines;
  }

 private:
  std::vector<std::pair<std::string, std::vector<std::string>>> all_;
};

// The destination of a service as the observer reads it; nothing if no signal goes anywhere. A signal that
// goes nowhere is said to: the specification would have it go to a default address.
std::optional<telemetry::ObserverDestination> destination_of(const Map& map, const TelemetryService& service,
                                                             Warnings& warnings) {
  telemetry::ObserverDestination out;
  Map variables;
  for (const auto& [name, value] : map) {
    if (std::string_view(name).starts_with(kOtlp)) variables[name] = value;
  }
  for (const char* signal : kSignals) {
    const Goal goal = goal_of(map, signal);
    if (!service.spec.direct) warnings.add(goal.warning, service.name);  // else it exports as it likes
    if (goal.url.empty()) {
      variables["OTEL_" + std::string(signal) + "_EXPORTER"] = "none";
    } else if (out.name.empty()) {
      out.name = address_of(goal.url);
    }
  }
  if (out.name.empty()) return std::nullopt;
  for (const auto& [name, value] : variables) out.variables.push_back(name + "=" + value);
  return out;
}

std::int32_t index_of(std::vector<telemetry::ObserverDestination>& all,
                      telemetry::ObserverDestination wanted) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].variables == wanted.variables) return static_cast<std::int32_t>(i);
  }
  all.push_back(std::move(wanted));
  return static_cast<std::int32_t>(all.size() - 1);
}

}  // namespace

TelemetryPlan plan_telemetry(const std::vector<TelemetryService>& services,
                             const std::vector<std::string>& environment) {
  TelemetryPlan plan;
  Warnings warnings;
  for (const TelemetryService& service : services) {
    telemetry::ObservedService observed{service.id, service.name, telemetry::kNoDestination};
    if (service.spec.enabled) {
      const Map map = effective(service, environment);
      if (!text_of(map, "OTEL_CONFIG_FILE").empty() && !service.spec.direct)
        warnings.add(
            "OTEL_CONFIG_FILE is set: an SDK that reads that file exports where the file says, past runmain",
            service.name);
      auto destination = destination_of(map, service, warnings);
      if (destination) observed.destination = index_of(plan.destinations, std::move(*destination));
    }
    plan.services.push_back(std::move(observed));
  }
  plan.warnings = warnings.take();
  return plan;
}

bool is_sdk_disabled(const std::vector<std::string>& environment) {
  return is_disabled(effective({}, environment));
}

Variables telemetry_variables(const core::ServiceSpec& spec) {
  Variables out;
  const auto add = [&](const std::string& name, const std::string& value) {
    if (is_ours(name)) out.emplace_back(name, value);
  };
  for (const std::string& file : spec.env_files) {
    const auto text = os::read_file(file, kEnvFileMax);
    if (!text) continue;
    for (const auto& [name, value] : parse_env_file(*text, file).variables) add(name, value);
  }
  for (const auto& [name, value] : spec.env) add(name, value);
  return out;
}

}  // namespace runmain::app
