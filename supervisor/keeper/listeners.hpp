// The listening sockets. They are made before the first child and live as long as the keeper, through every
// generation and every head. Invariant: one socket an id, open as long as the head wants it or a child that
// got it is there: a port that is let go and wanted back meanwhile is the same socket. Unix socket files that
// we made, and that nobody has replaced, are removed with theirs.
//
// A group is an address with a socket for each slot ("ID#SLOT"), which live as long as the group or until the
// head gives the slot up: what waits in the queue of one is served by the slot's next child, whatever
// net.ipv4.tcp_migrate_req says.
// Who gets new connections is said by the head; a slot without a living child is taken out here, before the
// head has heard of it.
//
// A child can shut a socket down for all (shutdown(2)): it listens again at once, and that is told. Bound:
// kSlotsMax sockets a group; one ListenerShut a socket that is not acknowledged, and one that it is lost.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "keeper/adoption.hpp"
#include "keeper/happenings.hpp"
#include "keeper/keeper_state.hpp"
#include "keeper/poller.hpp"
#include "keeper/protocol.hpp"
#include "os/linux/reuseport.hpp"
#include "os/linux/sockets.hpp"

namespace runmain::keeper {

inline constexpr std::uint32_t kSlotsMax = 4096;

class Listeners {
 public:
  Listeners(Poller& poller, Happenings& happenings) : poller_(poller), happenings_(happenings) {}
  ~Listeners() { close_all(); }
  Listeners(const Listeners&) = delete;
  Listeners& operator=(const Listeners&) = delete;

  // Finds or makes the socket, or the group and its first socket. Opened.error is 0 or the errno.
  Opened open(const OpenListener& wanted);
  // As soon as no child has it.
  void close(const std::string& id);
  void close_all();
  // Who has them goes on with them after us: their files stay.
  void leave();

  // The fd of a socket; a slot's own is made when it is wanted first. On failure the errno, EBADF where there
  // is none of this id.
  Result<int> want(const std::string& id);
  // The fd, -1 if there is none of this id. Of a group: its first socket.
  int fd(const std::string& id) const;
  std::uint64_t inode(const std::string& id) const;

  // A child that gets it begins, dies (or is back: another main process), is forgotten.
  void hold(const std::string& id);
  void living(const std::string& id, bool on);
  void release(const std::string& id);

  // For the adoption table. changes(): has become more whenever it would say something else.
  void describe(AdoptionTable& table) const;
  std::uint64_t changes() const { return changes_; }
  // The sockets of a keeper that is gone, by id, as far as there are any; before the children that have them.
  // What no head opens again goes with the last of these.
  void adopt(const AdoptionTable& table, std::map<std::string, os::UniqueFd> sockets);
  // The first head has opened what it wants: what else was adopted and no child has is let go.
  void drop_unwanted();

  void distribute(const DistributeSlots& order);
  void renew(const RenewBacklog& order);
  void close_slots(const CloseSlots& order);
  // The poller says that something is wrong with it.
  void on_event(std::uint32_t serial, std::uint32_t events);
  void acknowledged(const What& what);

  // For an upgrade (keeper_state.hpp). restore(): into an empty one.
  ListenersState save() const;
  void restore(const ListenersState& state);

 private:
  struct Held {
    os::Listener listener;
    std::string id;
    std::uint32_t serial = 0;
    os::Address address;  // as it was asked for
    std::string unlink_path;
    dev_t device = 0;  // of the unix socket file
    ino_t inode = 0;
    std::uint64_t cookie = 0;    // SO_COOKIE
    std::uint32_t children = 0;  // that are not forgotten …
    std::uint32_t alive = 0;     // … and of these, whose main process lives
    std::string group;           // empty: none
    std::uint32_t slot = 0;
    bool closing = false;
    bool polled = false;
    bool lost = false;         // shut down, and cannot be helped
    bool shut_untold = false;  // a ListenerShut is not acknowledged: further ones are only healed
  };
  struct Group {
    os::Address address;  // with the port that it got
    std::string bound;
    std::map<std::uint32_t, std::string> ids;  // of the slots' sockets
    os::ReuseportOrder order;
    std::set<std::uint32_t> named;       // by the head …
    std::set<std::uint32_t> last_named;  // … and the last time that these were any
    std::set<std::uint32_t> out;         // since nobody lives there
    std::vector<std::uint32_t> clients;
    std::vector<std::uint32_t> looks;  // as the program is that is attached; both empty: as if there is none
    bool told_fault = false;
    bool closing = false;
  };
  using HeldAt = std::map<std::string, Held>::iterator;

  Opened open_group(const OpenListener& wanted, const os::Address& address);
  Result<Held*> add(const std::string& id, const os::Address& address, os::Sharing sharing);
  Result<Held*> add_slot(const std::string& group_id, Group& group, std::uint32_t slot);
  void drop(HeldAt at);
  Held& keep(Held held);
  void bind_again(const ListenerOnRecord& record);
  void drop_group_if_done(const std::string& id);
  void close_slot(Group& group, std::uint32_t slot);
  void poll(Held& held, bool on);
  void heal(Held& held);
  bool heal_shut(Group& group);
  void heal_one(Held& held, Group* group);
  std::set<std::uint32_t> chosen(const Group& group) const;
  void refresh(Group& group, bool anew = false);
  Group* group_of(const Held& held);

  Poller& poller_;
  Happenings& happenings_;
  std::map<std::string, Held> held_;
  std::map<std::string, Group> groups_;
  std::unordered_map<std::uint32_t, std::string> by_serial_;
  std::uint32_t last_serial_ = 0;
  std::uint64_t changes_ = 0;
  std::uint64_t untold_ = 0;  // ListenerShut that were not told, since one waited already
};

}  // namespace runmain::keeper
