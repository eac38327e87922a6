// The validated configuration: what the user wants, as plain data. Made by config/, read by core and drive.
// Invariant: whoever holds a Desired may rely on it: names are unique, depends_on is acyclic and names
// services that exist, addresses are well-formed, durations are not negative. Non-goal: how TOML spells it.
#pragma once

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "base/time.hpp"
#include "core/pool_spec.hpp"
#include "core/telemetry_spec.hpp"

namespace runmain::core {

enum class Mode : std::uint8_t { dev, prod };
enum class RestartPolicy : std::uint8_t { always, on_failure, never };
enum class ReadyKind : std::uint8_t { automatic, notify, tcp, http, after, exec };
// What a change does: restart (a start that has become stale is given up for it), queue (after the start that
// is under way), ignore (while a start is under way; later ones restart), signal (no restart at all).
enum class OnChange : std::uint8_t { restart, queue, ignore, signal };
enum class AddressKind : std::uint8_t { tcp, unix_path, unix_abstract, udp };

// Back-off between crashes: the first restart is immediate, the second waits `initial`, then each waits
// factor_percent/100 times as long, up to `max`, give or take jitter_percent. A run of `reset` that was ready
// starts the count anew. `burst` deaths in a row without such a run fail the service; 0 means never.
struct Backoff {
  Duration initial = 100ms;
  Duration max = 30s;
  std::uint32_t factor_percent = 200;
  std::uint32_t jitter_percent = 10;
  std::uint32_t burst = 0;
  Duration reset = 10s;

  friend bool operator==(const Backoff&, const Backoff&) = default;
  template <class A>
  void fields(A& a) {
    a("initial", initial);
    a("max", max);
    a("factor_percent", factor_percent);
    a("jitter_percent", jitter_percent);
    a("burst", burst);
    a("reset", reset);
  }
};

struct ReadySpec {
  ReadyKind kind = ReadyKind::automatic;
  std::string path;     // http: "/health"
  std::string address;  // tcp, http: "HOST:PORT"; empty means the service's first listen address or its port
  Duration timeout = 30s;  // not ready by then: the start has failed
  Duration after = 0s;     // after: alive for so long
  CommandSpec command;     // exec: run until it exits with 0; {pid}, {worker}

  friend bool operator==(const ReadySpec&, const ReadySpec&) = default;
  template <class A>
  void fields(A& a) {
    a("kind", kind);
    a("path", path);
    a("address", address);
    a("timeout", timeout);
    a("after", after);
    a("command", command);
  }
};

struct StopSpec {
  int signal = SIGTERM;
  Duration timeout = 10s;       // the drain's budget; then SIGKILL to the whole tree
  bool group = true;            // the signals go to the process group; false: to the main process only
  std::vector<StopStep> then;   // further signals, rising, each before timeout
  Duration flush = 2s;          // a child that said it is drained has this from then on, and no more
  std::uint32_t lingering = 0;  // older generations that may still drain when the next one starts

  friend bool operator==(const StopSpec&, const StopSpec&) = default;
  template <class A>
  void fields(A& a) {
    a("signal", signal);
    a("then", then);
    a("timeout", timeout);
    a("flush", flush);
    a("group", group);
    a("lingering", lingering);
  }
};

struct WatchSpec {
  std::vector<std::string> paths;    // absolute; files or folders
  std::vector<std::string> ignore;   // globs as in .gitignore, relative to the watched path
  std::vector<std::string> include;  // globs; not empty: only files that one of them matches
  bool ignore_files = true;          // .gitignore and its like count, and so does the built-in list
  bool poll = false;                 // look every so often in place of inotify(7)
  std::optional<CommandSpec> build;
  Duration settle = 50ms;        // quiet for so long …
  Duration settle_max = 1500ms;  // … or changed for so long: act
  OnChange on_change = OnChange::restart;
  int signal = SIGHUP;  // on_change = signal: to every ready worker

  friend bool operator==(const WatchSpec&, const WatchSpec&) = default;
  template <class A>
  void fields(A& a) {
    a("paths", paths);
    a("ignore", ignore);
    a("include", include);
    a("ignore_files", ignore_files);
    a("poll", poll);
    a("build", build);
    a("settle", settle);
    a("settle_max", settle_max);
    a("on_change", on_change);
    a("signal", signal);
  }
};

// One listening address. `text` is as the file says it and names the socket among its service's.
// host is empty for "every address, v4 and v6" (":8000"). port 0: the kernel chooses once, and it is kept.
struct ListenSpec {
  AddressKind kind = AddressKind::tcp;
  std::string text;
  std::string name;  // LISTEN_FDNAMES; {fd:NAME}
  std::string host;  // numeric, without brackets
  std::uint16_t port = 0;
  std::string path;  // unix_path: absolute; unix_abstract: the name without '@'
  std::string at;    // file:line:column

