#include "drive/launch.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/env_file.hpp"
#include "base/identity.hpp"
#include "child_runtime/protocol.h"
#include "drive/account.hpp"
#include "drive/launch_telemetry.hpp"
#include "os/linux/fd.hpp"
#include "os/linux/sockets.hpp"

namespace runmain::drive {
namespace {

// Variables that speak about one process. Inherited ones speak about runmain, or about what started it.
constexpr std::array<std::string_view, 11> kNotInherited = {
    "LISTEN_FDS",         "LISTEN_PID",   "LISTEN_FDNAMES",   "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",      "WATCHDOG_PID", "WATCHDOG_USEC",    "WERKZEUG_RUN_MAIN",
    "WERKZEUG_SERVER_FD", "RUN_MAIN",     "NODE_APP_INSTANCE"};
constexpr std::array<std::string_view, 3> kPrefixesNotInherited = {"RUNMAIN_", "EINHORN_", "SERVER_STARTER_"};

// A runmain in which we run has put its bootstrap in there, which is ours to put in.
std::string inherited_value(std::string_view name, std::string_view value) {
  if (name == "PYTHONPATH") return own_python_path(value);
  if (name == "NODE_OPTIONS") return own_node_options(value);
  if (name == "LD_PRELOAD") return own_preload(value);
  return std::string(value);
}

bool is_inherited(std::string_view name) {
  const auto begins = [&](std::string_view prefix) { return name.substr(0, prefix.size()) == prefix; };
  return std::none_of(kPrefixesNotInherited.begin(), kPrefixesNotInherited.end(), begins) &&
         std::find(kNotInherited.begin(), kNotInherited.end(), name) == kNotInherited.end();
}

// An environment in which a later value replaces an earlier one in its place.
class Environment {
 public:
  void set(std::string_view name, std::string_view value) {
    const auto [it, added] = places_.try_emplace(std::string(name), lines_.size());
    std::string line = std::string(name) + "=" + std::string(value);
    if (added) {
      lines_.push_back(std::move(line));
    } else {
      lines_[it->second] = std::move(line);
    }
  }
  void set_if(std::string_view name, std::string_view value) {
    if (!value.empty()) set(name, value);
  }
  std::vector<std::string> take() { return std::move(lines_); }

