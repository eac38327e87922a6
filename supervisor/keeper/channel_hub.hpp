// The channel: connections of children that claim the token and talk of themselves
// (child_runtime/protocol.h).
//
// The keeper reads lines and passes them on; it understands none of them. So a connection outlives every
// head. Invariant: what a connection sends is bounded (kLineMax a line, kLinesPendingMax lines not
// acknowledged; then it waits in its socket), and so is what it does not read (kUnreadMax; then it is cut
// off).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "keeper/children.hpp"
#include "keeper/happenings.hpp"
#include "keeper/keeper_state.hpp"
#include "keeper/mailboxes.hpp"
#include "keeper/poller.hpp"
#include "os/linux/fd.hpp"

namespace runmain::keeper {

inline constexpr std::size_t kLinesPendingMax = 16;
inline constexpr std::size_t kUnreadMax = 64U << 10U;

class ChannelHub {
 public:
  ChannelHub(Poller& poller, Happenings& happenings, Children& children, Listeners& listeners,
             Mailboxes& mailboxes, os::UniqueFd listener);

  void on_listener();
  void on_connection(std::uint32_t serial, std::uint32_t events);
  void send(const SendChannel& order);
  void acknowledged(const What& what);

  // For an upgrade (keeper_state.hpp). restore(): into an empty one, which has the listener already.
  ChannelState save() const;
  void restore(const ChannelState& state);

 private:
  struct Connection {
    os::UniqueFd fd;
    std::uint32_t serial = 0;
    os::Peer peer;
    bool bound = false;
    bool has_key = false;
    ChildKey key;
    std::string in;
    std::string out;
    std::size_t pending = 0;
    bool closing = false;
    bool dead = false;  // closed; its lines are still to be acknowledged
  };
  void read_lines(Connection& c);
  void tell_lines(Connection& c);
  void flush(Connection& c);
  void close(Connection& c);
  void watch(Connection& c);
  void send_to(Connection& c, const SendChannel& order);
  struct Passed {
    std::vector<int> fds;
    std::string path_line;  // of a mailbox, for who cannot receive fds
  };
  Passed passed_with(const SendChannel& order);

  Poller& poller_;
  Happenings& happenings_;
  Children& children_;
  Listeners& listeners_;
  Mailboxes& mailboxes_;
  os::UniqueFd listener_;
  std::unordered_map<std::uint32_t, std::unique_ptr<Connection>> connections_;
  std::uint32_t last_serial_ = 0;
  std::uint64_t refused_ = 0;  // connections over kConnectionsMax
};

}  // namespace runmain::keeper
