#include "telemetry/otlp_answer.hpp"

#include <protozero/pbf_writer.hpp>

#include "telemetry/otlp_json.hpp"
#include "telemetry/schema.hpp"
#include "telemetry/utf8.hpp"

namespace runmain::telemetry {
namespace {

// google.rpc.Status without its details. Its code is an int32, which JSON has as a number.
constexpr Field kStatusFields[] = {{1, "code", FieldType::enumeration}, {2, "message", FieldType::string}};
constexpr Message kStatus{"Status", kStatusFields, 2};

const char* reason_of(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 431: return "Request Header Fields Too Large";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";
  }
}

// google.rpc.Code.
int code_of(int status) {
  switch (status) {
    case 401: return 16;  // UNAUTHENTICATED
    case 404: return 5;   // NOT_FOUND
    case 405:
    case 501:
    case 505: return 12;  // UNIMPLEMENTED
    case 408: return 4;   // DEADLINE_EXCEEDED
    case 413:
    case 414:
    case 431: return 8;   // RESOURCE_EXHAUSTED
    case 503: return 14;  // UNAVAILABLE
    default: return 3;    // INVALID_ARGUMENT
  }
}

std::string encoded(const Message& message, OtlpEncoding encoding, const std::string& bytes) {
  if (encoding == OtlpEncoding::protobuf) return bytes;
  const auto json = to_json(message, bytes);
  return json ? *json : "{}";
}

}  // namespace

const char* media_type(OtlpEncoding encoding) {
  return encoding == OtlpEncoding::json ? "application/json" : "application/x-protobuf";
}

OtlpAnswer taken_answer(OtlpEncoding encoding) {
  return {200, encoding, {}, encoding == OtlpEncoding::json ? "{}" : ""};
}

OtlpAnswer partial_answer(Signal signal, OtlpEncoding encoding, std::uint64_t rejected,
                          std::string_view message) {
  std::string partial;
  protozero::pbf_writer inner{partial};
  inner.add_int64(1, static_cast<std::int64_t>(rejected));
  inner.add_string(2, to_utf8(message));
  std::string response;
  protozero::pbf_writer{response}.add_message(1, partial);
  return {200, encoding, {}, encoded(response_message(signal), encoding, response)};
}

OtlpAnswer fault_answer(OtlpEncoding encoding, int status, std::string_view message) {
  std::string bytes;
  protozero::pbf_writer writer{bytes};
  writer.add_int32(1, code_of(status));
  writer.add_string(2, to_utf8(message));
  return {status, encoding, {}, encoded(kStatus, encoding, bytes)};
}

std::string to_bytes(const OtlpAnswer& answer, bool keeps_alive, bool head_only) {
  std::string bytes = "HTTP/1.1 " + std::to_string(answer.status) + " " + reason_of(answer.status) +
                      "\r\nContent-Type: " + media_type(answer.encoding) +
                      "\r\nContent-Length: " + std::to_string(answer.body.size()) + "\r\n" + answer.fields +
                      (keeps_alive ? "\r\n" : "Connection: close\r\n\r\n");
  if (!head_only) bytes += answer.body;
  return bytes;
}

}  // namespace runmain::telemetry
