// From a service's specification to what the keeper is asked to execute: argv, environment, user, limits.
//
// Invariant: the outcome depends on the input, the env files, the user database and, with adopt, the
// program's file only, so a new head that plans the same start again plans the same child. No value of a
// variable and no nonce is ever part of an error text. Non-goal: sending it. Thread: any; reads files and
// /etc/passwd, which can block on a network user database.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "core/effect.hpp"
#include "core/spec.hpp"
#include "drive/adopt.hpp"
#include "drive/bootstrap.hpp"
#include "keeper/protocol.hpp"

namespace runmain::drive {

inline constexpr int kPortTries = 64;  // free runs of ports that pick_ports looks at

// A listening socket of the service, in the order of ServiceSpec::listen.
struct LaunchListener {
  std::string id;     // the keeper's: "SERVICE|TEXT"
  std::string name;   // {fd:NAME}, LISTEN_FDNAMES
  std::string bound;  // "127.0.0.1:8000"
  bool per_slot =
      false;  // in the table of services: `id` is a group, of which a child gets its slot's socket
};

struct LaunchInput {
  const core::ServiceSpec* spec = nullptr;  // the caller's, for the call
  ChildKey key;                             // a worker's or a helper's (build step, hook, look)
  core::Reason reason = core::Reason::start;
  std::vector<LaunchListener> listeners;
  std::vector<std::string> environment;  // runmain's own, "NAME=value"
  std::string secret;                    // the keeper's
  std::string channel;                   // RUNMAIN_CHANNEL
  std::string changed_file;              // RUNMAIN_CHANGED; empty: none
  std::string browser;                   // RUNMAIN_BROWSER; empty: none
  std::string traceparent;               // TRACEPARENT; empty: none
  std::string otlp;                      // the observer's receiver, "127.0.0.1:41234"; empty: none
  bool short_delays = false;             // of what is exported there
  Bootstrap bootstrap;                   // what goes with it into Python and Node
  std::string doctor;                    // the folder that its probes write to; empty: it gets none
  AdoptLibrary adopt;                    // where the spec says adopt
  std::uint16_t auto_port = 0;           // of slot 0, where the spec says port = "auto"
  ChildKey about;                        // of a hook or a look: the worker that it is about …
  std::int32_t about_pid = 0;            // … and its main process
  std::string hang;                      // a hook: how that one hangs
};

// What the child is, or why it cannot be. Both are orders that the keeper executes.
using Launch = std::variant<keeper::SpawnChild, keeper::RefuseSpawn>;

// On success a SpawnChild. On failure a RefuseSpawn with the stage: `user` for an unknown or forbidden user
// or group, `resources` for an env_file that cannot be read, `exec` for a command that cannot be one or a
// program that cannot be adopted. For a helper the same environment and user, but no token, channel,
// listeners or notify socket, and no telemetry; slot and generation are those of the worker that a hook or a
// look is about.
Launch plan(const LaunchInput& input);

// The port that a program of this slot shall bind: the one of the spec for every slot, or with "auto" a port
// of its own for each slot, counted from `auto_port`. 0 if the service has none.
std::uint16_t own_port(const core::ServiceSpec& spec, std::uint32_t slot, std::uint16_t auto_port);

// With port = "auto": the slot's port is one that its program can bind now. Others may have taken it since
// pick_ports(), which also looks at those only that were wanted then. On failure the Error names who has it.
Result<void> check_own_port(const core::ServiceSpec& spec, std::uint32_t slot, std::uint16_t auto_port);

// The first of `count` ports in a row that nobody has bound right now, for TCP on v4 and v6. On failure an
// Error. Nobody holds them: another program may be faster. The caller keeps the number for the life of the
// service.
Result<std::uint16_t> pick_ports(std::uint32_t count);

// What {fd}, {fd:NAME}, {port}, {worker}, {generation} and {pid} stand for in an argument.
struct Substitution {
  const std::vector<LaunchListener>* listeners = nullptr;
  std::uint16_t port = 0;  // 0: {port} is left as it is
  std::uint32_t worker = 0;
  std::uint32_t generation = 0;
  std::int32_t pid = 0;  // 0: {pid} is left as it is
};

// The argument with its placeholders replaced; every replacement is a number, so it is safe in a shell's
// text.
// {{fd} is the text {fd}. Whatever is none of ours is left as it is (JSON, {{.Name}}), ${port} included: that
// is the shell's.
std::string substitute(const std::string& text, const Substitution& with);

}  // namespace runmain::drive
