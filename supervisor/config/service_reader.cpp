#include "config/service_reader.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <set>

#include "config/address.hpp"
#include "config/host.hpp"
#include "config/telemetry_reader.hpp"
#include "config/text.hpp"

namespace runmain::config {
namespace {

namespace fs = std::filesystem;

std::string normal(const fs::path& path) {
  std::string text = path.lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

// [service.web.api] makes a table `api` inside of `web`, where a service "web.api" was meant.
std::string hint_for_service_key(const Node& item) {
  if (item.kind == Kind::table &&
      std::any_of(item.items.begin(), item.items.end(), [](const Node& n) { return n.key == "command"; })) {
    return "a name with a dot needs quotes: [service.\"NAME.NAME\"]";
  }
  return {};
}

// The text of an environment variable, or nothing for a kind that has none.
std::optional<std::string> env_text(const Node& node) {
  switch (node.kind) {
    case Kind::string: return node.text;
    case Kind::integer: return std::to_string(node.integer);
    case Kind::boolean: return node.boolean ? "true" : "false";
    case Kind::real: {
      char text[64];
      const auto end = std::to_chars(text, text + sizeof text, node.real).ptr;
      std::string out(text, end);
      if (std::isfinite(node.real) && out.find_first_of(".e") == std::string::npos) out += ".0";
      return out;
    }
    default: return std::nullopt;
  }
}

}  // namespace

bool is_name(const std::string& text) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  };
  return !text.empty() && text.size() <= kNameMax && text[0] != '.' && text[0] != '-' &&
         std::all_of(text.begin(), text.end(), allowed);
}

ServiceReader::ServiceReader(const Reading& reading, const Node& node)
    : reading_(reading), node_(node), table_(reading.report, node) {
  draft_.place = node.key_place;
  spec().name = node.key;
  spec().at = reading.report.at(node.key_place);
}

std::string ServiceReader::absolute(const std::string& base, const std::string& path) const {
  return normal(fs::path(base) / path);
}

Draft ServiceReader::read() {
  if (!is_name(node_.key)) {
    report().fault(
        node_.key_place, "the service name " + quote(node_.key) + " is not usable",
        "letters, digits, _, . and -, at most " + std::to_string(kNameMax) + ", a letter or digit first");
  }
  read_command();
  read_listen();
  read_port();
  read_adopt();
  check_placeholders();
  read_cwd();
  read_workers();
  read_balance();
  read_modes();
  read_roll();
  read_watch();
  read_ready();
  read_health();
  read_hang();
  read_recycle();
  read_stop();
  read_restart();
  read_depends_on();
  read_env();
  read_env_file();
  read_log();
  read_identity();
  read_limits();
  read_telemetry_of_service();
  table_.refuse_others(hint_for_service_key);
  return std::move(draft_);
}

void ServiceReader::read_listen() {
  listen_node_ = table_.find("listen");
  if (listen_node_ == nullptr) return;
  if (listen_node_->kind != Kind::array) {
    read_listener(*listen_node_);
  } else if (listen_node_->items.empty()) {
    report().fault(listen_node_->place, "listen is empty", "leave it out, or add an address");
  } else if (listen_node_->items.size() > kListenMax) {
    report().fault(listen_node_->place, "listen has more than " + std::to_string(kListenMax) + " addresses");
    sockets_known_ = false;
  } else {
    for (const Node& item : listen_node_->items) read_listener(item);
  }
  name_listeners();
}

