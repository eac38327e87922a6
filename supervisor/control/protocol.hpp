// What is said on the control socket, and its bounds.
//
// One JSON object a line. Request {"v":1,"id":…,"verb":…,"args":{…}}; `id` is a number or a short text that
// comes back. Answer {"id":…,"ok":{…}} or {"id":…,"error":{"code":…,"message":…,"at":…,"hint":…}}. logs and
// events send any number of {"id":…,"item":{…}} before it. One request at a time: the next line is read when
// the last is answered.
//
// An error of start, restart, reload and scale may carry `output`: the last lines of what failed, as items of
// logs.
//
// Verbs: status; start, stop, restart {services}; reload {services, canary, wait, doctor}; scale {services,
// workers}; signal {services, signal}; down; apply; logs {services, follow, lines, since}; events {follow};
// why {service}; explain {paths}; wait {timeout_ms}; ping. Non-goal: other users; only the owner and root may
// speak here.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/result.hpp"

namespace runmain::control {

// Keeps the order in which keys were put in.
using Json = nlohmann::ordered_json;

inline constexpr int kProtocolVersion = 1;
inline constexpr std::size_t kRequestMax = 64U << 10U;  // bytes of a request line
inline constexpr std::size_t kPendingMax = 1U << 20U;   // bytes of a stream that wait for a slow reader
inline constexpr std::size_t kAnswerMax = 64U << 20U;   // bytes of one line that a client takes
inline constexpr std::size_t kClientsMax = 64;          // connections
inline constexpr std::size_t kIdMax = 64;               // bytes of a request's id
inline constexpr int kNestingMax = 16;                  // of arrays and objects in a line
inline constexpr std::size_t kServicesMax = 4096;       // names in one request
inline constexpr std::size_t kPathsMax = 256;           // paths in one request
inline constexpr std::size_t kLinesMax = 5000;          // log lines from before the request
inline constexpr std::size_t kLinesDefault = 100;
inline constexpr std::size_t kFactsKept = 512;           // facts that `events` knows from before the request
inline constexpr std::size_t kLastWordsMax = 20;         // lines of one service in an error's output
inline constexpr std::size_t kLastWordsServicesMax = 4;  // services in it
inline constexpr std::chrono::seconds kRequestDeadline{10};    // a request line is complete by then
inline constexpr std::chrono::seconds kIdleMax{60};            // between an answer and the next request
inline constexpr std::chrono::seconds kStalledMax{30};         // nothing of an answer was taken for so long
inline constexpr std::chrono::milliseconds kAcceptPause{100};  // after accept(2) found no free fd

// Values of error.code.
inline constexpr const char* kBadRequest = "bad_request";
inline constexpr const char* kUnknownVerb = "unknown_verb";
inline constexpr const char* kUnknownService = "unknown_service";
inline constexpr const char* kFailed = "failed";
inline constexpr const char* kTimedOut = "timed_out";
inline constexpr const char* kBusy = "busy";
inline constexpr const char* kConfiguration = "configuration";

// One line of JSON without its newline. Bytes that are not UTF-8 become U+FFFD. Never fails.
inline std::string to_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// One line of JSON, discarded (is_object() is false) if it is none or nested deeper than kNestingMax: copies
// and dumps of a value take stack for each level. Never throws.
inline Json from_line(const std::string& line) {
  bool too_deep = false;
  const auto callback = [&too_deep](int depth, Json::parse_event_t, Json&) {
    too_deep = too_deep || depth > kNestingMax;
    return !too_deep;
  };
  Json json = Json::parse(line, callback, false);
  return too_deep ? Json(Json::value_t::discarded) : json;
}

// Reads of hostile JSON: the member if it is there and of that type, else the fallback.
inline std::string text_of(const Json& object, const char* key, const std::string& fallback = {}) {
  if (!object.is_object()) return fallback;
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : fallback;
}
inline std::int64_t number_of(const Json& object, const char* key, std::int64_t fallback = 0) {
  if (!object.is_object()) return fallback;
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : fallback;
}
inline bool flag_of(const Json& object, const char* key) {
  if (!object.is_object()) return false;
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace runmain::control
