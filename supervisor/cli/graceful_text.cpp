#include "cli/graceful_text.hpp"

#include "cli/terminal.hpp"

namespace runmain::cli {
namespace {

using control::Json;

constexpr std::size_t kTrialColumns = 11;

std::string text(const Json& json, const char* key) { return harmless(control::text_of(json, key)); }

const Json& list(const Json& json, const char* key) {
  static const Json kNone = Json::array();
  if (!json.is_object()) return kNone;
  const auto found = json.find(key);
  return found != json.end() && found->is_array() ? *found : kNone;
}

std::string time_text(std::int64_t ms) {
  if (ms < 1000) return std::to_string(ms) + " ms";
  return std::to_string(ms / 1000) + "." + std::to_string(ms % 1000 / 100) + " s";
}

// "55 ms", "40 to 55 ms"; empty where there is none.
std::string range_text(const Json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  if (found == json.end() || !found->is_object()) return {};
  const auto least = control::number_of(*found, "least");
  const auto most = control::number_of(*found, "most");
  return least == most ? time_text(most) : time_text(least) + " to " + time_text(most);
}

std::string counted(std::int64_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

std::string trial_text(const Json& trial) {
  std::string line;
  const auto add = [&](const std::string& words) { line += (line.empty() ? "" : ", ") + words; };
  const auto outcomes = trial.is_object() ? trial.find("outcomes") : trial.end();
  if (const auto reloads = control::number_of(trial, "reloads"); reloads > 0) add(counted(reloads, "reload"));
  if (const auto requests = control::number_of(trial, "requests"); requests > 0) {
    const auto answered = outcomes == trial.end() ? 0 : control::number_of(*outcomes, "answered");
    add(std::to_string(answered) + " of " + counted(requests, "request") + " answered");
  }
  if (const auto errors = control::number_of(trial, "errors"); errors > 0)
    add(counted(errors, "error") + " of the server");
  if (const auto slowest = control::number_of(trial, "slowest_ms"); slowest > 0)
    add("slowest " + time_text(slowest));
  if (const std::string drains = range_text(trial, "drain_ms"); !drains.empty()) add("drains of " + drains);
  return line;
}

void add_finding(std::string& out, const Json& finding, std::size_t n, bool colour, std::size_t width) {
  out += styled(std::to_string(n) + ". " + text(finding, "title"), Style::red, colour) + "\n";
  out += styled("   " + text(finding, "cause"), Style::dim, colour) + "\n";
  out += wrapped(text(finding, "contract") + ".", "   The contract: ", width);
  for (const Json& one : list(finding, "evidence")) {
    if (one.is_string()) out += wrapped(harmless(one.get<std::string>()), "   - ", width);
  }
  out += styled(wrapped(text(finding, "fix"), "   Mend it: ", width), Style::green, colour) + "\n";
}

}  // namespace

std::string graceful_text(const Json& report, bool colour, std::size_t width) {
  std::string out;
  for (const Json& trial : list(report, "trials")) {
    std::string name = text(trial, "trial");
    name.resize(std::max(name.size(), kTrialColumns), ' ');
    out += styled("  " + name, Style::bold, colour) + trial_text(trial) + "\n";
  }
  const std::string starts = range_text(report, "start_ms");
  const std::string drains = range_text(report, "drain_ms");
  if (!starts.empty())
    out += "Ready after " + starts + (drains.empty() ? "" : ", gone after " + drains) + ".\n";
  out += "\n";
  const Json& findings = list(report, "findings");
  std::size_t n = 0;
  for (const Json& finding : findings) add_finding(out, finding, ++n, colour, width);
  for (const Json& note : list(report, "notes")) {
    if (note.is_string()) out += wrapped(harmless(note.get<std::string>()) + ".", "Note: ", width) + "\n";
  }
  for (const Json& line : list(report, "output")) {
    if (line.is_string())
      out += styled("  | " + harmless(line.get<std::string>()), Style::dim, colour) + "\n";
  }
  if (!findings.empty()) {
    out += counted(static_cast<std::int64_t>(findings.size()), "part") + " of the contract broken.\n";
  } else if (report.is_object() && report.find("fault") == report.end()) {
    out += styled("All of the contract is kept.", Style::green, colour) + "\n";
  }
  return out;
}

}  // namespace runmain::cli
