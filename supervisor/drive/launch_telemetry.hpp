// The part of a child's environment that telemetry has to do with: a serving child exports to the observer's
// receiver on this machine, with a token that says who it is; a helper exports nothing.
//
// What a user has set for the exporter (OTEL_EXPORTER_OTLP_…) is taken out, for it has become the observer's
// destination. Names and values are those of the OpenTelemetry specification (configuration/
// sdk-environment-variables.md, protocol/exporter.md). Invariant: pure functions over "NAME=value" lines;
// what cannot be understood stays as it is, byte by byte, and nothing that was not asked for is removed.
// Non-goal: where the observer exports to. Thread: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "core/telemetry_spec.hpp"
#include "drive/bootstrap.hpp"

namespace runmain::drive {

struct ExportTo {
  std::string receiver;      // "127.0.0.1:41234", HTTP
  std::string token;         // base/identity.hpp: otlp_token()
  std::string service;       // its name
  std::string instance_id;   // service.instance.id
  std::uint32_t worker = 0;  // the slot
  std::uint32_t generation = 0;
  bool short_delays = false;  // what ends is sent at once: a person looks at it
  Bootstrap bootstrap;        // what its Python and Node load at their start
  bool automatic = false;     // RUNMAIN_AUTO: that starts the SDK and the instrumentations
};

// For a child that serves.
void export_to_observer(std::vector<std::string>& environment, const ExportTo& to);

// Probes in front of what loads into Python and Node; they write to `folder`.
void add_probes(std::vector<std::string>& environment, const std::string& folder, const Bootstrap& bootstrap);

// For a child that serves and exports by itself: what the file says is in its environment, and replaces what
// stands there.
void export_directly(std::vector<std::string>& environment, const core::TelemetrySpec& spec);

// What the file says of the exporter, as the specification's variables, without their OTEL_EXPORTER_OTLP_ and
// of all signals: {"ENDPOINT", "https://…"}, … . What it does not say is not there.
std::vector<std::pair<std::string, std::string>> exporter_options(const core::TelemetrySpec& spec);

// For a child that helps: no exporter, and nothing that would put instrumentation into each program of
// Python, Node, Java or Ruby that it starts.
void take_telemetry_out(std::vector<std::string>& environment);

// OTEL_RESOURCE_ATTRIBUTES with these added ("key=value", encoded as needed). Pairs of the same keys are
// replaced; all other text stays as it is, good or bad. If all of it were longer than the kernel takes,
// `text`.
std::string merged_attributes(std::string_view text, const std::vector<std::string>& ours);

// Values without what a runmain has put in (bootstrap.hpp): the one in which we run.
std::string own_python_path(std::string_view value);
std::string own_node_options(std::string_view value);

// Values without what loads OpenTelemetry's instrumentation, or a runmain's bootstrap.
std::string plain_python_path(std::string_view value);
std::string plain_node_options(std::string_view value);
std::string plain_java_options(std::string_view value);
std::string plain_ruby_options(std::string_view value);

}  // namespace runmain::drive
