// Our OTLP encoding for otlp_official.py: reads lines "VERB SIGNAL ARGUMENT", answers each with a line.
//   json SIGNAL HEX       a request as JSON
//   bytes SIGNAL JSON     a request's JSON as bytes (hex)
//   check SIGNAL HEX      one item: "sound", "repaired HEX" or "fault WORDS"
//   batch SIGNAL HEX      a request's items through a Batch (hex)
//   open traces HEX       a span id: the span of a slot that a killed process had open (hex)
#include <cstring>
#include <deque>
#include <iostream>
#include <sstream>
#include <string>

#include "telemetry/batch.hpp"
#include "telemetry/encoding.hpp"
#include "telemetry/otlp_json.hpp"
#include "telemetry/otlp_wire.hpp"
#include "telemetry/reconstructed.hpp"

using namespace runmain::telemetry;

namespace {

Signal signal_of(const std::string& name) {
  if (name == "traces") return Signal::traces;
  return name == "metrics" ? Signal::metrics : Signal::logs;
}

std::string checked(Signal signal, const std::string& bytes) {
  const Checked found = check(item_message(signal), bytes);
  if (!found.valid()) return std::string("fault ") + to_text(found.fault);
  return found.sound() ? "sound" : "repaired " + to_hex(repair(item_message(signal), bytes));
}

std::string batched(Signal signal, const std::string& bytes) {
  Batch batch(signal, {.items = 1U << 20U});
  std::deque<std::string> kept;
  const Keep keep = [&](std::string text) -> std::string_view { return kept.emplace_back(std::move(text)); };
  bool all = true;
  const auto count = each_item(signal, bytes, keep, [&](const Item& item) {
    all = all && check(item_message(signal), item.bytes).valid() && batch.add(item) == Batch::Added::added;
  });
  if (!count.ok() || !all) return "fault";
  return batch.empty() ? "" : to_hex(batch.take().bytes);
}

std::string open_span(const std::string& id) {
  runmain_open_slot slot{};
  slot.state = 2;
  slot.start_unix_nano = 1000;
  std::memset(slot.trace_id, 7, sizeof slot.trace_id);
  std::memcpy(slot.span_id, id.data(), std::min(id.size(), sizeof slot.span_id));
  slot.kind = 2;
  slot.name_length = 5;
  std::memcpy(slot.name, "GET /", 5);
  bool is_span = false;
  return to_hex(*reconstructed_span(slot, {Ending::How::killed, 9, 5000}, is_span));
}

std::string answer(const std::string& verb, Signal signal, const std::string& argument) {
  if (verb == "bytes") {
    const auto bytes = from_json(request_message(signal), argument);
    return bytes ? to_hex(*bytes) : "fault " + bytes.error().message;
  }
  const auto bytes = from_hex(argument);
  if (!bytes) return "fault not hex";
  if (verb == "json") {
    const auto json = to_json(request_message(signal), *bytes);
    return json ? *json : "fault " + json.error().message;
  }
  if (verb == "check") return checked(signal, *bytes);
  if (verb == "batch") return batched(signal, *bytes);
  return verb == "open" ? open_span(*bytes) : "fault what";
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string verb;
    std::string signal;
    words >> verb >> signal;
    std::string argument;
    std::getline(words >> std::ws, argument);
    std::cout << answer(verb, signal_of(signal), argument) << std::endl;
  }
  return 0;
}
