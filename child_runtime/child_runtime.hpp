// The C++20 face of child_runtime.h: the same functions in namespace runmain, with owners and strings. Header
// only, so that the library itself keeps a C ABI.
//
// Invariant: nothing here knows more than child_runtime.h; what is said there holds here. Functions that tell
// the supervisor something are true on success. Spans come with it (trace.hpp).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "child_runtime.h"
#include "trace.hpp"

namespace runmain {

enum class Claim : int {
  granted = RUNMAIN_GRANTED,
  unsupervised = RUNMAIN_UNSUPERVISED,
  refused = RUNMAIN_REFUSED,
  unreachable = RUNMAIN_UNREACHABLE,
};

// Why the last claim was not granted, or which given socket was left out. Empty: nothing to tell.
inline std::string reason() {
  std::string text(runmain_reason(nullptr, 0), '\0');
  text.resize(std::min(text.size(), runmain_reason(text.data(), text.size() + 1)));
  return text;
}

struct ServeResult {
  Claim claim = Claim::unreachable;
  std::string why;
  // Whether this process serves.
  explicit operator bool() const { return claim == Claim::granted || claim == Claim::unsupervised; }
};

// Claims the role and waits for the answer, RUNMAIN_SERVE_TIMEOUT_MS at most.
inline ServeResult serve() {
  const auto claim = static_cast<Claim>(runmain_serve());
  return ServeResult{claim, reason()};
}

inline bool serving() noexcept { return runmain_serving() != 0; }

struct Role {
  std::string service;
  std::string instance_id;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
};

// The role as granted; empty without a granted claim.
inline std::optional<Role> role() {
  runmain_role r{};
  if (runmain_get_role(&r) != 0) return std::nullopt;
  return Role{r.service, r.instance_id, r.slot, r.generation};
}

inline bool scrub_environment() noexcept { return runmain_scrub_environment() == 0; }

struct Listener {
  int fd = -1;  // the caller's to close
  std::string name;
  std::string address;
  std::string kind;
};

// The sockets that this process was given; the first call claims. Empty: bind by yourself.
inline std::vector<Listener> listeners() {
  std::vector<runmain_socket> found(runmain_listeners(nullptr, 0));
  found.resize(std::min(found.size(), runmain_listeners(found.data(), found.size())));
  std::vector<Listener> out;
  out.reserve(found.size());
  for (const runmain_socket& l : found) out.push_back(Listener{l.fd, l.name, l.address, l.kind});
  return out;
}

// The fd of the first socket with this name.
inline std::optional<int> listener(const std::string& name) {
  const int fd = ::runmain_listener(name.c_str());
  return fd >= 0 ? std::optional<int>(fd) : std::nullopt;
}

inline bool ready() noexcept { return runmain_ready() == 0; }
inline bool stopping() noexcept { return runmain_stopping() == 0; }
inline bool status(const std::string& text) noexcept { return runmain_status(text.c_str()) == 0; }
inline bool heartbeat() noexcept { return runmain_heartbeat() == 0; }
inline bool report_requests() noexcept { return runmain_report_requests() == 0; }
inline bool extend_timeout(std::chrono::microseconds time) noexcept {
  return runmain_extend_timeout(time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count())) == 0;
}

inline int channel_fd() noexcept { return runmain_channel_fd(); }
inline int dispatch() { return runmain_dispatch(); }
inline bool start_listener_thread() noexcept { return runmain_start_listener_thread() == 0; }

// Called once, when a drain is asked for, with the supervisor's patience (0: unknown). An exception that
// leaves `callback` ends the program. Set it once, before other threads use this library.
inline void on_drain(std::function<void(std::chrono::milliseconds)> callback) {
  static std::function<void(std::chrono::milliseconds)> kept;
  kept = std::move(callback);
  runmain_on_drain(
      [](void*, std::uint32_t budget_ms) noexcept { kept(std::chrono::milliseconds(budget_ms)); }, nullptr);
}

inline void drain_requested_by_signal() { runmain_drain_requested_by_signal(); }
inline bool draining() noexcept { return runmain_draining() != 0; }
inline bool drained() noexcept { return runmain_drained() == 0; }

// A request in flight, from construction to destruction.
class InFlight {
 public:
  InFlight() noexcept : ticket_(runmain_request_begin()) {}
  InFlight(InFlight&& o) noexcept : ticket_(std::exchange(o.ticket_, 0)) {}
  InFlight& operator=(InFlight&& o) noexcept {
    std::swap(ticket_, o.ticket_);
    return *this;
  }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;
  ~InFlight() {
    if (ticket_ != 0) runmain_request_end(ticket_);
  }

 private:
  std::uint32_t ticket_;  // 0: moved from
};

using Counters = runmain_counters;
inline Counters counters() noexcept {
  Counters c{};
  runmain_get_counters(&c);
  return c;
}

}  // namespace runmain
