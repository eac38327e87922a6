#include "cli/sentences.hpp"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <map>

#include "base/ids.hpp"
#include "cli/age.hpp"
#include "cli/status_table.hpp"
#include "cli/terminal.hpp"

namespace runmain::cli {
namespace {

using control::Json;
using control::number_of;
using control::text_of;

// A sentence after its subject: {KEY} is the data's member, {KEY:age} the same as a duration, {KEY:signal} a
// signal's name; a part in [ ] is left out when a member in it is missing or empty.
const std::map<std::string, const char*> kPatterns{
    {"service.starting", "starts[ ({reason})]"},
    {"service.waiting", "{reason}"},
    {"service.ready", "is ready, generation {generation}"},
    {"service.backed_off", "is tried again after {retry_in_ms:age}[: {reason}]"},
    {"service.failed", "is given up[: {reason}]"},
    {"service.stopping", "is asked to stop"},
    {"service.stopped", "is stopped, nothing of it is left"},
    {"service.done", "has done its work"},
    {"service.removed", "is gone from the configuration"},
    {"child.started", "was started[ as pid {pid}][ ({reason})]"},
    {"child.spawn_failed", "could not be started[: {text}]"},
    {"child.ready", "is ready after {took_ms:age}[ ({proof})][ on {address}]"},
    {"child.exited", "{text}[ (pid {pid})]"},
    {"child.stopped", "ended as asked: {text}[ (pid {pid})]"},
    {"child.not_ready", "was not ready within {limit_ms:age}[: {text}]"},
    {"child.stop_timed_out", "did not stop within {limit_ms:age} and is killed"},
    {"child.survivors_left", "left processes that could not be killed[: {survivors}]"},
    {"child.status_told", "says[: {text}]"},
    {"child.claimed", "has claimed the serving role[ ({runtime})]"},
    {"child.claim_refused", "was refused the serving role[: {reason}]"},
    {"child.watchdog_missed", "missed its watchdog, {interval_ms:age}"},
    {"reload.settling", "has changed files, waiting until they settle ({changes} so far)"},
    {"reload.building", "is being built"},
    {"reload.build_failed", "could not be built[: {text}]"},
    {"reload.starting", "starts generation {generation}[ ({reason})]"},
    {"reload.done", "is reloaded after {took_ms:age}, generation {generation}[ (ms: {parts_ms})]"},
    {"reload.failed", "could not be reloaded[: {reason}]"},
    {"child.waits", "waits at its terminal"},
    {"child.goes_on", "goes on, it does not wait at its terminal any more"},
    {"reload.waits", "waits at its terminal; {changes} changes wait with it"},
    {"reload.queued", "is reloaded once more after this one"},
    {"reload.ignored", "has changed during a start, ignored ({changes} so far)"},
    {"reload.signalled", "has changed files, signal {signal} sent to its workers"},
    {"reload.loop", "is reloaded no more by {files}, which changed after each of {reloads} starts"},
    {"upgrade.started", "is asked to be replaced[ by the programs of {folder}]"},
    {"upgrade.refused", "goes on as it was, the other programs cannot take over: {reason}"},
    {"upgrade.done", "is replaced by version {version}"},
    {"reload.step", "has generation {generation} in {slots} slots[ ({text})]"},
    {"reload.old_first", "replaces old workers first, for want of memory[: {reason}]"},
    {"reload.restored", "has the old generation back in every slot"},
    {"child.drained", "has answered all that it accepted, after {took_ms:age}"},
    {"child.recycled", "is replaced although it is well[: {reason}]"},
    {"child.frozen", "was stopped by a signal[ (pid {pid})]"},
    {"child.unwell", "is not well, {in_a_row} in a row[: {text}]"},
    {"child.starved", "is slow because others have the CPUs[: {text}]"},
    {"child.replaced", "is not well and is replaced, in {in_ms:age}[: {text}]"},
    {"child.hung", "hangs for {for_ms:age} and is ended[: {text}]"},
    {"slot.failed", "is given up, the other workers go on[: {reason}]"},
    {"service.scaled", "has {workers} workers from now on[, by {by}]"},
    {"slot.closed", "is not served any more, {connections} connections were waiting and were closed"},
    {"listener.shut", "has shut down its socket[ {address}]"},
    {"service.scale_refused", "stays at {workers} workers: it has {bounds}"},
    {"signal.passed_on", "{signal:signal} was passed on to {to}"},
    {"services.all_ready", "all services are ready ({services})"},
    {"shutdown.started", "runmain shuts down[, on {signal:signal}]"},
    {"shutdown.forced", "runmain shuts down by force[, on {signal:signal}]"},
    {"shutdown.done", "runmain has ended, status {exit_status}"},
    {"head.started", "another supervisor took over ({takeovers} before it)"},
};

bool is_worker_slot(std::int64_t slot) { return slot >= 0 && slot < std::int64_t{kHelperSlotFirst}; }

std::string subject_of(const Json& event) {
  std::string subject = harmless(text_of(event, "service"));
  if (!subject.empty() && event.contains("slot") && event["slot"].is_number_integer() &&
      is_worker_slot(number_of(event, "slot")))
    subject += "." + std::to_string(number_of(event, "slot"));
  return subject.empty() ? "" : subject + " ";
}

std::string signal_name(std::int64_t number) {
  const char* name = number > 0 && number < NSIG ? sigabbrev_np(static_cast<int>(number)) : nullptr;
  if (name != nullptr) return std::string("SIG") + name;
  return number > 0 ? "signal " + std::to_string(number) : "";
}

// The member of data, else of the event itself.
std::string member_text(const Json& event, const std::string& field) {
  const std::size_t colon = field.find(':');
  const std::string key = field.substr(0, colon);
  const std::string kind = colon == std::string::npos ? "" : field.substr(colon + 1);
  const Json none = Json::object();
  const Json& data = event.contains("data") && event["data"].is_object() ? event["data"] : none;
  const Json& holder = data.contains(key) ? data : event;
  if (!holder.contains(key)) return {};
  const Json& value = holder[key];
  if (value.is_string()) return harmless(value.get<std::string>());
  if (!value.is_number_integer()) return {};
  const auto number = value.get<std::int64_t>();
  if (kind == "age") return age_text(number);
  if (kind == "signal") return signal_name(number);
  return std::to_string(number);
}

std::string filled(const std::string& pattern, const Json& event);

// The part without its brackets, or nothing if a member is missing.
std::string optional_part(const std::string& part, const Json& event) {
  for (std::size_t at = part.find('{'); at != std::string::npos; at = part.find('{', at + 1)) {
    if (member_text(event, part.substr(at + 1, part.find('}', at) - at - 1)).empty()) return {};
  }
  return filled(part, event);
}

std::string filled(const std::string& pattern, const Json& event) {
  std::string text;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char open = pattern[i];
    if (open != '{' && open != '[') {
      text += open;
      continue;
    }
    const std::size_t end = pattern.find(open == '{' ? '}' : ']', i);
    const std::string inside = pattern.substr(i + 1, end - i - 1);
    text += open == '{' ? member_text(event, inside) : optional_part(inside, event);
    i = end;
  }
  return text;
}

// "2025-11-21T02:22:03.123456789Z" as local "03:22:03.123".
std::string time_of_day(const std::string& rfc3339) {
  std::tm utc{};
  const char* rest = strptime(rfc3339.c_str(), "%Y-%m-%dT%H:%M:%S", &utc);
  if (rest == nullptr) return "--:--:--.---";
  const std::time_t t = timegm(&utc);
  std::tm local{};
  localtime_r(&t, &local);
  char text[32];
  std::strftime(text, sizeof text, "%H:%M:%S", &local);
  return std::string(text) + (std::strlen(rest) >= 4 ? std::string(rest, 4) : ".000");
}

Style style_of_event(const std::string& type) {
  if (type.find("fail") != std::string::npos || type == "child.survivors_left" || type == "child.hung")
    return Style::red;
  if (type == "service.ready" || type == "reload.done" || type == "services.all_ready") return Style::green;
  if (type == "child.exited" || type == "service.backed_off" || type.find("timed_out") != std::string::npos ||
      type == "child.not_ready" || type == "child.watchdog_missed" || type == "child.unwell" ||
      type == "child.frozen" || type == "child.replaced" || type == "listener.shut")
    return Style::yellow;
  return Style::plain;
}

std::string to_the_right(const std::string& text, std::size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

std::string state_now(const Json& service, bool colour) {
  const std::string name = harmless(text_of(service, "name"));
  const std::string state = text_of(service, "state");
  std::string text = styled(name + ":", Style::bold, colour) + " " +
                     styled(state, style_of_state(state), colour) + " for " +
                     age_text(number_of(service, "since_ms"));
  const std::string reason = harmless(text_of(service, "reason"));
  if (!reason.empty()) text += ": " + reason;
  const auto retry = number_of(service, "retry_in_ms", -1);
  if (retry >= 0) text += "; tried again in " + age_text(retry);
  return text + "\n";
}

}  // namespace

std::string sentence_of(const Json& event) {
  const std::string type = text_of(event, "type");
  const auto found = kPatterns.find(type);
  if (found != kPatterns.end()) return subject_of(event) + filled(found->second, event);
  const std::string data = event.contains("data") ? " " + control::to_line(event["data"]) : "";
  return harmless(subject_of(event) + type + data);
}

std::string event_text(const Json& event, bool colour) {
  return styled(time_of_day(text_of(event, "time")), Style::dim, colour) + "  " +
         styled(sentence_of(event), style_of_event(text_of(event, "type")), colour) + "\n";
}

std::string why_text(const Json& answer, bool colour) {
  constexpr std::size_t kAgeWidth = 14;
  const Json none = Json::object();
  std::string text = state_now(answer.contains("service") ? answer["service"] : none, colour);
  const auto history = answer.find("history");
  if (history == answer.end() || !history->is_array() || history->empty()) return text;
  text += "\n";
  const std::int64_t now = number_of(answer, "now_ns");
  std::int64_t last_cause = -1;
  for (const Json& event : *history) {
    const auto cause = number_of(event, "cause");
    const bool follows = cause == last_cause;
    last_cause = cause;
    const std::string ago = age_text((now - number_of(event, "mono_ns")) / 1'000'000) + " ago";
    text += styled(to_the_right(follows ? "" : ago, kAgeWidth), Style::dim, colour) +
            (follows ? "   so " : "  ") +
            styled(sentence_of(event), style_of_event(text_of(event, "type")), colour) + "\n";
  }
  return text;
}

}  // namespace runmain::cli
