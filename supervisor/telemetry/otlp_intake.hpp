// What a request of OTLP/HTTP is: whether its head is one that we take, and its body as items.
//
// Invariant: every Item is sound OTLP; what is not is counted, with a reason. Bytes and items grow to
// OtlpLimits at most. No exception leaves. Pure. Non-goal: sockets.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ids.hpp"
#include "base/result.hpp"
#include "telemetry/item.hpp"
#include "telemetry/otlp_answer.hpp"
#include "telemetry/otlp_http.hpp"

namespace runmain::telemetry {

struct OtlpLimits {
  std::size_t body = 64U << 20U;      // what a client may send at once, decompressed
  std::size_t items = 256U << 10U;    // an empty log record is two bytes and valid
  std::size_t repaired = 32U << 20U;  // bytes of what had to be, as a bad byte becomes three
};

// A request whose head is right.
struct OtlpCall {
  ChildKey worker;
  Signal signal = Signal::traces;
  OtlpEncoding encoding = OtlpEncoding::protobuf;
  bool is_gzip = false;
};

// Why a head is refused. The body is of no interest then.
struct OtlpRefusal {
  enum class Why : std::uint8_t { no_token, foreign_token, path, method, media };
  Why why = Why::path;
  OtlpAnswer answer;
};

// Whose request it is, by its token, and what for. The token is looked at first: strangers learn nothing
// else.
std::variant<OtlpCall, OtlpRefusal> judge_head(const HttpRequest& request, std::string_view secret);

// A body's items: views of `bytes` and `kept`, which stay where they are.
struct Intake {
  std::vector<Item> items;
  std::uint64_t invalid = 0;   // spans, log records or metrics that are not in `items`
  std::uint64_t repaired = 0;  // of `items`
  std::string fault;           // of the first invalid one
  std::string bytes;
  std::deque<std::string> kept;
};

// What is to be answered once the items are kept.
OtlpAnswer answer_of(const OtlpCall& call, const Intake& intake);

// On failure nothing of it can be read: `code` is the status to answer with (400, 413).
Result<std::unique_ptr<Intake>> take_in(const OtlpCall& call, std::string body,
                                        const OtlpLimits& limits = {});

}  // namespace runmain::telemetry
