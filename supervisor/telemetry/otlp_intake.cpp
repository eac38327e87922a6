#include "telemetry/otlp_intake.hpp"

#include <array>

#include "base/identity.hpp"
#include "telemetry/gzip.hpp"
#include "telemetry/otlp_json.hpp"
#include "telemetry/otlp_wire.hpp"

namespace runmain::telemetry {
namespace {

constexpr std::array<std::string_view, kSignals> kPaths = {"/v1/traces", "/v1/metrics", "/v1/logs"};
constexpr std::array<const char*, kSignals> kItemNames = {"spans", "metrics", "log records"};

constexpr const char* kNoToken =
    "this is the receiver of runmain for the programs that it runs, and the header runmain-token is missing. "
    "runmain sets it in OTEL_EXPORTER_OTLP_HEADERS of each service: a program that sets headers of its own "
    "has to add to them. Other programs send to their own collector";
constexpr const char* kForeignToken =
    "the runmain-token is of no program of this runmain: OTEL_EXPORTER_OTLP_HEADERS was copied from another "
    "process or is older than this runmain. Start the program by runmain, or unset "
    "OTEL_EXPORTER_OTLP_HEADERS "
    "and OTEL_EXPORTER_OTLP_ENDPOINT";

OtlpRefusal refusal(OtlpRefusal::Why why, OtlpEncoding encoding, int status, std::string_view message,
                    std::string fields = {}) {
  OtlpRefusal out{why, fault_answer(encoding, status, message)};
  out.answer.fields = std::move(fields);
  return out;
}

bool is_gzip_name(std::string_view coding) { return coding == "gzip" || coding == "x-gzip"; }

bool is_no_coding(std::string_view coding) { return coding.empty() || coding == "identity"; }

Error failure(int status, std::string message) { return {std::move(message), {}, {}, status}; }

Result<std::string> unpacked(std::string_view body, std::size_t limit) {
  auto plain = gunzip(body, limit);
  if (plain) return plain;
  const std::string& fault = plain.error().message;
  return failure(fault.starts_with("more than") ? 413 : 400, "the body's gzip: " + fault);
}

// A request on its way to be an Intake, and which limit it is over.
class Taking {
 public:
  Taking(Intake& intake, const OtlpLimits& limits) : intake_(intake), limits_(limits) {}

  void add(Item item) {
    if (is_over()) return;
    const Message& message = item_message(item.signal);
    const Checked found = check(message, item.bytes);
    if (!found.valid()) {
      if (intake_.invalid == 0) intake_.fault = to_text(found.fault);
      ++intake_.invalid;
      return;
    }
    if (intake_.items.size() >= limits_.items) {
      over_ = "more than " + std::to_string(limits_.items) + " are not taken at once";
      return;
    }
    if (found.needs_repair()) {
      item.bytes = keep(repair(message, item.bytes));
      ++intake_.repaired;
    }
    item.ids = found.ids;
    intake_.items.push_back(item);
  }

  std::string_view keep(std::string text) {
    kept_bytes_ += text.size();
    if (kept_bytes_ <= limits_.repaired) return intake_.kept.emplace_back(std::move(text));
    over_ = "more than " + std::to_string(limits_.repaired) +
            " bytes with keys that are there twice or that are no UTF-8 are not taken at once";
    return {};
  }

  bool is_over() const { return !over_.empty(); }
  const std::string& over() const { return over_; }

 private:
  Intake& intake_;
  const OtlpLimits& limits_;
  std::size_t kept_bytes_ = 0;
  std::string over_;
};

}  // namespace

std::variant<OtlpCall, OtlpRefusal> judge_head(const HttpRequest& request, std::string_view secret) {
  using Why = OtlpRefusal::Why;
  const bool is_json = request.content_type == "application/json";
  const bool is_protobuf = request.content_type == "application/x-protobuf";
  const OtlpEncoding encoding = is_protobuf ? OtlpEncoding::protobuf : OtlpEncoding::json;
  const auto owner = owner_of_otlp_token(secret, request.token);
  if (!owner) {
    return refusal(request.has_token ? Why::foreign_token : Why::no_token, encoding, 401,
                   request.has_token ? kForeignToken : kNoToken, "WWW-Authenticate: runmain-token\r\n");
  }
  OtlpCall call{*owner, Signal::traces, encoding, is_gzip_name(request.content_encoding)};
  std::size_t signal = 0;
  while (signal < kSignals && kPaths[signal] != request.path) ++signal;
  if (signal == kSignals) {
    return refusal(Why::path, encoding, 404, "there is /v1/traces, /v1/metrics and /v1/logs");
  }
  call.signal = static_cast<Signal>(signal);
  if (request.method != "POST") return refusal(Why::method, encoding, 405, "POST it", "Allow: POST\r\n");
  if (!is_json && !is_protobuf) {
    return refusal(Why::media, encoding, 415, "Content-Type is application/x-protobuf or application/json",
                   "Accept: application/x-protobuf, application/json\r\n");
  }
  if (!call.is_gzip && !is_no_coding(request.content_encoding)) {
    return refusal(Why::media, encoding, 415, "Content-Encoding is gzip or none",
                   "Accept-Encoding: gzip\r\n");
  }
  return call;
}

Result<std::unique_ptr<Intake>> take_in(const OtlpCall& call, std::string body, const OtlpLimits& limits) {
  auto intake = std::make_unique<Intake>();
  if (call.is_gzip) {
    auto plain = unpacked(body, limits.body);
    if (!plain) return plain.error();
    intake->bytes = std::move(*plain);
    std::string().swap(body);
  } else {
    intake->bytes = std::move(body);
  }
  if (call.encoding == OtlpEncoding::json) {
    auto bytes = from_json(request_message(call.signal), intake->bytes, limits.body);
    if (!bytes) return failure(bytes.error().code == 413 ? 413 : 400, bytes.error().message);
    intake->bytes = std::move(*bytes);
  }
  Taking taking(*intake, limits);
  const auto count = each_item(
      call.signal, intake->bytes, [&](std::string text) { return taking.keep(std::move(text)); },
      [&](const Item& item) { taking.add(item); });
  if (!count) return failure(400, count.error().message);
  if (taking.is_over()) return failure(413, taking.over());
  return intake;
}

OtlpAnswer answer_of(const OtlpCall& call, const Intake& intake) {
  if (intake.invalid == 0) return taken_answer(call.encoding);
  const std::string message =
      std::to_string(intake.invalid) + " of " + std::to_string(intake.invalid + intake.items.size()) + " " +
      kItemNames[static_cast<std::size_t>(call.signal)] + " cannot be taken; the first one: " + intake.fault;
  // Of metrics it is their number, as data points of what cannot be read cannot be counted.
  if (!intake.items.empty()) return partial_answer(call.signal, call.encoding, intake.invalid, message);
  return fault_answer(call.encoding, 400, message);
}

}  // namespace runmain::telemetry