 private:
  std::vector<std::string> lines_;
  std::unordered_map<std::string, std::size_t> places_;
};

const char* text_of(core::Reason reason) {
  switch (reason) {
    case core::Reason::start: return "start";
    case core::Reason::change: return "change";
    case core::Reason::crash: return "crash";
    case core::Reason::scale: return "scale";
    case core::Reason::recycle: return "recycle";
  }
  return "start";
}

std::string zeros() { return std::string(keeper::kPlaceholderDigits, '0'); }

// What stops a plan, before it has a key.
struct Fault {
  core::SpawnStage stage;
  int error;
  std::string detail;
};

std::optional<Fault> add_env_files(const core::ServiceSpec& spec, Environment& env) {
  for (const std::string& file : spec.env_files) {
    auto text = os::read_file(file, kEnvFileMax);
    if (!text) {
      const int code = text.error().code != 0 ? text.error().code : EFBIG;
      return Fault{core::SpawnStage::resources, code, "env_file " + file + ": " + std::strerror(code)};
    }
    const EnvFile parsed = parse_env_file(*text, file);
    if (!parsed.faults.empty()) {
      return Fault{core::SpawnStage::resources, EINVAL, "env_file: " + parsed.faults.front().text()};
    }
    for (const auto& [name, value] : parsed.variables) env.set(name, value);
  }
  return std::nullopt;
}

// sd_listen_fds_with_names(3): printable ASCII without ':', at most 255 bytes.
std::string fd_name(const std::string& name) {
  std::string out = name.substr(0, 255);
  for (char& c : out) {
    if (c <= ' ' || c > '~' || c == ':') c = '_';
  }
  return out.empty() ? "unknown" : out;
}

// The sockets as other managers tell of them, for programs that know one of those. Left out is what says "I
// am your parent", for it is not so, and makes a program do something else: EINHORN_MASTER_PID and
// EINHORN_SOCK_PATH (acknowledge at a control socket, or fail), NGINX and GUNICORN_FD (end the old master,
// whom they take our keeper for), PUMA_INHERIT_n (a restart of the same puma), WERKZEUG_SERVER_FD (we are the
// reloader), NODE_CHANNEL_FD (talk to a cluster's primary). A file or a specification that sets one of these
// names means its own value.
void add_dialects(const LaunchInput& in, Environment& env) {
  std::string starter;
  int fd = RUNMAIN_LISTEN_FDS_START;
  for (const LaunchListener& l : in.listeners) {
    env.set("EINHORN_FD_" + std::to_string(fd - RUNMAIN_LISTEN_FDS_START), std::to_string(fd));
    // "ADDRESS=FD;…". A datagram socket is none that a program of that kind could accept from.
    const std::string address = l.bound.rfind("unix:", 0) == 0 ? l.bound.substr(5) : l.bound;
    if (l.bound.rfind("udp:", 0) != 0 && address.find_first_of("=;") == std::string::npos)
      starter += (starter.empty() ? "" : ";") + address + "=" + std::to_string(fd);
    ++fd;
  }
  env.set("EINHORN_FD_COUNT", std::to_string(in.listeners.size()));
  env.set("EINHORN_CHILD_INDEX", std::to_string(in.key.slot));
  if (starter.empty()) return;
  env.set("SERVER_STARTER_PORT", starter);
  env.set("SERVER_STARTER_GENERATION", std::to_string(in.key.generation));
}

// pm2's name for the slot. Only where there are several: some programs look for a configuration file of this
// instance when they see it, and complain that there is none.
void add_instance(const LaunchInput& in, Environment& env) {
  const core::ServiceSpec& spec = *in.spec;
  const bool several = std::max(spec.workers, spec.workers_max) > 1 || spec.workers_auto;
  if (several || in.key.slot > 0) env.set("NODE_APP_INSTANCE", std::to_string(in.key.slot));
}

void add_listeners(const LaunchInput& in, Environment& env, keeper::SpawnChild& child) {
  if (in.listeners.empty()) return;
  std::string names;
  for (const LaunchListener& l : in.listeners) {
    child.listeners.push_back(l.id);
    names += (names.empty() ? "" : ":") + fd_name(l.name);
  }
  env.set("LISTEN_FDS", std::to_string(in.listeners.size()));
  env.set("LISTEN_PID", zeros());
  env.set("LISTEN_FDNAMES", names);
}

// Whom the child is, or, if it is a hook or a look, is about.
const ChildKey& subject(const LaunchInput& in) { return in.key.is_about() ? in.about : in.key; }

std::vector<std::string> bound_of(const LaunchInput& in) {
  std::vector<std::string> all;
  for (const LaunchListener& l : in.listeners) all.push_back(l.bound);
  return all;
}

// Where the program shall bind: {port} and PORT. One that is adopted is told where its socket is.
std::uint16_t told_port(const LaunchInput& in) {
  if (in.spec->adopt) return port_of_first(bound_of(in));
  return own_port(*in.spec, subject(in).slot, in.auto_port);
}

// What a hook or a look must know of the worker that it is about.
void add_subject(const LaunchInput& in, Environment& env) {
  const std::string pid = std::to_string(in.about_pid);
  if (in.key.is_hook()) {
    env.set(RUNMAIN_ENV_HUNG_PID, pid);
    env.set_if(RUNMAIN_ENV_HANG_KIND, in.hang);
  }
  env.set(RUNMAIN_ENV_PID, pid);
  env.set(RUNMAIN_ENV_WORKER, std::to_string(in.about.slot));
  env.set(RUNMAIN_ENV_INSTANCE_ID, instance_id(in.secret, in.about));
}

// What only a serving child gets: a helper must not be able to claim.
void add_contract(const LaunchInput& in, Environment& env, keeper::SpawnChild& child) {
  const ChildKey& key = in.key;
  env.set(RUNMAIN_ENV_TOKEN, "1:" + in.spec->name + ":" + std::to_string(key.slot) + ":" +
                                 std::to_string(key.generation) + ":" + nonce(in.secret, key) + ":" +
                                 zeros());
  env.set_if(RUNMAIN_ENV_CHANNEL, in.channel);
  env.set(RUNMAIN_ENV_WORKER, std::to_string(key.slot));
  env.set(RUNMAIN_ENV_INSTANCE_ID, instance_id(in.secret, key));
  // sd_watchdog_enabled(3); without WATCHDOG_PID it is for any process of the child.
  if (const Duration watchdog = in.spec->hang.watchdog; watchdog > Duration::zero())
    env.set("WATCHDOG_USEC",
            std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(watchdog).count()));
  add_listeners(in, env, child);
}

// Last of all: what a file or the specification says of the exporter has become the observer's.
void add_telemetry(const LaunchInput& in, const Account& account, std::vector<std::string>& environment) {
  const core::TelemetrySpec& telemetry = in.spec->telemetry;
  if (!telemetry.enabled) return;
  if (telemetry.direct) {
    if (in.key.is_worker()) export_directly(environment, telemetry);
    return;
  }
  if (in.otlp.empty()) return;
  if (!in.key.is_worker()) return take_telemetry_out(environment);
  Bootstrap bootstrap = account.change && !in.bootstrap.others_can_read ? Bootstrap{} : in.bootstrap;
  for (const std::string& word : in.spec->command.argv) {
    if (restricts_node(word)) bootstrap.node.clear();
  }
  export_to_observer(environment, {in.otlp, otlp_token(in.secret, in.key), in.spec->name,
                                   instance_id(in.secret, in.key), in.key.slot, in.key.generation,
                                   in.short_delays, std::move(bootstrap), telemetry.automatic});
}

std::optional<Fault> add_environment(const LaunchInput& in, const Account& account,
                                     keeper::SpawnChild& child) {
  Environment env;
  for (const std::string& line : in.environment) {
    const std::size_t equals = line.find('=');
    if (equals == std::string::npos || equals == 0) continue;
    const std::string_view name = std::string_view(line).substr(0, equals);
    if (!is_inherited(name)) continue;
    const std::string_view value = std::string_view(line).substr(equals + 1);
    const std::string own = inherited_value(name, value);
    if (!own.empty() || value.empty()) env.set(name, own);
  }
  if (account.change) {  // runmain's own home is of no use to another user; a file may still say otherwise
    env.set_if("USER", account.name);
    env.set_if("LOGNAME", account.name);
    env.set_if("HOME", account.home);
  }
  if (in.key.is_worker()) {
    if (!in.listeners.empty()) add_dialects(in, env);
    add_instance(in, env);
  }
  if (auto fault = add_env_files(*in.spec, env)) return fault;
  for (const auto& [name, value] : in.spec->env) env.set(name, value);

  env.set(RUNMAIN_ENV_SERVICE, in.spec->name);
  env.set(RUNMAIN_ENV_GENERATION, std::to_string(subject(in).generation));
  env.set(RUNMAIN_ENV_REASON, text_of(in.reason));
  env.set_if(RUNMAIN_ENV_CHANGED, in.changed_file);
  if (in.spec->browser) env.set_if(RUNMAIN_ENV_BROWSER, in.browser);
  const auto is_own = [](const auto& pair) { return pair.first == "TRACEPARENT"; };
  if (std::none_of(in.spec->env.begin(), in.spec->env.end(), is_own))
    env.set_if("TRACEPARENT", in.traceparent);
  if (const auto port = told_port(in)) env.set("PORT", std::to_string(port));
  if (in.key.is_worker()) add_contract(in, env, child);
  if (in.key.is_about()) add_subject(in, env);
  child.env = env.take();
  add_telemetry(in, account, child.env);
  if (!in.doctor.empty()) add_probes(child.env, in.doctor, in.bootstrap);
  return std::nullopt;
}

// The last one to look at LD_PRELOAD, and the only one who puts something in.
std::optional<Fault> add_adoption(const LaunchInput& in, const Account& account, keeper::SpawnChild& child) {
  if (!in.spec->adopt || !in.key.is_worker() || in.listeners.empty()) return std::nullopt;
  AdoptStart start{child.argv.front(), child.cwd, bound_of(in), geteuid(), getegid(), account.change};
  if (account.change) {
    start.uid = account.uid;
    start.gid = account.gid;
  }
  child.adopt = true;
  const auto why = put_adoption_in(child.env, start, in.adopt);
  return why ? std::optional<Fault>(Fault{core::SpawnStage::exec, ENOTSUP, *why}) : std::nullopt;
}

void add_account(const core::ServiceSpec& spec, const Account& account, keeper::SpawnChild& child) {
  child.set_user = account.change;
  child.uid = account.uid;
  child.gid = account.gid;
  child.groups = account.groups;
  if (spec.umask) child.umask = static_cast<std::int32_t>(*spec.umask);
  for (const core::LimitSpec& l : spec.limits) child.limits.push_back({l.resource, l.soft, l.hard});
}

// nullptr: a helper that the service does not have.
const core::CommandSpec* command_of(const LaunchInput& in) {
  const core::ServiceSpec& spec = *in.spec;
  if (in.key.is_build()) return spec.watch && spec.watch->build ? &*spec.watch->build : nullptr;
  if (in.key.is_hook()) return spec.hang.hook ? &*spec.hang.hook : nullptr;
  if (in.key.is_probe()) return spec.ready.kind == core::ReadyKind::exec ? &spec.ready.command : nullptr;
  if (in.key.is_look()) return spec.health.kind == core::HealthKind::exec ? &spec.health.command : nullptr;
  return &spec.command;
}

std::optional<Fault> add_command(const LaunchInput& in, keeper::SpawnChild& child) {
  const core::CommandSpec* command = command_of(in);
  if (command == nullptr) {
    const char* what = in.key.is_build()   ? "the service has no build step"
                       : in.key.is_hook()  ? "the service has no on_hang hook"
                       : in.key.is_probe() ? "the service has no ready command"
                                           : "the service has no health command";
    return Fault{core::SpawnStage::exec, EINVAL, what};
  }
  if (command->argv.empty() || command->argv.front().empty()) {
    return Fault{core::SpawnStage::exec, EINVAL, "the command is empty"};
  }
  Substitution with;
  with.listeners = in.key.is_worker() ? &in.listeners : nullptr;
  with.port = told_port(in);
  with.worker = subject(in).slot;
  with.generation = subject(in).generation;
  with.pid = in.about_pid;
  for (const std::string& argument : command->argv) child.argv.push_back(substitute(argument, with));
  return std::nullopt;
}

// execve(2) takes strings that end at their first NUL: one inside would silently cut the rest off.
std::optional<Fault> check(const keeper::SpawnChild& child) {
  std::size_t bytes = 0;
  for (const std::string& argument : child.argv) {
    bytes += argument.size() + 1;
    if (argument.find('\0') != std::string::npos) {
      return Fault{core::SpawnStage::exec, EINVAL, "an argument of the command contains a NUL byte"};
    }
  }
  for (const std::string& line : child.env) {
    bytes += line.size() + 1;
    if (line.find('\0') != std::string::npos) {
      const std::string name = line.substr(0, line.find_first_of(std::string("=\0", 2)));
      return Fault{core::SpawnStage::exec, EINVAL, "the variable " + name + " contains a NUL byte"};
    }
  }
  if (bytes > keeper::kSpawnMax / 2) {  // the archive's lengths come on top
    return Fault{core::SpawnStage::exec, E2BIG, "command and environment together are too long"};
  }
  if (child.listeners.size() > keeper::kListenersMax) {
    return Fault{core::SpawnStage::resources, E2BIG, "too many listening sockets for one child"};
  }
  return std::nullopt;
}

std::optional<Fault> fill(const LaunchInput& in, keeper::SpawnChild& child) {
  auto account = resolve_account(in.spec->user, in.spec->group, {geteuid(), getegid()});
  if (!account) {
    return Fault{core::SpawnStage::user, account.error().code, account.error().text()};
  }
  child.cwd = in.spec->cwd;
  child.notify = in.key.is_worker();
  if (in.spec->pty) child.stdio = in.key.is_worker() ? keeper::Stdio::pty : keeper::Stdio::pty_output;
  // Nobody would want a helper's result, and a terminal goes with who holds it.
  child.die_with_keeper = !in.key.is_worker() || in.spec->die_with_keeper || in.spec->pty;
  add_account(*in.spec, *account, child);
  if (auto fault = add_command(in, child)) return fault;
  if (auto fault = add_environment(in, *account, child)) return fault;
  if (auto fault = add_adoption(in, *account, child)) return fault;
  return check(child);
}

// What the text between two braces stands for.
std::optional<std::string> meaning(std::string_view word, const Substitution& with) {
  if (word == "port" && with.port != 0) return std::to_string(with.port);
  if (word == "worker") return std::to_string(with.worker);
  if (word == "generation") return std::to_string(with.generation);
  if (word == "pid" && with.pid != 0) return std::to_string(with.pid);
  if (with.listeners == nullptr || with.listeners->empty()) return std::nullopt;
  if (word == "fd") return std::to_string(RUNMAIN_LISTEN_FDS_START);
  if (word.substr(0, 3) != "fd:") return std::nullopt;
  const auto& all = *with.listeners;
  const auto it =
      std::find_if(all.begin(), all.end(), [&](const auto& l) { return l.name == word.substr(3); });
  if (it == all.end()) return std::nullopt;
  return std::to_string(RUNMAIN_LISTEN_FDS_START + (it - all.begin()));
}

// A socket that has the port for v4 and v6, or for v4 where there is no v6. A connection that has just ended
// is no obstacle; a listener is one all the same.
Result<os::UniqueFd> bind_port(std::uint16_t port) {
  const int on = 1;
  os::UniqueFd fd(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd) {
    const int off = 0;
    if (port != 0) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(port);
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0) return fd;
    if (errno == EADDRINUSE || errno == EACCES) return Error::from_errno("bind", errno);
  }
  fd.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error::from_errno("socket", errno);
  if (port != 0) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_port = htons(port);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) {
    return Error::from_errno("bind", errno);
  }
  return fd;
}

