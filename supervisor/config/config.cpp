#include "config/config.hpp"

#include <cstdlib>
#include <filesystem>

#include "config/checks.hpp"
#include "config/read_file.hpp"
#include "config/report.hpp"
#include "config/service_reader.hpp"
#include "config/source.hpp"
#include "config/table.hpp"
#include "config/telemetry_reader.hpp"
#include "config/text.hpp"
#include "config/toml_reader.hpp"

namespace runmain::config {
namespace {

namespace fs = std::filesystem;

std::string absolute_path(const std::string& path) {
  std::error_code fault;
  const fs::path whole = fs::absolute(path, fault);
  return (fault ? fs::path(path) : whole).lexically_normal().string();
}

Faults one_fault(Error error, const std::string& path, std::string text = {}) {
  Faults out;
  out.faults.push_back(std::move(error));
  out.file = path;
  out.text = std::move(text);
  return out;
}

// A key of a service at the top of the file, before any [service.NAME].
std::string hint_for_top_key(const Node& item) {
  static const std::vector<std::string> kServiceKeys = {
      "command",  "listen", "port", "workers", "watch", "ready",  "stop", "restart", "depends_on",
      "env_file", "env",    "cwd",  "balance", "roll",  "health", "hang", "recycle"};
  const std::string guess = nearest(item.key, kServiceKeys);
  if (guess == item.key) return "write it below a line [service.NAME]";
  if (!guess.empty()) return "did you mean " + quote(guess) + "? It belongs below a line [service.NAME]";
  return {};
}

void read_mode(Reading& reading, Table& top, const LoadOptions& options) {
  reading.mode = options.mode;
  const Node* node = top.find("runmain");
  if (node != nullptr && node->kind != Kind::table) {
    reading.report.wrong_type(*node, "runmain", "a table", "write [runmain]");
  } else if (node != nullptr) {
    Table table(reading.report, *node, "runmain.");
    std::size_t choice = 0;
    const Node* mode = table.find("mode");
    if (mode != nullptr && read_choice(reading.report, *mode, "runmain.mode", {"dev", "prod"}, choice)) {
      reading.mode = choice == 0 ? core::Mode::dev : core::Mode::prod;
    }
    table.refuse_others();
  }
  if (options.mode_override) reading.mode = *options.mode_override;
}

std::vector<Draft> read_services(const Reading& reading, Table& top) {
  std::vector<Draft> drafts;
  Report& report = reading.report;
  const Node* all = top.find("service");
  if (all == nullptr) {
    report.fault(Place{1, 1}, "the file has no service", "add a table [service.NAME] with a command");
    return drafts;
  }
  if (all->kind != Kind::table) {
    report.wrong_type(*all, "service", "tables by name", "write [service.NAME]");
    return drafts;
  }
  if (all->items.empty()) report.fault(all->key_place, "the file has no service", "write [service.NAME]");
  if (all->items.size() > kServicesMax) {
    report.fault(all->items[kServicesMax].key_place,
                 "more than " + std::to_string(kServicesMax) + " services", "split the file");
    return drafts;
  }
  for (const Node& node : all->items) {
    if (node.kind == Kind::table) {
      drafts.push_back(ServiceReader(reading, node).read());
    } else {
      report.wrong_type(node, "service." + quote(node.key), "a table", "write [service.NAME]");
    }
  }
  return drafts;
}

core::Desired read_desired(const Node& root, Reading& reading, const LoadOptions& options) {
  Table top(reading.report, root);
  read_mode(reading, top, options);
  if (const Node* node = top.find("telemetry"))
    reading.telemetry_place = read_telemetry(reading, *node, reading.telemetry);
  const std::vector<Draft> drafts = read_services(reading, top);
  top.refuse_others(hint_for_top_key);
  check_dependencies(reading.report, drafts);
  check_addresses(reading.report, drafts);
  check_ports(reading.report, drafts);
  check_telemetry(reading.report, drafts, reading.telemetry_place);
  core::Desired desired;
  desired.mode = reading.mode;
  for (const Draft& draft : drafts) desired.services.push_back(draft.spec);
  return desired;
}

std::string explain_all(const std::vector<Error>& errors, const std::string& file, const std::string& text,
                        const std::string& kind) {
  const Source source(text);
  std::string out;
  for (const Error& error : errors) {
    out += (error.at.empty() ? "" : error.at + ": ") + kind + ": " + error.message;
    out += (error.hint.empty() ? "" : " (" + error.hint + ")") + "\n";
    // Faults of env files have the place of another file, whose text is not here.
    if (error.at.compare(0, file.size() + 1, file + ":") != 0) continue;
    Place place;
    const std::string numbers = error.at.substr(file.size() + 1);
    const std::size_t colon = numbers.find(':');
    if (colon == std::string::npos) continue;
    place.line = static_cast<std::uint32_t>(std::strtoul(numbers.c_str(), nullptr, 10));
    place.column = static_cast<std::uint32_t>(std::strtoul(numbers.c_str() + colon + 1, nullptr, 10));
    out += source.excerpt(place);
  }
  return out;
}

std::string and_more(const std::string& file, std::size_t more) {
  return more == 0 ? std::string() : file + ": and " + std::to_string(more) + " more\n";
}

}  // namespace

Outcome load(const std::string& path, const LoadOptions& options) {
  auto text = read_file(path, kFileMax);
  if (text) return parse(std::move(*text), path, options);
  Error error = text.error();
  error.at = path;
  if (error.code == ENOENT || error.code == ENOTDIR) error.hint = "write one, or name another with -c FILE";
  return one_fault(std::move(error), path);
}

Outcome parse(std::string text, const std::string& path, const LoadOptions& options) {
  if (text.compare(0, 3, "\xef\xbb\xbf") == 0) text.erase(0, 3);
  if (text.size() > kFileMax) {
    return one_fault(Error{"larger than " + std::to_string(kFileMax) + " bytes", path, {}, EFBIG}, path);
  }
  const Source source(text);
  Report report(path, source);
  const auto tree = read_toml(text);
  if (const auto* fault = std::get_if<SyntaxFault>(&tree)) {
    const Place place = source.clamp(fault->place);  // toml++ may point behind the end of the file
    return one_fault(Error{fault->message, report.at(place), fault->hint}, path, std::move(text));
  }
  const std::string file = absolute_path(path);
  Reading reading{report, fs::path(file).parent_path().string(), options.mode, options.check_host};
  core::Desired desired = read_desired(std::get<Node>(tree), reading, options);
  if (!report.clean()) {
    Faults faults;
    faults.faults = report.take_faults(faults.more);
    faults.file = path;
    faults.text = std::move(text);
    return faults;
  }
  desired.file = file;
  Loaded loaded;
  loaded.desired = std::move(desired);
  loaded.warnings = report.take_warnings(loaded.more);
  loaded.file = path;
  loaded.text = std::move(text);
  return loaded;
}

std::string explain(const Faults& faults) {
  return explain_all(faults.faults, faults.file, faults.text, "error") + and_more(faults.file, faults.more);
}

std::string explain_warnings(const Loaded& loaded) {
  return explain_all(loaded.warnings, loaded.file, loaded.text, "warning") +
         and_more(loaded.file, loaded.more);
}

}  // namespace runmain::config
