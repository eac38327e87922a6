#include "drive/launch_telemetry.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "child_runtime/protocol.h"

namespace runmain::drive {
namespace {

constexpr std::size_t kVariableMax = 131071;  // bytes of NAME=value: MAX_ARG_STRLEN, execve(2)
constexpr std::string_view kAttributes = "OTEL_RESOURCE_ATTRIBUTES";
constexpr std::string_view kOtlp = "OTEL_EXPORTER_OTLP_";
constexpr std::array<const char*, 3> kSignals{"TRACES", "METRICS", "LOGS"};

std::string_view name_of(std::string_view line) { return line.substr(0, line.find('=')); }

std::string_view value_of(std::string_view line) {
  const std::size_t equals = line.find('=');
  return equals == std::string_view::npos ? std::string_view() : line.substr(equals + 1);
}

using Lines = std::vector<std::string>;

// A start looks for a dozen of names in all lines: their first bytes tell most of them apart.
bool is_of(std::string_view line, std::string_view name) {
  return line.starts_with(name) && (line.size() == name.size() || line[name.size()] == '=');
}

Lines::iterator find(Lines& lines, std::string_view name) {
  return std::find_if(lines.begin(), lines.end(), [&](const auto& line) { return is_of(line, name); });
}

void set(Lines& lines, std::string_view name, std::string_view value) {
  std::string line = std::string(name) + "=" + std::string(value);
  const auto found = find(lines, name);
  if (found == lines.end()) {
    lines.push_back(std::move(line));
  } else {
    *found = std::move(line);
  }
}

// To the specification an empty variable is none.
bool is_set(Lines& lines, std::string_view name) {
  const auto found = find(lines, name);
  return found != lines.end() && !value_of(*found).empty();
}

void set_if_free(Lines& lines, std::string_view name, std::string_view value) {
  if (!is_set(lines, name)) set(lines, name, value);
}

void erase_prefixed(Lines& lines, std::string_view prefix) {
  std::erase_if(lines, [&](const std::string& line) { return name_of(line).starts_with(prefix); });
}

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// The parts between commas or colons.
std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(at, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// "key=value" to "key"; empty: it is no pair.
std::string_view key_of(std::string_view pair) {
  const std::size_t equals = pair.find('=');
  return equals == std::string_view::npos ? std::string_view() : trimmed(pair.substr(0, equals));
}

bool names_service(std::string_view attributes) {
  const auto pairs = split(attributes, ',');
  return std::any_of(pairs.begin(), pairs.end(), [](auto pair) { return key_of(pair) == "service.name"; });
}

bool is_telemetry(std::string_view word) {
  return word.find("opentelemetry") != std::string_view::npos ||
         word.find("otel-auto-instrumentation") != std::string_view::npos;
}

// A word of a value that is split at blanks: where it stands, quotes included, and what it reads.
struct Word {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::string text;
};

// `quotes`: the characters that keep blanks together. A quote that is never closed goes to the end.
std::vector<Word> words_of(std::string_view value, std::string_view quotes) {
  std::vector<Word> words;
  for (std::size_t at = 0; at < value.size();) {
    if (is_blank(value[at])) {
      ++at;
      continue;
    }
    Word word{at, at, {}};
    char open = '\0';
    for (; at < value.size() && (open != '\0' || !is_blank(value[at])); ++at) {
      const char c = value[at];
      if (open == '\0' && quotes.find(c) != std::string_view::npos) {
        open = c;
      } else if (c == open) {
        open = '\0';
      } else if (open == '"' && c == '\\' && at + 1 < value.size()) {
        word.text += value[++at];
      } else {
        word.text += c;
      }
    }
    word.end = at;
    words.push_back(std::move(word));
  }
  return words;
}

// How many words from `at` on are to go.
using Judge = std::function<std::size_t(const std::vector<Word>& words, std::size_t at)>;

// What stays is not touched; a word goes with the blanks behind it.
std::string without(std::string_view value, std::string_view quotes, const Judge& judge) {
  const std::vector<Word> words = words_of(value, quotes);
  std::string out;
  std::size_t kept = 0;  // so much of `value` is dealt with
  for (std::size_t i = 0; i < words.size();) {
    const std::size_t count = judge(words, i);
    if (count == 0) {
      ++i;
      continue;
    }
    out += value.substr(kept, words[i].begin - kept);
    i += count;
    kept = i < words.size() ? words[i].begin : value.size();
  }
  if (kept == 0) return std::string(value);
  out += value.substr(kept);
  while (!out.empty() && is_blank(out.back())) out.pop_back();
  return out;
}

using Test = bool (*)(std::string_view value);

// "--require X", "--require=X": 2 or 1 words, if X is what is looked for.
std::size_t option_with(const std::vector<Word>& words, std::size_t at, std::string_view option, Test test) {
  const std::string_view text = words[at].text;
  if (text == option) return at + 1 < words.size() && test(words[at + 1].text) ? 2 : 0;
  const bool has_value =
      text.starts_with(option) && text.size() > option.size() && text[option.size()] == '=';
  return has_value && test(text.substr(option.size() + 1)) ? 1 : 0;
}

std::string node_options_without(std::string_view value, Test test) {
  return without(value, "\"", [test](const std::vector<Word>& words, std::size_t at) -> std::size_t {
    for (const char* option : {"--require", "-r", "--import", "--loader", "--experimental-loader"}) {
      if (const std::size_t count = option_with(words, at, option, test)) return count;
    }
    return 0;
  });
}

std::string python_path_without(std::string_view value, Test test) {
  std::string out;
  bool first = true;
  for (const std::string_view folder : split(value, ':')) {
    if (test(folder)) continue;
    out += (first ? "" : ":") + std::string(folder);
    first = false;
  }
  return out;
}

struct Hook {
  std::string_view name;
  std::string (*plain)(std::string_view);
};

constexpr std::array<Hook, 6> kHooks{{{"PYTHONPATH", plain_python_path},
                                      {"NODE_OPTIONS", plain_node_options},
                                      {"JAVA_TOOL_OPTIONS", plain_java_options},
                                      {"JDK_JAVA_OPTIONS", plain_java_options},
                                      {"_JAVA_OPTIONS", plain_java_options},
                                      {"RUBYOPT", plain_ruby_options}}};

}  // namespace

std::string merged_attributes(std::string_view text, const std::vector<std::string>& ours) {
  std::string out;
  const auto is_ours = [&](std::string_view key) {
    return !key.empty() && std::any_of(ours.begin(), ours.end(),
                                       [&](const std::string& pair) { return key_of(pair) == key; });
  };
  for (const std::string_view pair : split(text, ',')) {
    if (trimmed(pair).empty() || is_ours(key_of(pair))) continue;
    out += (out.empty() ? "" : ",") + std::string(pair);
  }
  for (const std::string& pair : ours) out += (out.empty() ? "" : ",") + pair;
  return kAttributes.size() + 1 + out.size() > kVariableMax ? std::string(text) : out;
}

std::string own_python_path(std::string_view value) {
  return python_path_without(value, is_bootstrap_folder);
}

std::string own_node_options(std::string_view value) {
  return node_options_without(value, is_bootstrap_file);
}

std::string plain_python_path(std::string_view value) {
  return python_path_without(value, [](std::string_view folder) {
    return folder.find("opentelemetry/instrumentation/auto_instrumentation") != std::string_view::npos ||
           folder.find("otel-auto-instrumentation") != std::string_view::npos || is_bootstrap_folder(folder);
  });
}

std::string plain_node_options(std::string_view value) {
  return node_options_without(
      value, [](std::string_view file) { return is_telemetry(file) || is_bootstrap_file(file); });
}

std::string plain_java_options(std::string_view value) {
  return without(value, "\"'", [](const std::vector<Word>& words, std::size_t at) -> std::size_t {
    const std::string& text = words[at].text;
    return text.starts_with("-javaagent:") && is_telemetry(text) ? 1 : 0;
  });
}

std::string plain_ruby_options(std::string_view value) {
  return without(value, "", [](const std::vector<Word>& words, std::size_t at) -> std::size_t {
    const std::string& text = words[at].text;
    if (text == "-r") return at + 1 < words.size() && is_telemetry(words[at + 1].text) ? 2 : 0;
    return text.starts_with("-r") && is_telemetry(text) ? 1 : 0;
  });
}

namespace {

// A proxy of the user's would be asked for our loopback address, and cannot reach it.
void pass_by_proxy(Lines& environment) {
  const auto is_proxy = [](const std::string& line) {
    std::string name(name_of(line));
    if (name.size() != std::string_view("all_proxy").size() &&
        name.size() != std::string_view("http_proxy").size())
      return false;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return name == "http_proxy" || name == "all_proxy";
  };
  if (std::none_of(environment.begin(), environment.end(), is_proxy)) return;
  for (const char* name : {"NO_PROXY", "no_proxy"}) {
    const auto found = find(environment, name);
    const std::string value = found == environment.end() ? "" : std::string(value_of(*found));
    const auto parts = split(value, ',');
    const auto covers = [](std::string_view part) {
      return trimmed(part) == "127.0.0.1" || trimmed(part) == "*";
    };
    if (std::any_of(parts.begin(), parts.end(), covers)) continue;
    set(environment, name, value.empty() ? "127.0.0.1" : value + ",127.0.0.1");
  }
}

// What would be too long for the kernel stays as it was.
void put_in(Lines& environment, std::string_view name, const std::string& ours,
            std::string (*with)(std::string_view, const std::string&)) {
  if (ours.empty()) return;
  const auto found = find(environment, name);
  const std::string value = with(found == environment.end() ? "" : value_of(*found), ours);
  if (name.size() + 1 + value.size() <= kVariableMax) set(environment, name, value);
}

void load_bootstrap(Lines& environment, const Bootstrap& bootstrap, bool automatic) {
  put_in(environment, "PYTHONPATH", bootstrap.python, with_python);
  put_in(environment, "NODE_OPTIONS", bootstrap.node, with_node);
  set(environment, RUNMAIN_ENV_AUTO, automatic ? "1" : "0");
}

// W3C Baggage: what stands for itself in a value, and "%XX" for all else.
std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~:/+!*").find(c) != std::string_view::npos;
    if (plain) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += kHex[byte >> 4U];
    out += kHex[byte & 15U];
  }
  return out;
}

std::string headers_text(const std::vector<std::pair<std::string, std::string>>& headers) {
  std::string out;
  for (const auto& [name, value] : headers)
    out += (out.empty() ? "" : ",") + percent_encoded(name) + "=" + percent_encoded(value);
  return out;
}

}  // namespace

