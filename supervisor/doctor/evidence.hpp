// What is known about a program that was run to be looked at: three kinds of evidence, as values.
//
// - hooks: records of the probes in its processes (docs/doctor-records.md);
// - spans: what came to the receiver, each with the process at the other end of its connection;
// - proc: the processes, as /proc showed them.
// Beside them: the requests that were driven through it, the collectors that it was set up for, and its stop.
//
// Invariant: plain values; times are CLOCK_MONOTONIC in nanoseconds; a pid names one process, as the run is
// too short for a second round of pids. Non-goal: what any of it means (judge.hpp).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace runmain::doctor {

using Nanoseconds = std::int64_t;
using Stack = std::vector<std::string>;  // "FILE:LINE FUNCTION", innermost first

// ---- proc

struct Process {
  pid_t pid = 0;
  pid_t parent = 0;  // when it was first seen; its parent may have ended since
  std::vector<std::string> argv;
  bool listens = false;            // a TCP socket in state LISTEN is its own or inherited
  unsigned requests = 0;           // that it accepted of ours
  std::vector<std::string> hooks;  // what instruments it by its environment: "PYTHONPATH=…", "NODE_OPTIONS=…"
  std::vector<std::string> injectors;  // libraries that inject an SDK, mapped or preloaded
  bool handles_term = false;           // SIGTERM is caught or ignored
  // Signs of an SDK in it: a thread that exports, a process context (OTEP 4719); "thread OtelBatchSpanRec".
  std::vector<std::string> signs;
  // Of its environment: what turns telemetry off or elsewhere, "OTEL_SDK_DISABLED=true".
  std::vector<std::string> settings;
  Nanoseconds first_seen = 0;  // living; 0: unknown
  Nanoseconds last_seen = 0;
  // Of its probe; empty without one.
  std::string runtime;
  std::optional<bool> forked;  // it came by a fork of a process with a probe
};

// ---- hooks

struct Record {
  pid_t pid = 0;
  Nanoseconds time = 0;
  Stack stack;
};

struct ProviderMade : Record {
  std::uint64_t id = 0;
  std::string type;
  std::map<std::string, std::string> resource;
};

struct ProviderSet : Record {
  std::optional<std::uint64_t> provider;
  std::string type;
  bool accepted = true;
  pid_t first_pid = 0;  // who had set it, where it was refused; 0: unknown
};

struct ProcessorAdded : Record {
  std::uint64_t provider = 0;
  std::uint64_t id = 0;
  std::string type;
  std::optional<std::uint64_t> exporter;
  std::string exporter_type;
  std::string endpoint;  // as the program asked for; empty: no exporter of OTLP
  std::string protocol;
  std::string headers;  // a digest; of one endpoint and headers two exporters are one too many
};

struct Instrumented : Record {
  std::string type;
  std::string library;
  std::optional<std::uint64_t> app;
  bool automatic = false;
  bool refused = false;
  bool late = false;
};

struct Middleware : Record {
  std::string type;
  std::string library;
  bool by_program = false;
};

struct OpenSpan {
  std::string trace;
  std::string span;
  std::string name;
};

struct Forked : Record {
  pid_t parent = 0;
  std::vector<std::uint64_t> providers;  // with a processor that exports, alive in the child
  std::vector<OpenSpan> open;
  std::uint64_t queued = 0;
};

struct SpanSeen : Record {
  std::string trace;
  std::string span;
  std::string parent;
  std::string name;
  int kind = 0;  // as OTLP's: 2 is SERVER
  std::string scope;
  std::optional<std::uint64_t> provider;
  bool by_program = false;
  std::string at;    // who began it
  std::string task;  // thread and task that it began in; empty: unknown
  std::optional<Nanoseconds> end;
  bool activated = false;
};

struct Shutdown : Record {
  std::uint64_t provider = 0;
};

struct SignalHandled : Record {
  std::string signal;
  std::string handler;
};

struct Killed : Record {
  pid_t target = 0;
  std::string signal;
};

struct Exited : Record {
  std::string how;
  int code = 0;
};

// ---- spans

struct WireSpan {
  pid_t pid = 0;  // 0: nobody was found at the other end
  std::uint64_t connection = 0;
  std::string trace;
  std::string span;
  std::string parent;
  std::string name;
  int kind = 0;
  std::string scope;
  std::string service;
  std::string instance_id;
  std::uint64_t start_unix_nano = 0;
  std::uint64_t end_unix_nano = 0;
  std::uint64_t digest = 0;  // of its bytes
};

// ---- what was done to it

struct Request {
  pid_t pid = 0;  // who accepted it; 0: unknown
  Nanoseconds begin = 0;
  Nanoseconds end = 0;
  int status = 0;     // of HTTP; 0: no answer
  bool last = false;  // right before the stop
};

enum class Reach : std::uint8_t { answers, refused, silent };

struct Collector {
  std::string endpoint;
  Reach reach = Reach::answers;
  bool asked_for = true;  // by the program or its environment; otherwise it is the default
};

struct Stop {
  bool tried = false;
  std::string signal;  // "SIGTERM", or "SIGINT" for what is stopped by Ctrl-C
  Nanoseconds begin = 0;
  std::optional<Nanoseconds> ended;         // all of it; empty: it was killed
  std::optional<Nanoseconds> still_served;  // a request that it answered long after the signal
  pid_t still_served_by = 0;
  pid_t asked_directly = 0;          // who got the signal from us, as it had not come through the command
  bool collectors_imitated = false;  // during the stop our receiver was as dead as the collector
};

struct Evidence {
  std::vector<std::string> command;
  std::vector<Process> processes;
  std::map<std::string, std::string> packages;  // name to version
  std::vector<ProviderMade> providers;
  std::vector<ProviderSet> sets;
  std::vector<ProcessorAdded> processors;
  std::vector<Instrumented> instrumented;
  std::vector<Middleware> middlewares;
  std::vector<Forked> forks;
  std::vector<SpanSeen> seen;
  std::vector<Shutdown> shutdowns;
  std::vector<SignalHandled> signals;
  std::vector<Killed> kills;
  std::vector<Exited> exits;
  std::vector<WireSpan> spans;
  std::vector<Request> requests;
  std::uint16_t port = 0;            // that was asked
  std::vector<std::uint16_t> ports;  // that it listens on
  bool one_at_a_time = true;         // its requests were all ours, one after the other in each process
  std::vector<Collector> collectors;
  std::vector<std::string> ebpf;  // instrumentation by eBPF that runs on this machine
  Stop stop;
  std::uint64_t records_lost = 0;  // over a bound, or unreadable
};

}  // namespace runmain::doctor
