// The channel's lines (child_runtime/protocol.h): the child's become Events, and ours are made here.
//
// Invariant: a claim becomes an Event only with the nonce of a start, from a process that the kernel says is
// the one that it names, in the tree of that same start. Everything else counts only on a connection that has
// been granted. Non-goal: sockets; the keeper owns them. Thread: one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/event.hpp"
#include "keeper/protocol.hpp"

namespace runmain::drive {

inline constexpr std::size_t kChannelNestingMax = 8;
inline constexpr std::size_t kRuntimeTextMax = 64;       // bytes of a claim's runtime name
inline constexpr std::size_t kRequestEntriesMax = 4096;  // connections that are counted

struct LineOutcome {
  std::vector<core::Event> events;
  std::string refusal;   // not empty: the line was refused, and why
  bool claim = false;    // it was a claim: a refusal is answered with refused_line()
  bool sockets = false;  // it asks for the listeners alone: answered with sockets_line(), or refused_line()
};

struct RequestCounts {
  std::uint64_t done = 0;
  std::uint64_t in_flight = 0;
};

// Recycling as a service wants it; nullptr: there is no such service.
using RecycleOf = std::function<const core::RecycleSpec*(ServiceId)>;
// The processes of a child that hold the role, as core has it.
using HoldersOf = std::function<std::vector<std::int32_t>(const ChildKey&)>;

class Channel {
 public:
  // `secret` is the keeper's.
  explicit Channel(std::string secret) : secret_(std::move(secret)) {}

  // One line of a connection. Never fails: what is no line of the protocol is refused or ignored, and
  // counted.
  LineOutcome receive(const keeper::Line& line);

  // The connection is gone, and with it what it had in flight. The child is gone, with all its counts.
  void closed(std::uint64_t conn);
  void forget(const ChildKey& key);

  // From now on each claim says who of these has ended since. A watcher within a child (nodemon, `node
  // --watch`) starts a next server below the same launcher: that one is not kept from the role by the one
  // before it.
  void watch_holders(HoldersOf holders_of) { holders_of_ = std::move(holders_of); }

  // From now on counts that have come close to a service's recycle.requests are told as core::Requests: at
  // the limit less the jitter, and again after each further hundredth of it.
  void watch_requests(RecycleOf recycle_of) { recycle_of_ = std::move(recycle_of); }
  // The process `sender` of this child has said by notify how many requests it has answered.
  std::optional<core::Requests> notified(const ChildKey& key, std::int32_t sender, RequestCounts counts);

  // Whether any child of this service that is still known has said anything of its requests.
  bool has_told(ServiceId service) const;

  // What the child's processes have said of their requests; zeros if they said nothing.
  RequestCounts requests(const ChildKey& key) const;

  std::uint64_t refused() const { return refused_; }
  std::uint64_t ignored() const { return ignored_; }  // lines without a key that we know
  std::uint64_t counts_dropped() const {
    return counts_dropped_;
  }  // more connections than kRequestEntriesMax

 private:
  struct Counted {
    ChildKey key;
    RequestCounts counts;
  };
  std::vector<std::int32_t> ended_holders(const ChildKey& key) const;
  void count(std::uint64_t conn, const ChildKey& key, const RequestCounts& counts);
  std::optional<core::Requests> to_tell(const ChildKey& key);

  std::string secret_;
  RecycleOf recycle_of_;
  HoldersOf holders_of_;
  std::map<ChildKey, std::uint64_t> told_;  // `done` of the latest core::Requests
  std::map<std::uint64_t, Counted> by_conn_;
  std::map<ChildKey, std::uint64_t> done_before_;  // of connections that are closed
  std::uint64_t refused_ = 0;
  std::uint64_t ignored_ = 0;
  std::uint64_t counts_dropped_ = 0;
};

struct RoleListener {
  std::string name;
  std::string address;  // as it is bound: "127.0.0.1:8000", "unix:/run/web.sock", "udp:…"
};
struct Role {
  std::string service;
  ChildKey key;
  std::string instance_id;
  std::vector<RoleListener> listeners;  // in the order of the fds that go with the line
  bool mailbox = false;                 // one may come behind them
};

// Our lines, each with its newline and never longer than RUNMAIN_CHANNEL_LINE_MAX: texts are cut for that,
// and of listeners that do not fit only the kind is said. Bytes that are not UTF-8 are replaced.
std::string role_line(const Role& role);
std::string sockets_line(const std::vector<RoleListener>& listeners);
std::string refused_line(const std::string& why);
std::string drain_line(Duration budget);

// "tcp", "udp" or "unix", of an address as it is bound.
const char* kind_of_address(const std::string& bound);

}  // namespace runmain::drive
