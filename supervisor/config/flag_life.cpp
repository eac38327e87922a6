// Flags: when the program is ready, whether it is well, how it is stopped, its environment.
#include "base/env_file.hpp"
#include "config/address.hpp"
#include "config/flag_reader.hpp"
#include "config/read_file.hpp"
#include "config/service_reader.hpp"
#include "config/text.hpp"
#include "config/values.hpp"

namespace runmain::config {

void FlagReader::read_stop() {
  read_duration("--stop-timeout", options_.stop_timeout, spec_.stop.timeout);
  if (options_.signal.empty()) return;
  const auto signal = parse_signal(options_.signal);
  if (signal) spec_.stop.signal = *signal;
  if (!signal) fault("--signal", signal.error());
}

void FlagReader::read_ready() {
  const std::string& text = options_.ready;
  if (text.empty()) return;
  core::ReadySpec& ready = spec_.ready;
  const std::string kind = text.substr(0, text.find(':'));
  const std::string value = kind.size() < text.size() ? text.substr(kind.size() + 1) : std::string();
  if (kind == "http" && !value.empty() && value[0] == '/' &&
      value.find_first_of(" \t\r\n") == std::string::npos) {
    ready.kind = core::ReadyKind::http;
    ready.path = value;
  } else if (kind == "tcp") {
    ready.kind = core::ReadyKind::tcp;
    if (!value.empty()) read_probe(value);
  } else if (text == "notify") {
    ready.kind = core::ReadyKind::notify;
  } else if (kind == "after") {
    ready.kind = core::ReadyKind::after;
    read_duration("--ready", value.empty() ? "?" : value, ready.after);
    ready.timeout += ready.after;
  } else {
    return fault("--ready", quote(text) + " is no way to tell",
                 "http:/health, tcp, tcp:HOST:PORT, notify or after:500ms");
  }
  const bool probes = ready.kind == core::ReadyKind::http || ready.kind == core::ReadyKind::tcp;
  if (probes && (kind == "http" || value.empty())) check_probed("--ready");
}

void FlagReader::check_probed(const std::string& flag) {
  if (spec_.listen.empty() && !spec_.port && options_.listen.empty() && options_.port.empty())
    return fault(flag, "there is no address to ask", "say --listen or --port");
  if (!spec_.listen.empty() && spec_.listen.front().kind == core::AddressKind::udp)
    fault(flag, "the first address is UDP and cannot be asked", "say the TCP one first");
}

// "/health" or "tcp": what a worker is asked before it counts as ready, and from then on.
void FlagReader::read_health() {
  const std::string& text = options_.health;
  if (text.empty()) return;
  core::HealthSpec& health = spec_.health;
  if (text == "tcp") {
    health.kind = core::HealthKind::tcp;
  } else if (text[0] == '/' && text.find_first_of(" \t\r\n") == std::string::npos) {
    health.kind = core::HealthKind::http;
    health.path = text;
  } else {
    return fault("--health", quote(text) + " cannot be asked", "a path such as /health, or tcp");
  }
  if (spec_.ready.address.empty()) check_probed("--health");
  if (!options_.ready.empty()) return;
  spec_.ready.kind = text == "tcp" ? core::ReadyKind::tcp : core::ReadyKind::http;
  spec_.ready.path = health.path;
}

void FlagReader::read_probe(const std::string& text) {
  const auto parsed = parse_address(text, options_.folder);
  if (!parsed) return fault("--ready", parsed.error());
  if (parsed->kind != core::AddressKind::tcp || parsed->port == 0)
    return fault("--ready", quote(text) + " cannot be asked",
                 "write tcp:HOST:PORT with a port that is not 0");
  const std::string host = parsed->host.empty() ? "127.0.0.1" : parsed->host;
  const bool v6 = host.find(':') != std::string::npos;
  spec_.ready.address = (v6 ? "[" + host + "]" : host) + ":" + std::to_string(parsed->port);
}

void FlagReader::read_env_files() {
  for (const std::string& file : options_.env_file) {
    const std::string path = absolute_path(options_.folder, file);
    const auto text = read_file(path, kEnvFileMax);
    if (!text) {
      fault("--env-file", quote_path(file) + ": " + text.error().message, "create it, or correct the path");
      continue;
    }
    for (const Error& wrong : parse_env_file(*text, file).faults) fault("--env-file", wrong.text());
    spec_.env_files.push_back(path);
  }
}

}  // namespace runmain::config
