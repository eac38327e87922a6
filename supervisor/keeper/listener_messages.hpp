// What head and keeper say to each other about listening sockets: a part of the protocol (protocol.hpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace runmain::keeper {

// Bind and listen, or find the socket of this id that is there already. `id` is "SERVICE|TEXT". Answered by
// Opened. kind as in core::AddressKind. Unix paths: a stale socket file is replaced, a live one refused.
struct OpenListener {
  std::string id;
  std::uint8_t kind = 0;
  std::string host;
  std::uint16_t port = 0;
  std::string path;
  bool want_fd = false;   // the socket itself comes with the answer
  bool per_slot = false;  // `id` is a group: SO_REUSEPORT, and each slot has a socket of its own, "ID#SLOT"
  template <class A>
  void fields(A& a) {
    a("id", id);
    a("kind", kind);
    a("host", host);
    a("port", port);
    a("path", path);
    a("want_fd", want_fd);
    a("per_slot", per_slot);
  }
};

// The id of a slot's own socket. It is made when the first child wants it (slot 0's with its group), and then
// kept for the slot's next children.
inline std::string slot_listener(const std::string& group, std::uint32_t slot) {
  return group + "#" + std::to_string(slot);
}

// Ids of sockets or of groups.
struct CloseListeners {
  std::vector<std::string> ids;
  template <class A>
  void fields(A& a) {
    a("ids", ids);
  }
};

// New connections of these groups go to these slots only (sorted); none: to all where a child
// lives. A slot whose last child dies is taken out by the keeper at once, until it is named again.
struct DistributeSlots {
  std::vector<std::string> groups;
  std::vector<std::uint32_t> slots;
  template <class A>
  void fields(A& a) {
    a("groups", groups);
    a("slots", slots);
  }
};

// Nobody serves these slots any more: closes their sockets, but for the group's last one and those that a
// child still has. SlotClosed tells of those in whose queue somebody waited.
struct CloseSlots {
  std::vector<std::string> groups;
  std::vector<std::uint32_t> slots;
  template <class A>
  void fields(A& a) {
    a("groups", groups);
    a("slots", slots);
  }
};

// Gives these sockets the backlog that they had: a child may have called listen(2) with another one.
struct RenewBacklog {
  std::vector<std::string> ids;
  template <class A>
  void fields(A& a) {
    a("ids", ids);
  }
};

// The answer to OpenListener. error 0: it listens; bound is the address with the real port, inode the
// socket's.
struct Opened {
  std::string id;
  std::int32_t error = 0;
  std::string detail;
  std::string bound;
  std::uint64_t inode = 0;
  template <class A>
  void fields(A& a) {
    a("id", id);
    a("error", error);
    a("detail", detail);
    a("bound", bound);
    a("inode", inode);
  }
};

}  // namespace runmain::keeper
