#include "app/doctor_processes.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <set>
#include <string_view>

#include "os/linux/listening.hpp"
#include "os/linux/proc.hpp"
#include "os/linux/process_tree.hpp"
#include "os/linux/sock_diag.hpp"
#include "os/loop/loop.hpp"

namespace runmain::app {
namespace {

constexpr std::size_t kArgvMax = 64U << 10U;
constexpr std::size_t kEnvironmentMax = 256U << 10U;
constexpr std::size_t kMapsMax = 1U << 20U;
constexpr std::size_t kTableMax = 1U << 20U;
constexpr std::size_t kSeenMax = 2000;

std::string proc_file(pid_t pid, const char* name, std::size_t limit) {
  return os::proc_text(("/proc/" + std::to_string(pid) + "/" + name).c_str(), limit);
}

std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(at), text.size());
    if (end > 0) parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::string_view last_part(std::string_view path) { return path.substr(path.rfind('/') + 1); }

bool is_injector(std::string_view library) {
  constexpr std::array<std::string_view, 6> kNames = {
      "otelinject", "otel-inject", "opentelemetry-inject", "launcher.preload", "liboneagent", "libinstana"};
  return std::any_of(kNames.begin(), kNames.end(), [&](std::string_view name) {
    return last_part(library).find(name) != std::string_view::npos;
  });
}

// What of an environment instruments who is started with it. Ours is no matter.
bool is_hook(std::string_view name, std::string_view value) {
  if (value.find("runmain") != std::string_view::npos && value.find("instrument") == std::string_view::npos &&
      value.find("register") == std::string_view::npos)
    return false;
  if (name == "PYTHONPATH") return value.find("auto_instrumentation") != std::string_view::npos;
  if (name == "NODE_OPTIONS") return value.find("opentelemetry") != std::string_view::npos;
  if (name == "JAVA_TOOL_OPTIONS") return value.find("-javaagent") != std::string_view::npos;
  if (name == "RUBYOPT") return value.find("opentelemetry") != std::string_view::npos;
  return name == "LD_PRELOAD" && !value.empty();
}

// What of an environment turns telemetry off, or sends it elsewhere than to a collector.
bool is_setting(std::string_view name, std::string_view value) {
  const auto says = [&](std::string_view part) { return value.find(part) != std::string_view::npos; };
  if (value.empty()) return false;
  if (name == "OTEL_SDK_DISABLED") return value == "true" || value == "TRUE" || value == "True";
  if (name == "OTEL_TRACES_EXPORTER") return !says("otlp");
  if (name == "OTEL_TRACES_SAMPLER") return says("off") || says("ratio");
  if (name.starts_with("OTEL_") && name.ends_with("EXCLUDED_URLS")) return true;
  return name == "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS" || name == "OTEL_NODE_DISABLED_INSTRUMENTATIONS" ||
         name == "OTEL_NODE_ENABLED_INSTRUMENTATIONS";
}

void read_environment(doctor::Process& process) {
  std::set<std::string> injectors;
  for (const std::string& entry : split(proc_file(process.pid, "environ", kEnvironmentMax), '\0')) {
    const std::size_t equals = entry.find('=');
    if (equals == std::string::npos) continue;
    const std::string name = entry.substr(0, equals);
    const std::string value = entry.substr(equals + 1);
    if (is_setting(name, value)) process.settings.push_back(name + "=" + value.substr(0, 200));
    if (is_hook(name, value)) process.hooks.push_back(name + "=" + value.substr(0, 200));
    if (name != "LD_PRELOAD") continue;
    for (const std::string& library : split(value, ':')) {
      if (is_injector(library)) injectors.insert(library);
    }
  }
  for (const std::string& line : split(proc_file(process.pid, "maps", kMapsMax), '\n')) {
    const std::size_t path = line.find('/');
    if (path != std::string::npos && is_injector(line.substr(path))) injectors.insert(line.substr(path));
  }
  process.injectors.assign(injectors.begin(), injectors.end());
}

// Threads of SDKs' exporters by their names (Python names threads for the system from 3.14 on), and the
// mapping that publishes a process context.
std::vector<std::string> signs_of(pid_t pid) {
  std::set<std::string> signs;
  std::error_code fault;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", fault)) {
    std::string name = os::proc_text((task.path() / "comm").c_str(), 64);
    while (!name.empty() && name.back() == '\n') name.pop_back();
    if (name.find("Otel") == 0 || name.find("BatchSpan") != std::string::npos) signs.insert("thread " + name);
  }
  if (proc_file(pid, "maps", kMapsMax).find("OTEL_CTX") != std::string::npos)
    signs.insert("mapping OTEL_CTX");
  return {signs.begin(), signs.end()};
}