// An endpoint of the file is HTTP whatever the environment thinks of another one.
std::vector<std::pair<std::string, std::string>> exporter_options(const core::TelemetrySpec& spec) {
  std::vector<std::pair<std::string, std::string>> out;
  const auto add = [&out](const char* option, const std::string& value) {
    if (!value.empty()) out.emplace_back(option, value);
  };
  add("ENDPOINT", spec.endpoint);
  add("PROTOCOL", spec.protocol.empty() && !spec.endpoint.empty() ? "http/protobuf" : spec.protocol);
  add("COMPRESSION", spec.compression);
  add("HEADERS", headers_text(spec.headers));
  if (spec.timeout) add("TIMEOUT", std::to_string(std::max<std::int64_t>(1, to_ms(*spec.timeout))));
  add("CERTIFICATE", spec.certificate);
  add("CLIENT_CERTIFICATE", spec.client_certificate);
  add("CLIENT_KEY", spec.client_key);
  return out;
}

void add_probes(std::vector<std::string>& environment, const std::string& folder,
                const Bootstrap& bootstrap) {
  set(environment, "RUNMAIN_DOCTOR", folder);
  put_in(environment, "PYTHONPATH", bootstrap.python_probe, with_python);
  put_in(environment, "NODE_OPTIONS", bootstrap.node_probe, with_node_first);
}

