// How a service that runs is looked after: the keys health and hang.
#include "config/service_reader.hpp"
#include "config/text.hpp"

namespace runmain::config {
namespace {

using namespace std::chrono_literals;
using core::HealthKind;

constexpr Duration kStoppedInProd = 500ms;
constexpr std::uint32_t kFailuresMax = 1000;

// Helpers have no sockets: what only makes sense with one is a slip.
void check_helper_words(Report& report, const Node& node, const std::string& name, const std::string& known) {
  for (const char* word : {"{fd}", "{fd:", "{port}"}) {
    const std::size_t at = node.text.find(word);
    if (at == std::string::npos) continue;
    report.fault(report.inside(node, at),
                 name + " has no socket of the service, so there is no " + std::string(word) +
                     (std::string(word).back() == '}' ? "" : "NAME}"),
                 known);
  }
}

}  // namespace

std::optional<core::CommandSpec> ServiceReader::read_helper(const Node& node, const std::string& name,
                                                            bool shell, const std::string& known) {
  const Node* command = &node;
  if (node.kind == Kind::table) {
    Table table(report(), node, name + ".");
    command = table.find("command");
    table.read("shell", shell);
    table.refuse_others();
    if (command == nullptr) {
      report().fault(node.place, name + " has no command", "add command = \"./program\"");
      return std::nullopt;
    }
  }
  auto read = read_command_value(report(), *command, name, shell);
  if (!read || known.empty()) return read;
  if (command->kind == Kind::string) check_helper_words(report(), *command, name, known);
  for (const Node& word : command->items) check_helper_words(report(), word, name, known);
  return read;
}

void ServiceReader::read_health() {
  const Node* node = table_.find("health");
  if (node == nullptr) return;
  if (node->kind != Kind::table) {
    report().wrong_type(*node, "health", "a table such as { http = \"/health\" }");
    return;
  }
  Table table(report(), *node, "health.");
  read_health_kind(table, *node);
  core::HealthSpec& health = spec().health;
  const auto above_zero = [&](const char* key, Duration& out) {
    const Node* value = table.find(key);
    if (value != nullptr && read_duration(report(), *value, table.name(key), out) && out <= 0s)
      report().fault(value->place, table.name(key) + " must be more than 0");
  };
  above_zero("interval", health.interval);
  above_zero("timeout", health.timeout);
  table.read_integer("failures", 1, kFailuresMax, health.failures);
  table.refuse_others();
}

// Exactly one of http, tcp and command, with what belongs to it.
void ServiceReader::read_health_kind(Table& table, const Node& node) {
  core::HealthSpec& health = spec().health;
  const Node* http = table.find("http");
  const Node* tcp = table.find("tcp");
  const Node* command = table.find("command");
  const Node* address = table.find("address");
  const Node* shell_node = table.find("shell");
  bool shell = false;
  table.read("shell", shell);
  const int given = (http != nullptr) + (tcp != nullptr) + (command != nullptr);
  if (given != 1) {
    report().fault(node.place, given == 0 ? "health does not say how" : "health says more than one way",
                   "write one of http = \"/health\", tcp = true, command = [\"./probe\"]");
    return;
  }
  if (address != nullptr && http == nullptr)
    report().fault(address->place, "health.address belongs to health.http", "write tcp = \"HOST:PORT\"");
  if (shell_node != nullptr && command == nullptr)
    report().fault(shell_node->place, "health.shell belongs to health.command");
  if (http != nullptr) {
    health.kind = HealthKind::http;
    read_http_path(*http, "health.http", health.path);
    if (address != nullptr) health.address = probe_address(*address, "health.address");
  } else if (tcp != nullptr) {
    health.kind = HealthKind::tcp;
    read_tcp_probe(*tcp, "health.tcp", health.address);
  } else {
    health.kind = HealthKind::exec;
    auto read = read_helper(*command, "health.command", shell, "{pid} and {worker} are replaced");
    if (read) health.command = std::move(*read);
    return;
  }
  const bool own = address != nullptr || (tcp != nullptr && tcp->kind == Kind::string);
  if (!own && spec().ready.address.empty()) check_probed("health", node);
}

void ServiceReader::read_hang() {
  core::HangSpec& hang = spec().hang;
  if (reading_.mode == core::Mode::prod) hang.stopped = kStoppedInProd;
  const Node* node = table_.find("hang");
  if (node == nullptr) return;
  if (node->kind != Kind::table) {
    report().wrong_type(*node, "hang", "a table such as { stopped = \"500ms\" }");
    return;
  }
  Table table(report(), *node, "hang.");
  table.read("stopped", hang.stopped);
  table.read("watchdog", hang.watchdog);
  if (const Node* hook = table.find("on_hang"))
    hang.hook = read_helper(*hook, "hang.on_hang", false, "{pid} is replaced");
  if (const Node* timeout = table.find("hook_timeout")) {
    if (read_duration(report(), *timeout, "hang.hook_timeout", hang.hook_timeout) && hang.hook_timeout <= 0s)
      report().fault(timeout->place, "hang.hook_timeout must be more than 0");
    if (table.find("on_hang") == nullptr)
      report().fault(timeout->place, "hang.hook_timeout needs hang.on_hang",
                     "add on_hang = [\"./stack\", \"{pid}\"]");
  }
  table.refuse_others();
}

}  // namespace runmain::config
