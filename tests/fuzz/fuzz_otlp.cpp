// Any bytes as OTLP: refused, or sound after the repair; as JSON, and the way back; as a request and as an
// answer.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <string>

#include "telemetry/batch.hpp"
#include "telemetry/gzip.hpp"
#include "telemetry/otlp_json.hpp"
#include "telemetry/otlp_wire.hpp"

using namespace runmain::telemetry;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

void as_messages(std::string_view bytes) {
  for (const Message* message : {&kSpan, &kMetric, &kLogRecord, &kResource, &kScope, &kAnyValue}) {
    const Checked found = check(*message, bytes);
    if (!found.valid()) continue;
    const std::string fixed = repair(*message, bytes);
    must(check(*message, fixed).sound());
    must(found.needs_repair() || fixed == bytes);
    if (const auto json = to_json(*message, fixed)) must(from_json(*message, *json).ok());
  }
}

void as_request(Signal signal, std::string_view bytes) {
  std::deque<std::string> kept;
  const Keep keep = [&](std::string text) -> std::string_view { return kept.emplace_back(std::move(text)); };
  Batch batch(signal, {.items = 1U << 20U});
  (void)each_item(signal, bytes, keep, [&](const Item& item) {
    must(check(kResource, item.origin.resource).sound() && check(kScope, item.origin.scope).sound());
    Item fixed = item;
    if (!check(item_message(signal), item.bytes).valid()) return;
    fixed.bytes = kept.emplace_back(repair(item_message(signal), item.bytes));
    (void)batch.add(fixed);
  });
  if (!batch.empty()) must(check(request_message(signal), batch.take().bytes).sound());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  as_messages(bytes);
  for (const Signal signal : {Signal::traces, Signal::metrics, Signal::logs}) {
    as_request(signal, bytes);
    if (const auto made = from_json(request_message(signal), bytes)) {
      const auto json = to_json(request_message(signal), *made);
      must(json.ok());
      const auto again = from_json(request_message(signal), *json);
      must(again.ok() && to_json(request_message(signal), *again).value() == *json);
    }
  }
  (void)read_partial_success(bytes);
  (void)status_message(bytes);
  if (const auto plain = gunzip(bytes, 1U << 20U)) must(plain->size() <= 1U << 20U);
  return 0;
}
