#include "drive/watch_git_config.hpp"

#include <cstdlib>

#include "drive/watch_table.hpp"
#include "os/linux/fd.hpp"

namespace runmain::drive {
namespace {

constexpr std::size_t kConfigMax = 1U << 20U;  // bytes of one configuration file; the rest is not read

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

char escaped(char c) {
  switch (c) {
    case 'n': return '\n';
    case 't': return '\t';
    case 'b': return '\b';
    default: return c;
  }
}

// Reads the value that starts at `at`, with quotes, escapes, comments and lines that go on, and moves `at`
// behind its line.
std::string read_value(std::string_view text, std::size_t& at) {
  std::string value;
  std::size_t solid = 0;  // what is behind this is blanks outside of quotes
  bool quoted = false;
  bool comment = false;
  for (; at < text.size() && text[at] != '\n'; ++at) {
    const char c = text[at];
    if (comment) continue;
    if (c == '\\' && at + 1 < text.size()) {
      ++at;
      if (text[at] == '\r' && at + 1 < text.size()) ++at;
      if (text[at] == '\n') continue;
      value += escaped(text[at]);
      solid = value.size();
    } else if (c == '"') {
      quoted = !quoted;
      solid = value.size();
    } else if (!quoted && (c == '#' || c == ';')) {
      comment = true;
    } else {
      value += c;
      if (quoted || (c != ' ' && c != '\t' && c != '\r')) solid = value.size();
    }
  }
  value.resize(solid);
  const auto first = value.find_first_not_of(" \t");
  return first == std::string::npos ? std::string() : value.substr(first);
}

}  // namespace

GitPlaces GitPlaces::of_process() {
  GitPlaces places;
  if (const char* home = std::getenv("HOME"); home != nullptr) places.home = home;
  const char* xdg = std::getenv("XDG_CONFIG_HOME");
  if (xdg != nullptr && *xdg != '\0') {
    places.configuration = xdg;
  } else if (!places.home.empty()) {
    places.configuration = join_path(places.home, ".config");
  }
  return places;
}

std::optional<std::string> excludes_file_in(std::string_view text) {
  std::optional<std::string> found;
  bool in_core = false;
  for (std::size_t at = 0; at < text.size();) {
    at = text.find_first_not_of(" \t\r\n", at);
    if (at == std::string_view::npos) break;
    const std::size_t line_end = std::min(text.find('\n', at), text.size());
    if (text[at] == '[') {
      const std::size_t close = text.find(']', at);
      if (close == std::string_view::npos || close > line_end) break;
      in_core = lower(trimmed(text.substr(at + 1, close - at - 1))) == "core";
      at = close + 1;
      continue;
    }
    const std::size_t equals = text.find('=', at);
    if (text[at] == '#' || text[at] == ';' || equals == std::string_view::npos || equals > line_end) {
      at = line_end;
      continue;
    }
    const std::string key = lower(trimmed(text.substr(at, equals - at)));
    at = equals + 1;
    std::string value = read_value(text, at);
    if (in_core && key == "excludesfile") found = std::move(value);
  }
  return found;
}

std::string excludes_file(const GitPlaces& places, const std::string& config) {
  std::vector<std::string> files;  // a later one overrules
  if (!places.configuration.empty()) files.push_back(join_path(places.configuration, "git/config"));
  if (!places.home.empty()) files.push_back(join_path(places.home, ".gitconfig"));
  if (!config.empty()) files.push_back(config);
  std::optional<std::string> found;
  for (const std::string& file : files) {
    const auto text = os::read_file(file, kConfigMax);
    if (!text) continue;
    if (auto value = excludes_file_in(text.value()); value) found = std::move(value);
  }
  if (!found) return places.configuration.empty() ? "" : join_path(places.configuration, "git/ignore");
  if (found->starts_with("~/") && !places.home.empty()) return join_path(places.home, found->substr(2));
  return found->starts_with("/") ? *found : std::string();
}

}  // namespace runmain::drive