std::uint16_t port_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return address.ss_family == AF_INET6 ? ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port)
                                       : ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

}  // namespace

Launch plan(const LaunchInput& input) {
  keeper::SpawnChild child;
  child.key = input.key;
  child.service = input.spec->name;
  if (input.spec->port && *input.spec->port == 0) child.port = input.auto_port;
  if (auto fault = fill(input, child)) {
    return keeper::RefuseSpawn{input.key, static_cast<std::uint8_t>(fault->stage), fault->error,
                               fault->detail};
  }
  return child;
}

std::uint16_t own_port(const core::ServiceSpec& spec, std::uint32_t slot, std::uint16_t auto_port) {
  if (!spec.port) return 0;
  if (*spec.port != 0) return *spec.port;
  if (auto_port == 0 || slot == kBuildSlot) return auto_port;
  const std::uint64_t port = std::uint64_t{auto_port} + slot;
  return port > 0xffff ? 0 : static_cast<std::uint16_t>(port);
}

Result<void> check_own_port(const core::ServiceSpec& spec, std::uint32_t slot, std::uint16_t auto_port) {
  if (!spec.port || *spec.port != 0 || auto_port == 0) return {};
  const std::uint16_t port = own_port(spec, slot, auto_port);
  const std::string whose = " of worker " + std::to_string(slot);
  if (port == 0)
    return Error{"there is no port" + whose + ": the first one has " + std::to_string(auto_port),
                 {},
                 {},
                 EADDRNOTAVAIL};
  if (bind_port(port).ok()) return {};
  const std::string holder = os::holder_of_port(port);
  return Error{
      "port " + std::to_string(port) + whose + " is in use" + (holder.empty() ? "" : " by " + holder),
      {},
      {},
      EADDRINUSE};
}

