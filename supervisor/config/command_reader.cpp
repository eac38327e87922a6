// Commands: the keys command, shell and build, and the placeholders in them.
#include <algorithm>

#include "config/service_reader.hpp"
#include "config/text.hpp"
#include "config/words.hpp"

namespace runmain::config {
namespace {

constexpr std::size_t kPlaceholderMax = 256;  // bytes between braces; more is no placeholder
constexpr const char* kShellHint = "add shell = true, or quote it";

// "NAME=value ./server": a variable in front of the command, which only a shell understands.
bool is_assignment(const std::string& word) {
  const std::size_t equals = word.find('=');
  if (equals == 0 || equals == std::string::npos || (word[0] >= '0' && word[0] <= '9')) return false;
  return std::all_of(word.begin(), word.begin() + static_cast<std::ptrdiff_t>(equals), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

std::optional<core::CommandSpec> split(Report& report, const Node& node, const std::string& name) {
  Words words = split_words(node.text);
  if (words.fault) {
    report.fault(report.inside(node, words.fault->offset), name + ": " + words.fault->message,
                 words.fault->hint);
    return std::nullopt;
  }
  for (const ShellSign& sign : words.signs) {
    if (!sign.is_operator) continue;
    report.fault(report.inside(node, sign.offset), name + ": " + quote(sign.text) + " needs a shell",
                 name == "command" || name.ends_with(".command")
                     ? kShellHint
                     : "write " + name.substr(name.rfind('.') + 1) +
                           " = { command = \"…\", shell = true }, or quote it");
    return std::nullopt;
  }
  if (!words.words.empty() && is_assignment(words.words[0])) {
    const std::string variable = words.words[0].substr(0, words.words[0].find('='));
    report.fault(node.place, name + ": " + quote(variable + "=…") + " is a variable, not a program",
                 "put it into env, or add shell = true");
    return std::nullopt;
  }
  for (const ShellSign& sign : words.signs) {
    report.warning(report.inside(node, sign.offset), name + ": " + quote(sign.text) + " is not expanded",
                   "with shell = true it is");
  }
  return core::CommandSpec{std::move(words.words), false};
}

std::optional<core::CommandSpec> from_string(Report& report, const Node& node, const std::string& name,
                                             bool shell) {
  std::string text;
  if (!read_string(report, node, name, text)) return std::nullopt;
  if (!shell) return split(report, node, name);
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return core::CommandSpec{};
  return core::CommandSpec{{"/bin/sh", "-c", text}, true};
}

std::optional<core::CommandSpec> from_array(Report& report, const Node& node, const std::string& name,
                                            bool shell) {
  std::vector<const Node*> words;
  if (!read_strings(report, node, name, words)) return std::nullopt;
  if (shell) {
    report.fault(node.place, name + " must be a string when shell = true",
                 "write the line for /bin/sh -c, or drop shell");
    return std::nullopt;
  }
  core::CommandSpec out;
  for (const Node* word : words) out.argv.push_back(word->text);
  return out;
}

}  // namespace

std::optional<core::CommandSpec> read_command_value(Report& report, const Node& node, const std::string& name,
                                                    bool shell) {
  if (node.kind != Kind::string && node.kind != Kind::array) {
    report.wrong_type(node, name, "a string or an array of strings");
    return std::nullopt;
  }
  auto command = node.kind == Kind::string ? from_string(report, node, name, shell)
                                           : from_array(report, node, name, shell);
  if (!command) return std::nullopt;
  if (command->argv.empty() || command->argv[0].empty()) {
    report.fault(node.place, name + " is empty", "write the program to run");
    return std::nullopt;
  }
  for (const std::string& word : command->argv) {
    if (word.size() <= kArgumentMax) continue;
    report.fault(node.place,
                 name + " has an argument of more than " + std::to_string(kArgumentMax) + " bytes",
                 "the kernel takes no longer one");
    return std::nullopt;
  }
  return command;
}

void ServiceReader::read_command() {
  bool shell = false;
  command_node_ = table_.find("command");
  table_.read("shell", shell);
  if (command_node_ == nullptr) {
    report().fault(draft_.place, "service " + quote(spec().name) + " has no command",
                   "add command = [\"./program\", \"argument\"]");
    return;
  }
  if (auto command = read_command_value(report(), *command_node_, "command", shell)) {
    spec().command = std::move(*command);
  }
}

// {fd}, {fd:NAME} and {port} are replaced when a child is started; here it is only checked that they can be.
void ServiceReader::check_placeholders() {
  if (command_node_ == nullptr || !sockets_known_) return;
  std::vector<const Node*> nodes{command_node_};
  if (command_node_->kind == Kind::array) {
    nodes.clear();
    for (const Node& item : command_node_->items) nodes.push_back(&item);
  }
  for (const Node* node : nodes) {
    const std::string& text = node->text;
    for (std::size_t open = text.find('{'); open != std::string::npos; open = text.find('{', open + 1)) {
      const std::string_view near = std::string_view(text).substr(open + 1, kPlaceholderMax);
      const std::size_t close = near.find('}');
      if (close != std::string::npos) check_placeholder(*node, open, std::string(near.substr(0, close)));
    }
  }
}

void ServiceReader::check_placeholder(const Node& node, std::size_t offset, const std::string& word) {
  const Place place = report().inside(node, offset);
  if (word == "port") {
    if (!spec().port && !spec().adopt)
      report().fault(place, "{port} needs the key port", "add port = \"auto\", or a number");
    return;
  }
  const bool named = word.compare(0, 3, "fd:") == 0;
  if (word != "fd" && !named) return;
  if (spec().listen.empty()) {
    report().fault(place, quote("{" + word + "}") + " needs the key listen",
                   "add listen = \"127.0.0.1:8000\"");
    return;
  }
  if (!named) return;
  const std::string name = word.substr(3);
  std::vector<std::string> names;
  for (const core::ListenSpec& listen : spec().listen) names.push_back(listen.name);
  const auto count = std::count(names.begin(), names.end(), name);
  if (count == 0) {
    report().fault(place, "no listener is called " + quote(name), did_you_mean(name, names));
  } else if (count > 1) {
    report().fault(place, "more than one listener is called " + quote(name),
                   "name them: listen = [{ name = \"http\", address = \"…\" }]");
  }
}

}  // namespace runmain::config