// Field `name` of /proc/PID/status as a set of signals.
std::uint64_t signals_of(const std::string& status, std::string_view name) {
  const std::size_t at = status.find(name);
  if (at == std::string::npos) return 0;
  return os::parse_number(std::string_view(status).substr(at + name.size()), 16).value_or(0);
}

// The inode of the socket in /proc/net/tcp whose local end is this port of loopback. The columns: sl, local,
// remote, st, queues, timer, retransmits, uid, timeout, inode.
std::uint64_t inode_of_port(const std::string& table, std::uint16_t port, bool is_v6) {
  constexpr std::size_t kInodeColumn = 9;
  char wanted[8];
  std::snprintf(wanted, sizeof wanted, ":%04X", port);
  for (const std::string& line : split(table, '\n')) {
    const std::vector<std::string> columns = split(line, ' ');
    if (columns.size() <= kInodeColumn || !std::string_view(columns[1]).ends_with(wanted)) continue;
    if (!is_v6 && !columns[1].starts_with("0100007F")) continue;
    return os::parse_number(columns[kInodeColumn]).value_or(0);
  }
  return 0;
}

}  // namespace

void DoctorProcesses::look() {
  living_.clear();
  for (const std::uint64_t tag : tags_) {
    const std::vector<pid_t> tree = os::tagged_processes(tag);
    living_.insert(living_.end(), tree.begin(), tree.end());
  }
  std::set<std::uint64_t> listening;
  for (const os::Listening& one : os::listening_sockets(living_)) listening.insert(one.inode);
  for (const pid_t pid : living_) {
    doctor::Process& process = entry(pid);
    process.last_seen = os::Loop::now().time_since_epoch().count();
    if (process.first_seen == 0) process.first_seen = process.last_seen;
    read(process);
    for (const std::uint64_t inode : listening)
      process.listens = process.listens || os::process_has_socket(pid, inode);
  }
  // Between its fork and its exec, or at its end: it never was a program of its own.
  std::erase_if(seen_, [](const doctor::Process& p) { return p.argv.empty() && p.requests == 0; });
}

doctor::Process& DoctorProcesses::entry(pid_t pid) {
  const auto found =
      std::find_if(seen_.begin(), seen_.end(), [pid](const doctor::Process& p) { return p.pid == pid; });
  if (found != seen_.end()) return *found;
  if (seen_.size() >= kSeenMax) return seen_.back();
  doctor::Process process;
  process.pid = pid;
  return seen_.emplace_back(std::move(process));
}

void DoctorProcesses::read(doctor::Process& process) {
  auto argv = split(proc_file(process.pid, "cmdline", kArgvMax), '\0');
  const std::string status = proc_file(process.pid, "status", 4096);
  if (argv.empty() || status.empty()) return;  // it is a zombie
  if (process.parent == 0) {
    const std::size_t at = status.find("PPid:");
    if (at != std::string::npos)
      process.parent =
          static_cast<pid_t>(os::parse_number(std::string_view(status).substr(at + 5)).value_or(0));
  }
  process.handles_term =
      ((signals_of(status, "SigCgt:") | signals_of(status, "SigIgn:")) >> (SIGTERM - 1) & 1U) != 0;
  process.signs = signs_of(process.pid);
  if (argv == process.argv) return;
  process.argv = std::move(argv);
  process.hooks.clear();
  process.settings.clear();
  read_environment(process);
}

void DoctorProcesses::count_request(pid_t pid) { ++entry(pid).requests; }

pid_t DoctorProcesses::owner_of_inode(const std::vector<pid_t>& pids, std::uint64_t inode) {
  if (inode == 0) return 0;
  const auto found = std::find_if(pids.begin(), pids.end(),
                                  [inode](pid_t pid) { return os::process_has_socket(pid, inode); });
  return found == pids.end() ? 0 : *found;
}

pid_t DoctorProcesses::owner_of_port(std::uint64_t tag, std::uint16_t port) {
  std::uint64_t inode = inode_of_port(os::proc_text("/proc/net/tcp", kTableMax), port, false);
  if (inode == 0) inode = inode_of_port(os::proc_text("/proc/net/tcp6", kTableMax), port, true);
  return owner_of_inode(os::tagged_processes(tag), inode);
}

std::vector<std::string> DoctorProcesses::ebpf() {
  constexpr std::array<std::string_view, 3> kNames = {"beyla", "obi", "ebpf-instrument"};
  std::vector<std::string> found;
  os::any_process([&](pid_t pid) {
    const auto state = os::process_state(pid);
    if (state && std::find(kNames.begin(), kNames.end(), state->name) != kNames.end())
      found.push_back(state->name + " (pid " + std::to_string(pid) + ")");
    return found.size() >= 4;
  });
  return found;
}

}  // namespace runmain::app