Result<std::uint16_t> pick_ports(std::uint32_t count) {
  Error last{"no free run of " + std::to_string(count) + " ports", {}, {}, EADDRINUSE};
  for (int i = 0; i < kPortTries; ++i) {
    auto first = bind_port(0);
    if (!first) return first.error();
    const std::uint16_t base = port_of(first->get());
    if (base == 0 || std::uint64_t{base} + count > 0x10000) continue;
    bool all = true;
    for (std::uint32_t n = 1; n < count && all; ++n)
      all = bind_port(static_cast<std::uint16_t>(base + n)).ok();
    if (all) return base;
  }
  return last;
}

std::string substitute(const std::string& text, const Substitution& with) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t open = text.find('{', at);
    out.append(text, at, open == std::string::npos ? open : open - at);
    if (open == std::string::npos) break;
    const bool escaped = open + 1 < text.size() && text[open + 1] == '{';
    const std::size_t word = open + (escaped ? 2 : 1);
    const std::size_t close = text.find_first_of("{}", word);
    std::optional<std::string> value;
    if (close != std::string::npos && text[close] == '}' && (open == 0 || text[open - 1] != '$')) {
      value = meaning(std::string_view(text).substr(word, close - word), with);
    }
    if (!value) {
      out.push_back('{');
      at = open + 1;
    } else if (escaped) {
      out.append(text, open + 1, close - open);
      at = close + 1;
    } else {
      out += *value;
      at = close + 1;
    }
  }
  return out;
}

}  // namespace runmain::drive
