// The environment of a program that the doctor looks at: the user's, with the probes in front and its OTLP
// pointing at us. Pure, but environment_of_process().
#pragma once

#include <map>
#include <string>
#include <vector>

namespace runmain::app {

inline constexpr const char* kDefaultEndpoint = "http://localhost:4318/v1/traces";
inline constexpr const char* kDefaultGrpcEndpoint = "http://localhost:4317";
bool is_default_endpoint(const std::string& endpoint);

using Variables = std::map<std::string, std::string>;
Variables environment_of_process();

struct DoctorEnvironment {
  std::string share;     // with python/probe and node/probe.js
  std::string folder;    // for records
  std::string endpoint;  // of our receiver, its base
  std::string header;    // NAME=VALUE
};

// "NAME=value" each. What chooses exporters and protocols stays the user's.
std::vector<std::string> environment_for(const Variables& user, const DoctorEnvironment& own);

// Where the user's environment sends traces; empty: it does not say.
std::string user_endpoint(const Variables& user);

}  // namespace runmain::app
