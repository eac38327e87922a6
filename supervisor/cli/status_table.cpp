#include "cli/status_table.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "cli/age.hpp"

namespace runmain::cli {
namespace {

using control::flag_of;
using control::Json;
using control::number_of;
using control::text_of;

constexpr std::size_t kColumns = 7;
constexpr std::size_t kState = 1;
constexpr std::array<const char*, kColumns> kTitles{"NAME", "STATE", "GEN",   "RESTARTS",
                                                    "PID",  "SINCE", "LISTEN"};
constexpr std::array<bool, kColumns> kToTheRight{false, false, true, true, true, true, false};
constexpr std::string_view kGap = "  ";

struct Row {
  std::array<std::string, kColumns> cells;
  Style state_style = Style::plain;
  std::string note;                   // on a line of its own below …
  std::vector<std::string> warnings;  // … and each of these
};

const Json& list_in(const Json& object, const char* key) {
  static const Json none = Json::array();
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_array() ? *found : none;
}

std::string joined(const Json& addresses) {
  std::string text;
  for (const Json& address : addresses) {
    if (!address.is_string()) continue;
    text += (text.empty() ? "" : ", ") + harmless(address.get<std::string>());
  }
  return text;
}

std::string count_text(const Json& object, const char* key) { return std::to_string(number_of(object, key)); }

std::string pid_text(const Json& object) {
  const auto pid = number_of(object, "pid");
  return pid > 0 ? std::to_string(pid) : "";
}

void add_note(std::string& note, const std::string& text) {
  if (!text.empty()) note += (note.empty() ? "" : "; ") + text;
}

std::string of_workers(std::int64_t some, std::int64_t all) {
  return std::to_string(some) + " of " + std::to_string(all) + (all == 1 ? " worker" : " workers");
}

// "1 of 4 workers serve, 3 are done"
std::string serving_text(const Json& service) {
  std::string text =
      of_workers(number_of(service, "serving_workers"), number_of(service, "wanted_workers")) + " serve";
  const auto done = number_of(service, "done_workers");
  if (done > 0) text += ", " + std::to_string(done) + (done == 1 ? " is done" : " are done");
  return text;
}

std::string note_of(const Json& service) {
  std::string note = harmless(text_of(service, "reason"));
  const auto retry = number_of(service, "retry_in_ms", -1);
  if (retry >= 0) add_note(note, "tried again in " + age_text(retry));
  const auto wanted = number_of(service, "wanted_workers");
  if (const auto roll = service.find("roll"); roll != service.end() && roll->is_object())
    add_note(note, of_workers(number_of(*roll, "workers"), wanted) + " at generation " +
                       count_text(*roll, "generation"));
  const auto serving = number_of(service, "serving_workers");
  if (serving > 0 && serving < wanted) add_note(note, serving_text(service));
  return note;
}

// "127.0.0.1:8000 of worker 2: 3 connections wait".
std::string waiting_text(const Json& queue) {
  const auto waiting = number_of(queue, "waiting");
  const auto slot = number_of(queue, "slot", -1);
  return harmless(text_of(queue, "address")) + (slot < 0 ? "" : " of worker " + std::to_string(slot)) + ": " +
         std::to_string(waiting) + (waiting == 1 ? " connection waits" : " connections wait");
}

// Where connections wait to be accepted; nothing where none does.
std::string note_of_queues(const Json& service) {
  std::string note;
  for (const Json& queue : list_in(service, "queues")) {
    if (flag_of(queue, "full") || number_of(queue, "waiting") <= 0) continue;
    const auto backlog = number_of(queue, "backlog", -1);
    add_note(note, waiting_text(queue) + (backlog < 0 ? "" : " (backlog " + std::to_string(backlog) + ")"));
  }
  return note;
}

std::vector<std::string> warnings_of_queues(const Json& service) {
  std::vector<std::string> warnings;
  for (const Json& queue : list_in(service, "queues")) {
    if (!flag_of(queue, "full")) continue;
    const bool is_unix = text_of(queue, "address").starts_with("unix:");
    warnings.push_back(waiting_text(queue) + ", the backlog (" + count_text(queue, "backlog") +
                       ") is full, " + (is_unix ? "clients are refused (EAGAIN)" : "further clients wait"));
  }
  return warnings;
}

// What of a worker its state does not tell.
std::string note_of_worker(const Json& worker) {
  std::string note;
  if (flag_of(worker, "frozen")) add_note(note, "stopped by a signal");
  if (const auto unwell = number_of(worker, "unwell"); unwell > 0)
    add_note(note, "not well, " + std::to_string(unwell) + " in a row");
  if (flag_of(worker, "leaving")) add_note(note, "serves until it is replaced");
  if (flag_of(worker, "drained")) add_note(note, "has answered everything");
  const auto requests = worker.find("requests");
  if (requests != worker.end() && requests->is_object()) {
    const auto open = number_of(*requests, "in_flight");
    if (open > 0)
      add_note(note, std::to_string(open) + (open == 1 ? " request" : " requests") + " in flight");
  }
  add_note(note, harmless(text_of(worker, "status")));
  return note;
}

Row worker_row(const std::string& name, const Json& worker) {
  const std::string state = text_of(worker, "state");
  const std::string proof = text_of(worker, "proof");
  const bool unproven = state == "ready" && proof == "unproven";
  Row row;
  row.cells = {"  " + name + "." + count_text(worker, "slot"),
               unproven ? state + " (unproven)" : state,
               count_text(worker, "generation"),
               "",
               pid_text(worker),
               age_text(number_of(worker, "since_ms")),
               ""};
  row.state_style = style_of_state(state);
  row.note = note_of_worker(worker);
  return row;
}

void add_service(std::vector<Row>& rows, const Json& service) {
  const std::string name = harmless(text_of(service, "name"));
  const std::string state = text_of(service, "state");
  const Json& workers = list_in(service, "workers");
  const auto build = service.find("build");
  const bool building = build != service.end() && build->is_object();
  const bool alone = workers.size() == 1 && !building;
  Row row;
  row.cells = {name,
               state,
               count_text(service, "generation"),
               count_text(service, "restarts"),
               alone ? pid_text(workers[0]) : "",
               age_text(number_of(service, "since_ms")),
               joined(list_in(service, "listen"))};
  row.state_style = style_of_state(state);
  row.note = note_of(service);
  if (alone && row.note.empty()) row.note = note_of_worker(workers[0]);
  add_note(row.note, note_of_queues(service));
  row.warnings = warnings_of_queues(service);
  rows.push_back(std::move(row));
  if (!alone) {
    for (const Json& worker : workers) rows.push_back(worker_row(name, worker));
  }
  if (building) {
    Row b;
    b.cells = {"  " + name + " build",
               text_of(*build, "state"),
               count_text(*build, "generation"),
               "",
               pid_text(*build),
               age_text(number_of(*build, "since_ms")),
               ""};
    b.state_style = Style::cyan;
    rows.push_back(std::move(b));
  }
}

std::string padded(const std::string& text, std::size_t width, bool to_the_right) {
  const std::string space(width - std::min(width, columns_of(text)), ' ');
  return to_the_right ? space + text : text + space;
}

using Widths = std::array<std::size_t, kColumns>;

// Colours are put on after the cut, so that a cut never splits one.
std::string row_text(const Row& row, const Widths& widths, bool colour, std::size_t width) {
  std::string text;
  std::size_t used = 0;
  for (std::size_t i = 0; i < kColumns; ++i) {
    std::string cell = padded(row.cells[i], widths[i], kToTheRight[i]);
    if (i + 1 == kColumns) cell = row.cells[i];
    if (i > 0) {
      if (width != 0 && used + kGap.size() >= width) break;
      text += kGap;
      used += kGap.size();
    }
    if (width != 0) cell = cut_to(cell, width - used);
    used += columns_of(cell);
    const std::size_t end = i == kState ? std::min(cell.size(), row.cells[i].size()) : 0;
    text += i == kState ? styled(cell.substr(0, end), row.state_style, colour) + cell.substr(end) : cell;
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  text += '\n';
  const std::size_t indent = row.cells[0].starts_with(' ') ? 6 : 4;
  if (width != 0 && width <= indent) return text;
  const auto add_line = [&](const std::string& note, Style style) {
    const std::string cut = cut_to(note, width == 0 ? 0 : width - indent);
    if (!note.empty()) text += std::string(indent, ' ') + styled(cut, style, colour) + '\n';
  };
  add_line(row.note, Style::dim);
  for (const std::string& warning : row.warnings) add_line(warning, Style::yellow);
  return text;
}

}  // namespace

Style style_of_state(const std::string& state) {
  if (state == "ready" || state == "done") return Style::green;
  if (state == "failed") return Style::red;
  if (state == "backoff" || state == "stopping" || state == "draining" || state == "killing" ||
      state == "retiring" || state == "hung")
    return Style::yellow;
  if (state == "stopped") return Style::dim;
  return Style::cyan;
}

std::string status_table(const Json& status, bool colour, std::size_t width) {
  std::vector<Row> rows;
  for (const Json& service : list_in(status, "services")) {
    if (service.is_object()) add_service(rows, service);
  }
  if (rows.empty()) return "no services\n";
  Row titles;
  Widths widths{};
  for (std::size_t i = 0; i < kColumns; ++i) {
    titles.cells[i] = kTitles[i];
    widths[i] = columns_of(titles.cells[i]);
    for (const Row& row : rows) widths[i] = std::max(widths[i], columns_of(row.cells[i]));
  }
  std::string text = row_text(titles, widths, false, width);
  for (const Row& row : rows) text += row_text(row, widths, colour, width);
  if (flag_of(status, "shutting_down")) text += styled("shutting down", Style::yellow, colour) + "\n";
  return text;
}

namespace {

std::string fault_of_service(const Json& service) {
  const std::string name = harmless(text_of(service, "name"));
  const std::string state = text_of(service, "state");
  const auto wanted = number_of(service, "wanted_workers");
  const auto serving = number_of(service, "serving_workers");
  const bool down = state == "stopped" || state == "done" || state == "failed";
  if (!down && serving >= wanted) return {};
  std::string fault = name + " is " + state + ", " + serving_text(service);
  const std::string reason = harmless(text_of(service, "reason"));
  return reason.empty() ? fault : fault + ": " + reason;
}

}  // namespace

std::string fault_of_status(const Json& status, const std::vector<std::string>& names) {
  if (flag_of(status, "shutting_down")) return "runmain is shutting down";
  std::string faults;
  std::vector<std::string> missing = names;
  for (const Json& service : list_in(status, "services")) {
    const std::string name = text_of(service, "name");
    const std::string state = text_of(service, "state");
    const bool named = std::erase(missing, name) > 0;
    const bool meant = names.empty() ? state != "stopped" && state != "done" : named;
    if (meant) add_note(faults, fault_of_service(service));
  }
  for (const std::string& name : missing) add_note(faults, "no service \"" + harmless(name) + "\"");
  return faults;
}

}  // namespace runmain::cli