  friend bool operator==(const ListenSpec& a, const ListenSpec& b) {
    return a.text == b.text && a.name == b.name;
  }
  template <class A>
  void fields(A& a) {
    a("kind", kind);
    a("text", text);
    a("name", name);
    a("host", host);
    a("port", port);
    a("path", path);
    a("at", at);
  }
};

struct LogSpec {
  std::string file;                     // absolute; empty: kept in memory only
  std::uint64_t max_size = 10U << 20U;  // bytes; a file is rotated before it would grow past this
  std::uint32_t keep = 5;               // rotated files beside the current one

  friend bool operator==(const LogSpec&, const LogSpec&) = default;
  template <class A>
  void fields(A& a) {
    a("file", file);
    a("max_size", max_size);
    a("keep", keep);
  }
};

// A resource limit: RLIMIT_* number and both values; RLIM_INFINITY is ~0.
struct LimitSpec {
  std::int32_t resource = 0;
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;

  friend bool operator==(const LimitSpec&, const LimitSpec&) = default;
  template <class A>
  void fields(A& a) {
    a("resource", resource);
    a("soft", soft);
    a("hard", hard);
  }
};

struct ServiceSpec {
  std::string name;
  std::string at;  // file:line:column of its table
  CommandSpec command;
  std::vector<ListenSpec> listen;
  std::optional<std::uint16_t> port;  // the program binds by itself; 0: "auto"
  bool adopt = false;                 // it binds by itself, and gets the sockets of `listen` for it
  std::uint32_t workers = 1;
  std::uint32_t workers_max = 0;  // more than `workers`: between the two, as the load asks for
  bool workers_auto = false;      // `workers` is to be set to the CPUs that we may use; done before core
  Balance balance = Balance::shared;
  RollSpec roll;
  HealthSpec health;
  HangSpec hang;
  RecycleSpec recycle;
  std::optional<WatchSpec> watch;
  ReadySpec ready;
  StopSpec stop;
  RestartPolicy restart = RestartPolicy::always;
  Backoff backoff;
  // How an end is judged: 0 … 255 an exit status, 1000 + N a signal. Status 0 is always a success.
  std::vector<std::int32_t> success;     // as good as 0
  std::vector<std::int32_t> no_restart;  // the slot stays empty: it has failed for good
  bool await_change = false;  // a worker that fails before it was ready is not tried again until files change
  std::vector<std::string> depends_on;
  std::vector<std::pair<std::string, std::string>> env;  // over the inherited environment and env_file
  std::vector<std::string> env_files;                    // absolute
  std::string cwd;                                       // absolute
  bool overlap = true;  // the old generation serves until the new one is ready
  LogSpec log;
  std::string user;
  std::string group;
  std::optional<std::uint32_t> umask;
  std::vector<LimitSpec> limits;
  bool die_with_keeper = true;  // on_keeper_death = "stop"
  bool browser = false;         // its pages reload when a new generation serves
  bool pty = false;             // stdio is a terminal of its own
  bool end_on_failure = false;  // failed for good is failed, whatever is watched: runmain ends
  TelemetrySpec telemetry;

  // Nobody makes it smaller or larger than this.
  std::uint32_t workers_least() const { return workers_max == 0 ? 1 : workers; }
  std::uint32_t workers_most() const {
    return workers_max == 0 ? kWorkersMax : std::max(workers, workers_max);
  }

  friend bool operator==(const ServiceSpec&, const ServiceSpec&) = default;
  template <class A>
  void fields(A& a) {
    a("name", name);
    a("at", at);
    a("command", command);
    a("listen", listen);
    a("port", port);
    a("adopt", adopt);
    a("workers", workers);
    a("workers_max", workers_max);
    a("workers_auto", workers_auto);
    a("balance", balance);
    a("roll", roll);
    a("health", health);
    a("hang", hang);
    a("recycle", recycle);
    a("watch", watch);
    a("ready", ready);
    a("stop", stop);
    a("restart", restart);
    a("backoff", backoff);
    a("success", success);
    a("no_restart", no_restart);
    a("await_change", await_change);
    a("depends_on", depends_on);
    a("env", env);
    a("env_files", env_files);
    a("cwd", cwd);
    a("overlap", overlap);
    a("log", log);
    a("user", user);
    a("group", group);
    a("umask", umask);
    a("limits", limits);
    a("die_with_keeper", die_with_keeper);
    a("browser", browser);
    a("pty", pty);
    a("end_on_failure", end_on_failure);
    a("telemetry", telemetry);
  }
};

struct Desired {
  Mode mode = Mode::dev;
  std::string file;                   // absolute path of the configuration
  std::vector<ServiceSpec> services;  // in the file's order
  bool clear = false;                 // the terminal is cleared before each generation

  template <class A>
  void fields(A& a) {
    a("mode", mode);
    a("file", file);
    a("services", services);
    a("clear", clear);
  }
};

}  // namespace runmain::core
