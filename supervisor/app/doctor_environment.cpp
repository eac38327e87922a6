#include "app/doctor_environment.hpp"

#include <unistd.h>

#include <cstring>

extern char** environ;

namespace runmain::app {
namespace {

constexpr const char* kBatchDelayMs = "200";  // so that nobody waits 5 s for each look

std::string value_of(const Variables& variables, const std::string& name) {
  const auto found = variables.find(name);
  return found == variables.end() ? std::string() : found->second;
}

void in_front(Variables& variables, const std::string& name, const std::string& value, char between) {
  const std::string before = value_of(variables, name);
  variables[name] = before.empty() ? value : value + between + before;
}

}  // namespace

bool is_default_endpoint(const std::string& endpoint) {
  return endpoint == kDefaultEndpoint || endpoint == kDefaultGrpcEndpoint || endpoint == "localhost:4317" ||
         endpoint == "http://localhost:4318";
}

Variables environment_of_process() {
  Variables variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const char* equals = std::strchr(*entry, '=');
    if (equals != nullptr)
      variables.emplace(std::string(static_cast<const char*>(*entry), equals), equals + 1);
  }
  return variables;
}

std::string user_endpoint(const Variables& user) {
  if (const std::string traces = value_of(user, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"); !traces.empty())
    return traces;
  std::string base = value_of(user, "OTEL_EXPORTER_OTLP_ENDPOINT");
  if (base.empty()) return base;
  std::string protocol = value_of(user, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL");
  if (protocol.empty()) protocol = value_of(user, "OTEL_EXPORTER_OTLP_PROTOCOL");
  if (protocol == "grpc") return base;
  return base + (base.back() == '/' ? "v1/traces" : "/v1/traces");
}

std::vector<std::string> environment_for(const Variables& user, const DoctorEnvironment& own) {
  Variables variables = user;
  for (const char* name : {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                           "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                           "OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
                           // A doctor inside of a service of runmain looks at a program of its own.
                           "RUNMAIN_TOKEN", "RUNMAIN_CHANNEL", "RUNMAIN_HELD", "RUNMAIN_AUTO"})
    variables.erase(name);
  variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = own.endpoint;
  variables["OTEL_EXPORTER_OTLP_HEADERS"] = own.header;
  variables.try_emplace("OTEL_BSP_SCHEDULE_DELAY", kBatchDelayMs);
  variables["RUNMAIN_DOCTOR"] = own.folder;
  variables["RUNMAIN_DOCTOR_ENDPOINT"] = own.endpoint;
  variables["RUNMAIN_DOCTOR_HEADERS"] = own.header;
  const std::string python = own.share + "/python/probe";
  const std::string node = own.share + "/node/probe.js";
  if (access(python.c_str(), R_OK) == 0) in_front(variables, "PYTHONPATH", python, ':');
  // Outside of quotes Node splits at blanks.
  if (access(node.c_str(), R_OK) == 0) in_front(variables, "NODE_OPTIONS", "--require \"" + node + "\"", ' ');
  std::vector<std::string> all;
  for (const auto& [name, value] : variables) all.push_back(name + "=" + value);
  return all;
}

}  // namespace runmain::app
