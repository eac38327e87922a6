// What the control server needs to know and to have done; the app implements it.
// Invariant: no call blocks; all come from the loop's thread. A call may lead, before it returns, to calls of
// Server's answered(), log_line(), fact() and changed().
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.hpp"
#include "base/result.hpp"
#include "control/protocol.hpp"
#include "core/event.hpp"
#include "core/snapshot.hpp"

namespace runmain::control {

struct LogLine {
  ServiceId service{};
  std::string service_name;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
  std::int64_t time_ns = 0;  // wall clock, since 1970
  std::string text;          // bytes as the child wrote them, without the newline
  bool from_build = false;
  bool continues = false;  // goes on with a line that was split
};

// For `ping`.
struct Identity {
  std::int32_t keeper_pid = 0;
  std::string config_file;
  std::string program;  // the supervisor's executable
};

// What a worker has said of its requests since it began.
struct RequestsTold {
  std::uint64_t done = 0;
  std::uint64_t in_flight = 0;
};

// Who waits at a listening socket to be accepted, now.
struct QueueView {
  std::string address;                // as listening() has it
  std::optional<std::uint32_t> slot;  // whose own socket it is; nothing: the service's
  std::uint32_t waiting = 0;
  std::optional<std::uint32_t> backlog;  // nothing where the kernel may not be asked
  // listen(2): one more than the backlog has room. Over a unix socket, who comes then is refused with EAGAIN
  // unless it blocks; over TCP it tries again by itself.
  bool full() const { return backlog && waiting > *backlog; }
};
using Queues = std::map<ServiceId, std::vector<QueueView>>;

// What the supervisor has not told of itself.
struct OwnTelemetryLost {
  std::uint64_t spans = 0;   // of its lifecycle
  std::uint64_t others = 0;  // logs and metrics
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual core::Snapshot snapshot() = 0;
  // Of all services at once, as the kernel is asked for all; in the order of listening(), without UDP.
  virtual Queues queues() = 0;
  // The addresses that the service's sockets are bound to ("127.0.0.1:8000"), in the file's order.
  virtual std::vector<std::string> listening(ServiceId service) = 0;
  // Empty for a child that is not known.
  virtual std::string instance_id(ChildKey key) = 0;
  virtual Identity identity() = 0;
  virtual OwnTelemetryLost own_telemetry_lost() { return {}; }
  // Hands the core a Command (no services: all) and returns its request number, never 0. Server::answered()
  // gets that number when it is done, or when it cannot be.
  virtual std::uint64_t command(core::CommandVerb verb, std::vector<ServiceId> services, int signal,
                                std::uint32_t number) = 0;
  // Hands the core the wish to be replaced by the programs of this absolute folder; as command().
  virtual std::uint64_t upgrade(const std::string& folder) = 0;
  // Whether each of these services can have so many workers, as far as the machine is concerned (a port for
  // each). On failure nobody is asked to scale.
  virtual Result<void> check_scale(const std::vector<ServiceId>& services, std::uint32_t workers) {
    (void)services, (void)workers;
    return {};
  }
  // The next workers of these services (none: all) get probes that write to this folder; empty: none any
  // more.
  virtual void set_doctor(const std::vector<ServiceId>& services, const std::string& folder) {
    (void)services, (void)folder;
  }
  // Nothing for a worker that has said nothing.
  virtual std::optional<RequestsTold> requests(ChildKey key) = 0;
  // The latest `count` lines of one start's generation, oldest first; key.slot kNoSlot: of all its slots.
  virtual std::vector<LogLine> last_words(ChildKey key, std::size_t count) = 0;
  // The latest `count` lines of these services together, oldest first.
  virtual std::vector<LogLine> recent(const std::vector<ServiceId>& services, std::size_t count) = 0;
  // Whether a change of this absolute path would reload the service, and which rule says so: an object with
  // `reloads` and `verdict`.
  virtual Json explain(ServiceId service, const std::string& path) = 0;
  // Reads the configuration again and puts it into force. On failure nothing has changed.
  virtual Result<void> apply() = 0;
};

}  // namespace runmain::control