// "ADDRESS" or { name = "NAME", address = "ADDRESS" }.
void ServiceReader::read_listener(const Node& node) {
  core::ListenSpec listen;
  const Node* address = &node;
  std::string name;
  if (node.kind == Kind::table) {
    Table table(report(), node, "listen.");
    address = table.find("address");
    if (address == nullptr)
      report().fault(node.place, "listen has no address", "add address = \"127.0.0.1:8000\"");
    const Node* name_node = table.find("name");
    table.refuse_others();
    if (name_node != nullptr && read_string(report(), *name_node, "listen.name", name) && !is_name(name)) {
      report().fault(name_node->place, "the listener name " + quote(name) + " is not usable",
                     "letters, digits, _, . and -, a letter or digit first");
    }
  } else if (node.kind == Kind::integer) {
    const std::string port = std::to_string(node.integer);
    report().wrong_type(node, "listen", "an address in quotes",
                        "write \":" + port + "\" for every address, or \"127.0.0.1:" + port + "\"");
    address = nullptr;
  }
  std::string text;
  if (address == nullptr || !read_string(report(), *address, "listen", text)) {
    sockets_known_ = false;
    return;
  }
  auto parsed = parse_address(text, reading_.folder);
  if (!parsed) {
    report().fault(address->place, parsed.error().message, parsed.error().hint);
    sockets_known_ = false;
    return;
  }
  listen = std::move(*parsed);
  listen.name = std::move(name);
  listen.at = report().at(address->place);
  if (listen.kind == core::AddressKind::unix_path && reading_.check_host) {
    check_folder(report(), address->place, "listen", fs::path(listen.path).parent_path().string());
  }
  draft_.listen_places.push_back(address->place);
  spec().listen.push_back(std::move(listen));
}

// As systemd.socket(5) does with FileDescriptorName=, listeners without a name get the service's. Given names
// are unique.
void ServiceReader::name_listeners() {
  std::set<std::string> given;
  for (std::size_t i = 0; i < spec().listen.size(); ++i) {
    std::string& name = spec().listen[i].name;
    if (name.empty()) {
      name = spec().name;
    } else if (!given.insert(name).second) {
      report().fault(draft_.listen_places[i], "two listeners are called " + quote(name),
                     "give each its own name");
    }
  }
}

void ServiceReader::read_port() {
  port_node_ = table_.find("port");
  if (port_node_ == nullptr) return;
  draft_.port_place = port_node_->place;
  if (listen_node_ != nullptr) {
    report().fault(port_node_->place, "port and listen exclude each other",
                   "listen: runmain holds the socket; port: the program binds by itself");
  }
  std::int64_t number = 0;
  if (port_node_->kind == Kind::string && port_node_->text == "auto") {
    spec().port = 0;
  } else if (port_node_->kind != Kind::integer) {
    report().wrong_type(*port_node_, "port", "a number or \"auto\"");
    sockets_known_ = false;
  } else if (read_integer(report(), *port_node_, "port", 1, 65535, number)) {
    spec().port = static_cast<std::uint16_t>(number);
  } else {
    sockets_known_ = false;
  }
}

// The program binds by itself, and what it gets are the sockets of `listen`.
void ServiceReader::read_adopt() {
  const Node* node = table_.find("adopt");
  if (node == nullptr) return;
  if (node->kind != Kind::boolean) {
    report().wrong_type(*node, "adopt", "true or false");
    return;
  }
  spec().adopt = node->boolean;
  if (!node->boolean) return;
  if (port_node_ != nullptr) {
    report().fault(node->place, "adopt = true and port exclude each other",
                   "say with listen what the program binds, and leave port out: {port} and PORT tell it");
  } else if (listen_node_ == nullptr) {
    report().fault(node->place, "adopt = true needs the key listen",
                   "add listen = \"127.0.0.1:8000\", the address that the program binds");
  }
  for (std::size_t i = 0; i < spec().listen.size(); ++i) {
    const core::AddressKind kind = spec().listen[i].kind;
    if (kind == core::AddressKind::tcp || kind == core::AddressKind::udp) continue;
    report().fault(draft_.listen_places[i], "adopt = true is for TCP and UDP",
                   "programs remove the file of a unix socket before they bind it: give it by {fd}");
  }
}

