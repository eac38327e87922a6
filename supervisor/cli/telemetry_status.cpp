#include "cli/telemetry_status.hpp"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "cli/observer_link.hpp"
#include "cli/terminal.hpp"
#include "control/client.hpp"

namespace runmain::cli {
namespace {

using control::Json;
using control::number_of;
using control::text_of;

constexpr std::size_t kLinesMax = 200;     // of ledgers; the newest generations of each service come last
constexpr std::size_t kImbalancesMax = 3;  // named in a line; the others are counted

const Json& list_in(const Json& object, const char* key) {
  static const Json none = Json::array();
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_array() ? *found : none;
}

// Of all workers of a generation, or of several.
struct Sum {
  bool lives = false;  // some worker does
  std::int64_t ended = 0;
  std::int64_t reconstructed = 0;
  std::int64_t exported = 0;
  std::int64_t rejected = 0;
  std::int64_t dropped = 0;
  std::int64_t duplicates = 0;
  std::int64_t waiting = 0;
  std::map<std::string, std::int64_t> reasons;  // of `dropped`
  std::vector<std::string> imbalances;

  std::int64_t gone() const { return exported + rejected + dropped + duplicates + waiting; }
};

// A number, or an object of numbers by reason.
void add_dropped(const Json& ledger, Sum& sum) {
  sum.dropped += number_of(ledger, "dropped");
  const auto found = ledger.find("dropped");
  if (found == ledger.end() || !found->is_object()) return;
  for (const auto& [reason, count] : found->items()) {
    if (!count.is_number_integer() || count.get<std::int64_t>() == 0) continue;
    sum.dropped += count.get<std::int64_t>();
    sum.reasons[reason] += count.get<std::int64_t>();
  }
}

void add(const Json& ledger, Sum& sum) {
  sum.lives = sum.lives || !control::flag_of(ledger, "over");
  sum.ended += number_of(ledger, "ended");
  sum.reconstructed += number_of(ledger, "reconstructed");
  sum.exported += number_of(ledger, "exported");
  sum.rejected += number_of(ledger, "rejected");
  sum.duplicates += number_of(ledger, "duplicates");
  sum.waiting += number_of(ledger, "waiting");
  add_dropped(ledger, sum);
  if (const std::string imbalance = text_of(ledger, "imbalance"); !imbalance.empty()) {
    // A sum of workers that are gone has no number.
    const std::string who = control::flag_of(ledger, "folded")
                                ? "workers before"
                                : "worker " + std::to_string(number_of(ledger, "slot"));
    sum.imbalances.push_back(who + ": " + harmless(imbalance));
  }
}

void add(const Sum& generation, std::int64_t number, Sum& sum) {
  sum.ended += generation.ended;
  sum.reconstructed += generation.reconstructed;
  sum.exported += generation.exported;
  sum.rejected += generation.rejected;
  sum.dropped += generation.dropped;
  sum.duplicates += generation.duplicates;
  sum.waiting += generation.waiting;
  for (const auto& [reason, count] : generation.reasons) sum.reasons[reason] += count;
  for (const std::string& imbalance : generation.imbalances)
    sum.imbalances.push_back("generation " + std::to_string(number) + " " + imbalance);
}

// "12 ended + 1 cut off = 10 exported + 2 dropped (ring full 2) + 1 waiting"
std::string equation(const Sum& sum) {
  std::string text = std::to_string(sum.ended) + " ended";
  if (sum.reconstructed > 0) text += " + " + std::to_string(sum.reconstructed) + " cut off";
  std::string right;
  const auto term = [&](std::int64_t count, const std::string& word) {
    if (count > 0) right += (right.empty() ? "" : " + ") + std::to_string(count) + " " + word;
  };
  term(sum.exported, "exported");
  term(sum.rejected, "rejected");
  std::string reasons;
  for (const auto& [reason, count] : sum.reasons)
    reasons += (reasons.empty() ? "" : ", ") + harmless(reason) + " " + std::to_string(count);
  term(sum.dropped, "dropped" + (reasons.empty() ? "" : " (" + reasons + ")"));
  term(sum.duplicates, "come twice");
  // What has ended and was not read yet waits in the mailbox.
  const std::int64_t unread = sum.imbalances.empty() ? sum.ended + sum.reconstructed - sum.gone() : 0;
  term(sum.waiting + std::max<std::int64_t>(0, unread), "waiting");
  return text + (right.empty() ? "" : " = " + right);
}

Style style_of(const Sum& sum) {
  if (!sum.imbalances.empty()) return Style::red;
  return sum.dropped > 0 || sum.rejected > 0 ? Style::yellow : Style::plain;
}

std::string line_of(const std::string& who, const Sum& sum) {
  std::string line = "  " + harmless(who) + ": " + equation(sum);
  const std::size_t named = std::min(sum.imbalances.size(), kImbalancesMax);
  for (std::size_t i = 0; i < named; ++i)
    line += (i == 0 ? "; does not balance: " : "; ") + sum.imbalances[i];
  const std::size_t more = sum.imbalances.size() - named;
  return more == 0 ? line : line + " and " + std::to_string(more) + " more";
}

// A line for each generation that lives; those before it are one line a service.
void add_ledgers(const Json& telemetry, bool colour, std::size_t width, std::string& text) {
  std::map<std::string, std::map<std::int64_t, Sum>> services;
  for (const Json& ledger : list_in(telemetry, "ledgers")) {
    if (const std::string service = text_of(ledger, "service"); !service.empty())
      add(ledger, services[service][number_of(ledger, "generation")]);
  }
  std::vector<std::pair<std::string, Sum>> lines;
  for (const auto& [service, generations] : services) {
    Sum earlier;
    std::size_t folded = 0;
    for (const auto& [number, sum] : generations) {
      if (sum.lives) continue;
      add(sum, number, earlier);
      ++folded;
    }
    if (folded > 0) lines.emplace_back(service + ", earlier generations", earlier);
    for (const auto& [number, sum] : generations) {
      if (sum.lives) lines.emplace_back(service + "@" + std::to_string(number), sum);
    }
  }
  const std::size_t left_out = lines.size() - std::min(lines.size(), kLinesMax);
  if (left_out > 0) text += "  " + std::to_string(left_out) + " older ones are not shown\n";
  for (std::size_t i = left_out; i < lines.size(); ++i) {
    const auto& [who, sum] = lines[i];
    text += styled(cut_to(line_of(who, sum), width), style_of(sum), colour) + "\n";
  }
}

// Of one destination, which has a queue for each signal.
struct Queues {
  std::vector<std::string> failing;  // signals, each once
  std::string fault;
  std::int64_t items = 0;
  std::int64_t in_memory = 0;  // the disk did not take them
  std::int64_t spilled = 0;
};

std::string text_of_queues(const Queues& queues) {
  std::string text;
  for (const std::string& signal : queues.failing) text += (text.empty() ? ": fails (" : ", ") + signal;
  if (!queues.failing.empty()) text += "), is tried again";
  if (queues.items > 0) text += (text.empty() ? ": " : ", ") + std::to_string(queues.items) + " queued";
  if (queues.in_memory > 0)
    text += (text.empty() ? ": " : ", ") + std::to_string(queues.in_memory) + " in memory only";
  if (queues.spilled > 0)
    text += (text.empty() ? ": " : ", ") + std::to_string((queues.spilled + 1023) / 1024) + " KiB on disk";
  if (!queues.fault.empty()) text += (text.empty() ? ": " : "; ") + queues.fault;
  return text;
}

void add_destinations(const Json& telemetry, bool colour, std::size_t width, std::string& text) {
  std::map<std::string, Queues> all;
  for (const Json& destination : list_in(telemetry, "destinations")) {
    const std::string name = harmless(text_of(destination, "name"));
    if (name.empty()) continue;
    Queues& queues = all[name];
    const std::string signal = harmless(text_of(destination, "signal", "all signals"));
    const bool known =
        std::find(queues.failing.begin(), queues.failing.end(), signal) != queues.failing.end();
    if (control::flag_of(destination, "failing") && !known) queues.failing.push_back(signal);
    if (const std::string fault = text_of(destination, "fault"); !fault.empty())
      queues.fault = harmless(fault);
    queues.items += number_of(destination, "queued_items");
    queues.in_memory += number_of(destination, "memory_items");
    queues.spilled += number_of(destination, "spilled_bytes");
  }
  for (const auto& [name, queues] : all) {
    const bool bad = !queues.failing.empty() || !queues.fault.empty();
    text += styled(cut_to("  to " + name + text_of_queues(queues), width), bad ? Style::red : Style::dim,
                   colour) +
            "\n";
  }
}

const Json& object_in(const Json& object, const char* key) {
  static const Json none = Json::object();
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_object() ? *found : none;
}

// Of what no ledger knows, where there is any.
void add_losses(const Json& telemetry, bool colour, std::size_t width, std::string& text) {
  const auto add = [&](std::int64_t count, const char* what) {
    if (count <= 0) return;
    text += styled(cut_to("  " + std::to_string(count) + " " + what, width), Style::red, colour) + "\n";
  };
  const Json& counters = object_in(telemetry, "counters");
  add(number_of(counters, "mailboxes_not_made"), "times a worker got no mailbox: what it told is lost");
  add(number_of(counters, "mailboxes_lost"), "mailboxes went unread, as there were too many");
  const Json& own = object_in(telemetry, "own_telemetry_lost");
  add(number_of(own, "spans"), "spans of runmain itself are lost: too much was in progress");
  add(number_of(own, "logs_and_metrics"),
      "logs and metrics of runmain itself are lost: its mailbox was full");
}

}  // namespace

std::optional<Json> ask_telemetry(const std::string& path) {
  const Time limit = control::deadline_after(kObserverPatience);
  auto link = ObserverLink::connect(path, limit);
  if (!link.ok() || !link->ask(Json{{"v", 1}, {"verb", "status"}}, limit)) return std::nullopt;
  const auto answer = link->next(limit);
  if (!answer.ok() || !control::flag_of(*answer, "ok")) return std::nullopt;
  Json telemetry = *answer;
  telemetry.erase("v");
  telemetry.erase("ok");
  return telemetry;
}

std::string telemetry_text(const Json& telemetry, bool colour, std::size_t width) {
  std::string text;
  add_ledgers(telemetry, colour, width, text);
  add_destinations(telemetry, colour, width, text);
  add_losses(telemetry, colour, width, text);
  return text.empty() ? text : "\n" + cut_to("TELEMETRY", width) + "\n" + text;
}

}  // namespace runmain::cli
