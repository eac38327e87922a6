// What a receiver answers: Export…ServiceResponse, and google.rpc.Status where it is none, as protobuf or as
// JSON like the request, in HTTP/1.1. Follows the OTLP specification's "OTLP/HTTP Response". Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "telemetry/item.hpp"

namespace runmain::telemetry {

enum class OtlpEncoding : std::uint8_t { protobuf, json };
const char* media_type(OtlpEncoding encoding);

struct OtlpAnswer {
  int status = 200;
  OtlpEncoding encoding = OtlpEncoding::json;
  std::string fields{};  // more header fields, each ending in "\r\n"
  std::string body{};
};

// All was taken.
OtlpAnswer taken_answer(OtlpEncoding encoding);
// Some of it was not, and is not to be sent again.
OtlpAnswer partial_answer(Signal signal, OtlpEncoding encoding, std::uint64_t rejected,
                          std::string_view message);
// `message` is for a person.
OtlpAnswer fault_answer(OtlpEncoding encoding, int status, std::string_view message);

// The whole answer; without its body for HEAD.
std::string to_bytes(const OtlpAnswer& answer, bool keeps_alive, bool head_only = false);

inline constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

}  // namespace runmain::telemetry