void ServiceReader::read_cwd() {
  spec().cwd = reading_.folder;
  const Node* node = table_.find("cwd");
  std::string text;
  if (node == nullptr) return;
  cwd_known_ = false;
  if (!read_string(report(), *node, "cwd", text)) return;
  spec().cwd = absolute(reading_.folder, text);
  cwd_known_ = !reading_.check_host || check_folder(report(), node->place, "cwd", spec().cwd);
}

// What the mode decides unless the service says it.
void ServiceReader::read_modes() {
  spec().overlap = port_node_ == nullptr;
  if (const Node* node = table_.find("overlap")) {
    if (node->kind != Kind::boolean) {
      report().wrong_type(*node, "overlap", "true or false");
    } else if (node->boolean && port_node_ != nullptr) {
      report().fault(node->place, "overlap = true and port exclude each other",
                     "two generations cannot bind one port; use listen instead of port");
    } else {
      spec().overlap = node->boolean;
    }
  }
  table_.read("pty", spec().pty);
  table_.read("browser", spec().browser);
  spec().die_with_keeper = reading_.mode == core::Mode::dev;
  if (const Node* node = table_.find("on_keeper_death")) {
    std::size_t choice = 0;
    if (read_choice(report(), *node, "on_keeper_death", {"stop", "keep"}, choice))
      spec().die_with_keeper = choice == 0;
  }
}

void ServiceReader::read_telemetry_of_service() {
  spec().telemetry = reading_.telemetry;
  if (const Node* node = table_.find("telemetry"))
    draft_.telemetry_place = read_telemetry(reading_, *node, spec().telemetry);
}

void ServiceReader::read_depends_on() {
  const Node* node = table_.find("depends_on");
  std::vector<const Node*> names;
  if (node == nullptr) return;
  read_strings(report(), *node, "depends_on", names);
  std::set<std::string> seen;
  for (const Node* name : names) {
    if (!seen.insert(name->text).second) {
      report().fault(name->place, "depends_on names " + quote(name->text) + " twice");
      continue;
    }
    spec().depends_on.push_back(name->text);
    draft_.depends_places.push_back(name->place);
  }
}

void ServiceReader::read_env() {
  const Node* node = table_.find("env");
  if (node == nullptr) return;
  if (node->kind != Kind::table) {
    report().wrong_type(*node, "env", "a table such as { NAME = \"value\" }");
    return;
  }
  if (node->items.size() > kEnvMax) {
    report().fault(node->place, "env has more than " + std::to_string(kEnvMax) + " variables");
    return;
  }
  for (const Node& item : node->items) {
    const auto text = env_text(item);
    if (item.key.empty() || item.key.find_first_of(std::string("=\0", 2)) != std::string::npos) {
      report().fault(item.key_place, quote(item.key) + " cannot name a variable",
                     "no = and no NUL, and not empty");
    } else if (!text) {
      report().wrong_type(item, "env." + quote(item.key), "a string, a number or a boolean",
                          item.kind == Kind::date ? "put it into quotes" : "");
    } else if (text->find('\0') != std::string::npos) {
      report().fault(item.place, "env." + quote(item.key) + " holds a NUL character",
                     "no variable can carry it");
    } else if (item.key.size() + text->size() + 1 > kArgumentMax) {
      report().fault(item.place,
                     "env." + quote(item.key) + " is longer than " + std::to_string(kArgumentMax) + " bytes",
                     "the kernel takes no longer one");
    } else {
      spec().env.emplace_back(item.key, *text);
    }
  }
}

void ServiceReader::read_env_file() {
  const Node* node = table_.find("env_file");
  std::vector<const Node*> files;
  if (node == nullptr) return;
  read_strings(report(), *node, "env_file", files);
  for (const Node* file : files) {
    spec().env_files.push_back(absolute(reading_.folder, file->text));
    if (reading_.check_host) check_env_file(report(), file->place, spec().env_files.back());
  }
}

}  // namespace runmain::config