void export_directly(std::vector<std::string>& environment, const core::TelemetrySpec& spec) {
  for (const auto& [option, value] : exporter_options(spec)) {
    for (const char* signal : kSignals) {
      const std::string name = std::string(kOtlp) + signal + "_" + option;
      std::erase_if(environment, [&](const std::string& line) { return name_of(line) == name; });
    }
    set(environment, std::string(kOtlp) + option, value);
  }
}

// What it sends is the program's wish, not where: the observer hands it on as it is.
bool says_what(std::string_view name) {
  return name == "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE" ||
         name == "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
}

void export_to_observer(std::vector<std::string>& environment, const ExportTo& to) {
  pass_by_proxy(environment);
  std::erase_if(environment, [](const std::string& line) {
    return name_of(line).starts_with(kOtlp) && !says_what(name_of(line));
  });
  set(environment, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://" + to.receiver);
  set(environment, "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
  set(environment, "OTEL_EXPORTER_OTLP_HEADERS", "runmain-token=" + to.token);
  const auto found = find(environment, kAttributes);
  const std::string attributes = found == environment.end() ? "" : std::string(value_of(*found));
  if (!names_service(attributes)) set_if_free(environment, "OTEL_SERVICE_NAME", to.service);
  set(environment, kAttributes,
      merged_attributes(
          attributes, {"service.instance.id=" + to.instance_id, "runmain.worker=" + std::to_string(to.worker),
                       "runmain.generation=" + std::to_string(to.generation)}));
  load_bootstrap(environment, to.bootstrap, to.automatic);
  if (!to.short_delays) return;
  set_if_free(environment, "OTEL_BSP_SCHEDULE_DELAY", "200");
  set_if_free(environment, "OTEL_BLRP_SCHEDULE_DELAY", "200");
  set_if_free(environment, "OTEL_METRIC_EXPORT_INTERVAL", "5000");
}

void take_telemetry_out(std::vector<std::string>& environment) {
  erase_prefixed(environment, "OTEL_EXPORTER_");
  for (const Hook& hook : kHooks) {
    const auto found = find(environment, hook.name);
    if (found == environment.end()) continue;
    const std::string_view value = value_of(*found);
    const std::string plain = hook.plain(value);
    if (plain == value) continue;
    if (plain.empty()) {
      environment.erase(found);
    } else {
      set(environment, hook.name, plain);
    }
  }
}

}  // namespace runmain::drive
