// What the head tells the observer (through the keeper, which does not read it): where telemetry goes, and
// which services there are. Plain values, one base/archive.hpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.hpp"

namespace runmain::telemetry {

inline constexpr std::int32_t kNoDestination = -1;
// Ids of the keeper's sockets that the observer accepts from.
inline constexpr const char* kOtlpListener = "|otlp";          // OTLP/HTTP, loopback TCP
inline constexpr const char* kObserverListener = "|observer";  // unix path RUNTIME_DIR/observer

struct ObserverDestination {
  std::string name;                    // for people: its address
  std::vector<std::string> variables;  // "OTEL_EXPORTER_OTLP_…=value", for read_endpoint()
  friend bool operator==(const ObserverDestination&, const ObserverDestination&) = default;
  template <class A>
  void fields(A& a) {
    a("name", name);
    a("variables", variables);
  }
};

struct ObservedService {
  ServiceId id{};
  std::string name;
  std::int32_t destination = kNoDestination;  // of ObserverConfig::destinations
  friend bool operator==(const ObservedService&, const ObservedService&) = default;
  template <class A>
  void fields(A& a) {
    a("id", id);
    a("name", name);
    a("destination", destination);
  }
};

struct ObserverConfig {
  std::string secret;  // the keeper's: OTLP tokens (base/identity.hpp)
  std::string folder;  // for what waits on disk; of this user only
  bool dev = true;     // short delays
  std::vector<ObserverDestination> destinations;
  std::vector<ObservedService> services;
  friend bool operator==(const ObserverConfig&, const ObserverConfig&) = default;
  template <class A>
  void fields(A& a) {
    a("secret", secret);
    a("folder", folder);
    a("dev", dev);
    a("destinations", destinations);
    a("services", services);
  }
};

}  // namespace runmain::telemetry
