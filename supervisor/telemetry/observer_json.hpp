// The lines of the observer's socket, each with its newline.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "telemetry/observer.hpp"

namespace runmain::telemetry {

std::string status_line(const ObserverStatus& status);
std::string span_line(const StoredSpan& span);
std::string fact_line(const ObserverFact& fact);
// `kept`: spans were kept before somebody asked.
std::string end_line(bool kept = true);
std::string error_line(std::string_view why);

struct ObserverRequest {
  std::string verb;
  TraceQuery query;
  bool follow = false;
};
// Nothing if this is no request; `why` says what is wrong.
std::optional<ObserverRequest> parse_request(std::string_view line, const char*& why);

}  // namespace runmain::telemetry
