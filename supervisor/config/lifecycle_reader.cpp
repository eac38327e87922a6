// How a service lives: the keys ready, stop, restart and log.
#include <algorithm>
#include <filesystem>

#include "config/address.hpp"
#include "config/host.hpp"
#include "config/service_reader.hpp"
#include "config/text.hpp"
#include "config/values.hpp"

namespace runmain::config {
namespace {

using namespace std::chrono_literals;
using core::ReadyKind;
using core::RestartPolicy;

constexpr std::size_t kStopStepsMax = 16;

std::string in_ms(Duration d) { return std::to_string(to_ms(d)) + "ms"; }

}  // namespace

void ServiceReader::read_ready() {
  const Node* node = table_.find("ready");
  if (node == nullptr) return;
  if (node->kind != Kind::table) {
    report().wrong_type(*node, "ready", "a table such as { http = \"/health\" }");
    return;
  }
  Table table(report(), *node, "ready.");
  read_ready_kind(table, *node);
  core::ReadySpec& ready = spec().ready;
  const Node* timeout = table.find("timeout");
  if (timeout != nullptr && read_duration(report(), *timeout, "ready.timeout", ready.timeout) &&
      ready.timeout <= 0s) {
    report().fault(timeout->place, "ready.timeout must be more than 0");
  }
  if (ready.kind == ReadyKind::after && ready.timeout <= ready.after) {
    if (timeout == nullptr) {
      ready.timeout += ready.after;
    } else {
      report().fault(timeout->place, "ready.timeout must be longer than ready.after");
    }
  }
  table.refuse_others();
}

// Exactly one of http, notify, tcp, exec and after, with what belongs to it.
void ServiceReader::read_ready_kind(Table& table, const Node& node) {
  core::ReadySpec& ready = spec().ready;
  const Node* http = table.find("http");
  const Node* notify = table.find("notify");
  const Node* tcp = table.find("tcp");
  const Node* after = table.find("after");
  const Node* exec = table.find("exec");
  const Node* address = table.find("address");
  const int given =
      (http != nullptr) + (notify != nullptr) + (tcp != nullptr) + (after != nullptr) + (exec != nullptr);
  if (given != 1) {
    report().fault(node.place, given == 0 ? "ready does not say how" : "ready says more than one way",
                   "write one of http = \"/health\", notify = true, tcp = true, after = \"500ms\", exec = "
                   "[\"./probe\"]");
    return;
  }
  if (address != nullptr && http == nullptr) {
    report().fault(address->place, "ready.address belongs to ready.http", "write tcp = \"HOST:PORT\"");
  }
  const bool address_given =
      (http != nullptr && address != nullptr) || (tcp != nullptr && tcp->kind == Kind::string);
  if (http != nullptr) {
    ready.kind = ReadyKind::http;
    read_http_path(*http, "ready.http", ready.path);
    if (address != nullptr) ready.address = probe_address(*address, "ready.address");
  } else if (tcp != nullptr) {
    ready.kind = ReadyKind::tcp;
    read_tcp_probe(*tcp, "ready.tcp", ready.address);
  } else if (notify != nullptr) {
    ready.kind = ReadyKind::notify;
    if (notify->kind != Kind::boolean || !notify->boolean)
      report().fault(notify->place, "ready.notify must be true");
  } else if (exec != nullptr) {
    ready.kind = ReadyKind::exec;
    auto read = read_helper(*exec, "ready.exec", false, "{pid} and {worker} are replaced");
    if (read) ready.command = std::move(*read);
  } else {
    ready.kind = ReadyKind::after;
    read_duration(report(), *after, "ready.after", ready.after);
  }
  if ((http != nullptr || tcp != nullptr) && !address_given) check_probed("ready", node);
}

void ServiceReader::read_http_path(const Node& node, const std::string& name, std::string& path) {
  const bool text = read_string(report(), node, name, path);
  const bool bad = path.empty() || path[0] != '/' ||
                   std::any_of(path.begin(), path.end(), [](char c) { return c <= ' ' || c == 0x7f; });
  if (text && bad)
    report().fault(node.place, name + " must be a path", "such as \"/health\", without blanks");
}

void ServiceReader::read_tcp_probe(const Node& node, const std::string& name, std::string& address) {
  if (node.kind == Kind::string) {
    address = probe_address(node, name);
  } else if (node.kind != Kind::boolean || !node.boolean) {
    report().fault(node.place, name + " must be true or \"HOST:PORT\"");
  }
}

// Without an address of its own a probe asks the service's first one.
void ServiceReader::check_probed(const std::string& key, const Node& node) {
  if (!sockets_known_ || spec().port) return;
  if (spec().listen.empty()) {
    report().fault(node.place, key + " has nothing to ask: the service has neither listen nor port",
                   "add one of them, or an address to " + key);
  } else if (spec().listen.front().kind == core::AddressKind::udp) {
    report().fault(node.place, key + " cannot ask the first listen address, which is UDP",
                   "add an address to " + key);
  }
}

// "HOST:PORT" in its canonical form; empty after a fault. No host means this machine.
std::string ServiceReader::probe_address(const Node& node, const std::string& name) {
  std::string text;
  if (!read_string(report(), node, name, text)) return {};
  const auto parsed = parse_address(text, reading_.folder);
  if (!parsed) {
    report().fault(node.place, name + ": " + parsed.error().message, parsed.error().hint);
    return {};
  }
  if (parsed->kind != core::AddressKind::tcp || parsed->port == 0) {
    report().fault(node.place, name + " must be \"HOST:PORT\" with a port that is not 0");
    return {};
  }
  const std::string host = parsed->host.empty() ? "127.0.0.1" : parsed->host;
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(parsed->port);
}

void ServiceReader::read_signal(const Node& node, const std::string& name, int& number) {
  if (node.kind == Kind::integer && is_signal(node.integer)) {
    number = static_cast<int>(node.integer);
  } else if (node.kind == Kind::integer) {
    report().fault(node.place, name + ": " + std::to_string(node.integer) + " is no signal",
                   "write a name such as \"TERM\"");
  } else if (std::string text; read_string(report(), node, name, text)) {
    const auto parsed = parse_signal(text);
    if (parsed) number = *parsed;
    if (!parsed) report().fault(node.place, name + ": " + parsed.error().message, parsed.error().hint);
  }
}

void ServiceReader::read_stop() {
  spec().stop.lingering = kLingeringDefault;
  const Node* node = table_.find("stop");
  if (node == nullptr) return;
  if (node->kind != Kind::table) {
    report().wrong_type(*node, "stop", "a table such as { signal = \"TERM\", timeout = \"10s\" }");
    return;
  }
  Table table(report(), *node, "stop.");
  if (const Node* signal = table.find("signal")) read_signal(*signal, "stop.signal", spec().stop.signal);
  table.read("timeout", spec().stop.timeout);
  if (const Node* to = table.find("to")) {
    std::size_t choice = 0;
    if (read_choice(report(), *to, "stop.to", {"group", "main"}, choice)) spec().stop.group = choice == 0;
  }
  if (const Node* then = table.find("then")) read_stop_steps(*then);
  table.read("flush", spec().stop.flush);
  table.read_integer("lingering", 0, core::kLingeringMax, spec().stop.lingering);
  table.refuse_others();
}

// [{ signal = "INT", after = "5s" }], rising, each before the end.
void ServiceReader::read_stop_steps(const Node& node) {
  if (node.kind != Kind::array) {
    report().wrong_type(node, "stop.then", "an array such as [{ signal = \"INT\", after = \"5s\" }]");
    return;
  }
  if (node.items.size() > kStopStepsMax) {
    report().fault(node.place, "stop.then has more than " + std::to_string(kStopStepsMax) + " signals");
    return;
  }
  Duration before = 0s;
  for (const Node& item : node.items) {
    if (item.kind != Kind::table) {
      report().wrong_type(item, "an element of stop.then",
                          "a table such as { signal = \"INT\", after = \"5s\" }");
      continue;
    }
    Table table(report(), item, "stop.then.");
    core::StopStep step;
    const Node* signal = table.find("signal");
    const Node* after = table.find("after");
    if (signal != nullptr) read_signal(*signal, "stop.then.signal", step.signal);
    table.refuse_others();
    if (signal == nullptr || after == nullptr) {
      report().fault(item.place, std::string("stop.then has no ") + (signal == nullptr ? "signal" : "after"),
                     "write { signal = \"INT\", after = \"5s\" }");
      continue;
    }
    if (!read_duration(report(), *after, "stop.then.after", step.after)) continue;
    if (step.after <= before) {
      report().fault(after->place,
                     "stop.then.after must be more than " + (before == 0s ? "0" : in_ms(before)),
                     "it counts from the first signal on");
    } else if (step.after >= spec().stop.timeout) {
      report().fault(after->place,
                     "stop.then.after must be before stop.timeout (" + in_ms(spec().stop.timeout) + ")",
                     "raise timeout, too");
    }
    before = std::max(before, step.after);
    spec().stop.then.push_back(step);
  }
}

void ServiceReader::read_policy(const Node& node, const std::string& name) {
  std::size_t choice = 0;
  if (!read_choice(report(), node, name, {"always", "on-failure", "never"}, choice)) return;
  constexpr RestartPolicy kPolicies[] = {RestartPolicy::always, RestartPolicy::on_failure,
                                         RestartPolicy::never};
  spec().restart = kPolicies[choice];
}

void ServiceReader::read_restart() {
  const Node* node = table_.find("restart");
  if (node == nullptr) return;
  if (node->kind != Kind::table) {
    if (node->kind == Kind::string) {
      read_policy(*node, "restart");
    } else {
      report().wrong_type(*node, "restart", "\"always\", \"on-failure\", \"never\" or a table");
    }
    return;
  }
  Table table(report(), *node, "restart.");
  core::Backoff& backoff = spec().backoff;
  if (const Node* policy = table.find("policy")) read_policy(*policy, "restart.policy");
  table.read("initial", backoff.initial);
  table.read("max", backoff.max);
  table.read_percent("factor", 1, 100, backoff.factor_percent);
  table.read_percent("jitter", 0, 1, backoff.jitter_percent);
  table.read_integer("burst", 0, 1000000, backoff.burst);
  table.read("reset", backoff.reset);
  if (const Node* failed = table.find("failed_start")) {
    std::size_t choice = 0;
    if (read_choice(report(), *failed, "restart.failed_start", {"retry", "wait"}, choice))
      spec().await_change = choice == 1;
  }
  if (const Node* success = table.find("success")) read_ends(*success, "restart.success", spec().success);
  if (const Node* none = table.find("no_restart")) read_ends(*none, "restart.no_restart", spec().no_restart);
  if (backoff.initial > backoff.max) {
    report().fault(
        node->place,
        "restart.initial (" + in_ms(backoff.initial) + ") is longer than max (" + in_ms(backoff.max) + ")",
        "raise max, too");
  }
  table.refuse_others();
}

// How an end is named: an exit status, or the signal that was the end; one, or an array of them.
void ServiceReader::read_ends(const Node& node, const std::string& name, std::vector<std::int32_t>& ends) {
  if (node.kind == Kind::array && node.items.size() > kListMax) {
    report().fault(node.place, name + " has more than " + std::to_string(kListMax) + " elements");
    return;
  }
  const bool list = node.kind == Kind::array;
  for (std::size_t i = 0; i < (list ? node.items.size() : 1); ++i) {
    const Node& item = list ? node.items[i] : node;
    std::int64_t number = 0;
    if (item.kind == Kind::integer) {
      if (!read_integer(report(), item, name, 0, 255, number)) continue;
    } else if (item.kind != Kind::string) {
      report().wrong_type(item, name, "exit statuses and signals such as [143, \"TERM\"]");
      continue;
    } else if (!item.text.empty() && item.text[0] >= '0' && item.text[0] <= '9') {
      report().fault(item.place, name + " cannot be " + quote(item.text),
                     "write an exit status without quotes, a signal by its name");
      continue;
    } else {
      const auto signal = parse_signal(item.text);
      if (!signal) {
        report().fault(item.place, name + ": " + signal.error().message, signal.error().hint);
        continue;
      }
      number = kSignalEnd + *signal;
    }
    const auto end = static_cast<std::int32_t>(number);
    if (std::find(ends.begin(), ends.end(), end) == ends.end()) ends.push_back(end);
  }
}

void ServiceReader::read_log() {
  const Node* node = table_.find("log");
  if (node == nullptr) return;
  if (node->kind != Kind::table) {
    report().wrong_type(*node, "log", "a table such as { file = \"web.log\" }");
    return;
  }
  Table table(report(), *node, "log.");
  core::LogSpec& log = spec().log;
  const Node* file = table.find("file");
  if (file == nullptr) {
    report().fault(node->place, "log has no file", "add file = \"web.log\", or leave log out");
  } else if (std::string text; read_string(report(), *file, "log.file", text)) {
    log.file = absolute(reading_.folder, text);
    if (text.empty() || text.back() == '/') {
      report().fault(file->place, "log.file names no file");
    } else if (reading_.check_host) {
      check_folder(report(), file->place, "log.file", std::filesystem::path(log.file).parent_path().string());
    }
  }
  if (const Node* size = table.find("max_size")) {
    if (read_size(*size, "log.max_size", log.max_size) && log.max_size < kLogSizeMin) {
      report().fault(size->place, "log.max_size must be at least " + std::to_string(kLogSizeMin) + " bytes");
    }
  }
  table.read_integer("keep", 0, kLogKeepMax, log.keep);
  table.refuse_others();
}

}  // namespace runmain::config
