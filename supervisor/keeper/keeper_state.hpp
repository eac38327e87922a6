// What a keeper hands to the program that takes its place in the same process (upgrade.hpp): everything that
// it knows, as values, and its fds by number, which stay as they are through execve(2).
//
// Read by programs of the next and the last version: base/named_archive.hpp says what may change here, and
// state_version() when it does. Invariant: what load_state() gives makes sense. Non-goal: what only makes
// sense beside a living head (answers, its socket): a new head asks anew.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "keeper/protocol.hpp"
#include "os/linux/fd.hpp"
#include "os/linux/other_process.hpp"

namespace runmain::keeper {

struct ChildState {
  ChildKey key;
  std::uint32_t serial = 0;
  std::int32_t pid = 0;
  std::int32_t first_pid = 0;
  bool alive = false;
  bool leader_alive = false;
  bool at_pty = false;
  bool signalled = false;
  bool counted = false;
  bool frozen = false;
  bool frozen_told = false;
  bool frozen_pending = false;
  bool awaited = false;
  bool empty = false;
  std::uint64_t tag = 0;
  std::uint32_t stream = 0;
  std::string service;
  std::vector<std::string> listeners;
  std::int32_t notify = -1;
  std::int32_t main_pidfd = -1;
  std::uint32_t notify_pending = 0;
  bool kept = false;
  bool adopted = false;
  bool died_before = false;
  std::uint64_t started = 0;
  std::uint64_t first_started = 0;
  std::string notify_name;
  std::uint16_t port = 0;
  template <class A>
  void fields(A& a) {
    a("key", key);
    a("serial", serial);
    a("pid", pid);
    a("first_pid", first_pid);
    a("alive", alive);
    a("leader_alive", leader_alive);
    a("at_pty", at_pty);
    a("signalled", signalled);
    a("counted", counted);
    a("frozen", frozen);
    a("frozen_told", frozen_told);
    a("frozen_pending", frozen_pending);
    a("awaited", awaited);
    a("empty", empty);
    a("tag", tag);
    a("stream", stream);
    a("service", service);
    a("listeners", listeners);
    a("notify", notify);
    a("main_pidfd", main_pidfd);
    a("notify_pending", notify_pending);
    a("kept", kept);
    a("adopted", adopted);
    a("died_before", died_before);
    a("started", started);
    a("first_started", first_started);
    a("notify_name", notify_name);
    a("port", port);
  }
};

struct ChildrenState {
  std::uint64_t last_tag = 0;
  std::uint64_t tags_begin = 0;
  std::uint32_t last_serial = 0;
  std::vector<ChildState> children;
  std::vector<std::pair<std::uint64_t, Time>> killed;  // tags of trees that are being killed, and until when
  template <class A>
  void fields(A& a) {
    a("last_tag", last_tag);
    a("tags_begin", tags_begin);
    a("last_serial", last_serial);
    a("children", children);
    a("killed", killed);
  }
};

struct StreamState {
  std::uint32_t serial = 0;
  std::int32_t pipe = -1;
  std::uint32_t ring = 0;
  bool pty = false;
  bool reads = false;
  bool wide = false;
  std::string input;
  bool lasting = false;
  template <class A>
  void fields(A& a) {
    a("serial", serial);
    a("pipe", pipe);
    a("ring", ring);
    a("pty", pty);
    a("reads", reads);
    a("wide", wide);
    a("input", input);
    a("lasting", lasting);
  }
};

// `layout`: of the board (board.hpp); another one cannot be gone on with.
struct StreamsState {
  std::uint32_t layout = 0;
  std::int32_t board = -1;
  std::int32_t rings = -1;
  std::int32_t cursor = -1;  // its position is a part of the state
  std::int32_t output_event = -1;
  std::int32_t room_event = -1;
  std::uint32_t last_serial = 0;
  std::vector<StreamState> streams;
  std::vector<std::uint32_t> ended_rings;
  template <class A>
  void fields(A& a) {
    a("layout", layout);
    a("board", board);
    a("rings", rings);
    a("cursor", cursor);
    a("output_event", output_event);
    a("room_event", room_event);
    a("last_serial", last_serial);
    a("streams", streams);
    a("ended_rings", ended_rings);
  }
};

struct ListenerState {
  std::string id;
  std::int32_t fd = -1;
  std::uint8_t kind = 0;  // os::AddressKind
  std::string bound;
  std::string name;  // sockaddr, as bound
  std::string host;  // as it was asked for, with the next two
  std::uint16_t port = 0;
  std::string path;
  std::uint32_t serial = 0;
  std::string unlink_path;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint32_t children = 0;
  std::uint32_t alive = 0;
  std::string group;
  std::uint32_t slot = 0;
  bool closing = false;
  bool polled = false;
  bool lost = false;
  bool shut_untold = false;
  template <class A>
  void fields(A& a) {
    a("id", id);
    a("fd", fd);
    a("kind", kind);
    a("bound", bound);
    a("name", name);
    a("host", host);
    a("port", port);
    a("path", path);
    a("serial", serial);
    a("unlink_path", unlink_path);
    a("device", device);
    a("inode", inode);
    a("children", children);
    a("alive", alive);
    a("group", group);
    a("slot", slot);
    a("closing", closing);
    a("polled", polled);
    a("lost", lost);
    a("shut_untold", shut_untold);
  }
};

struct ListenerGroupState {
  std::string id;
  std::uint8_t kind = 0;
  std::string host;
  std::uint16_t port = 0;
  std::string path;
  std::string bound;
  std::vector<std::pair<std::uint32_t, std::string>> ids;
  std::vector<std::uint32_t> places;
  bool places_known = true;
  std::vector<std::uint32_t> named;
  std::vector<std::uint32_t> last_named;
  std::vector<std::uint32_t> out;
  std::vector<std::uint32_t> clients;
  std::vector<std::uint32_t> looks;
  bool told_fault = false;
  bool closing = false;
  template <class A>
  void fields(A& a) {
    a("id", id);
    a("kind", kind);
    a("host", host);
    a("port", port);
    a("path", path);
    a("bound", bound);
    a("ids", ids);
    a("places", places);
    a("places_known", places_known);
    a("named", named);
    a("last_named", last_named);
    a("out", out);
    a("clients", clients);
    a("looks", looks);
    a("told_fault", told_fault);
    a("closing", closing);
  }
};

struct ListenersState {
  std::uint32_t last_serial = 0;
  std::uint64_t untold = 0;
  std::vector<ListenerState> listeners;
  std::vector<ListenerGroupState> groups;
  template <class A>
  void fields(A& a) {
    a("last_serial", last_serial);
    a("untold", untold);
    a("listeners", listeners);
    a("groups", groups);
  }
};

struct MailboxState {
  std::int32_t memory = -1;
  std::int32_t wake = -1;
  std::uint32_t claims = 0;
  std::uint64_t number = 0;
  MailboxMade made;
  std::vector<ChildGone> gone;  // none or one
  bool tree_gone = false;
  template <class A>
  void fields(A& a) {
    a("memory", memory);
    a("wake", wake);
    a("claims", claims);
    a("number", number);
    a("made", made);
    a("gone", gone);
    a("tree_gone", tree_gone);
  }
};

struct MailboxesState {
  std::uint64_t last_number = 0;
  std::uint64_t lost = 0;
  std::uint64_t not_made = 0;
  std::vector<MailboxState> mailboxes;
  std::vector<ChildKey> bare_trees;
  template <class A>
  void fields(A& a) {
    a("last_number", last_number);
    a("lost", lost);
    a("not_made", not_made);
    a("mailboxes", mailboxes);
    a("bare_trees", bare_trees);
  }
};

struct ConnectionState {
  std::int32_t fd = -1;
  std::uint32_t serial = 0;
  std::int32_t pid = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  bool bound = false;
  bool has_key = false;
  ChildKey key;
  std::string in;
  std::string out;
  std::uint32_t pending = 0;
  bool closing = false;
  bool dead = false;
  template <class A>
  void fields(A& a) {
    a("fd", fd);
    a("serial", serial);
    a("pid", pid);
    a("uid", uid);
    a("gid", gid);
    a("bound", bound);
    a("has_key", has_key);
    a("key", key);
    a("in", in);
    a("out", out);
    a("pending", pending);
    a("closing", closing);
    a("dead", dead);
  }
};

struct ChannelState {
  std::int32_t listener = -1;
  std::uint32_t last_serial = 0;
  std::uint64_t refused = 0;
  std::vector<ConnectionState> connections;
  template <class A>
  void fields(A& a) {
    a("listener", listener);
    a("last_serial", last_serial);
    a("refused", refused);
    a("connections", connections);
  }
};

struct HappeningState {
  std::uint64_t number = 0;
  What what;
  std::vector<std::int32_t> held;  // fds
  template <class A>
  void fields(A& a) {
    a("number", number);
    a("what", what);
    a("held", held);
  }
};

struct HappeningsState {
  std::uint64_t last = 0;
  std::vector<HappeningState> items;
  template <class A>
  void fields(A& a) {
    a("last", last);
    a("items", items);
  }
};

struct ObserverState {
  ConfigureObserver configuration;
  std::int32_t configuration_memory = -1;
  std::int32_t cursors = -1;
  std::int32_t socket = -1;
  std::int32_t pid = 0;
  std::uint32_t starts = 0;
  Time started{};
  template <class A>
  void fields(A& a) {
    a("configuration", configuration);
    a("configuration_memory", configuration_memory);
    a("cursors", cursors);
    a("socket", socket);
    a("pid", pid);
    a("starts", starts);
    a("started", started);
  }
};

// How far an upgrade is whose end has not been told.
enum class Upgrading : std::uint8_t { no, head, keeper_too };

struct KeeperState {
  std::uint32_t version = 0;   // state_version() of who wrote it
  std::uint32_t protocol = 0;  // kProtocolVersion of who wrote it
  std::string secret;
  std::uint64_t executed = 0;
  std::uint32_t signals_pending = 0;
  Time stop_asked = kNever;
  std::int32_t stop_signal = 0;
  bool nohup = false;
  Duration stood{};
  std::uint64_t nofile_soft = 0;
  std::uint64_t nofile_hard = 0;
  std::string terminal;  // termios as found, as it lies in memory; empty: none
  std::int32_t control = -1;
  std::int32_t lock = -1;
  std::int32_t journal = -1;
  std::int32_t state = -1;
  std::int32_t table = -1;
  std::int32_t history = -1;
  std::vector<std::string> head;  // argv
  std::string adoption;           // path of the adoption table
  std::string config;             // the path that it names
  os::ProcessName unread_of;      // as in the adoption table
  std::string head_before;        // where the head is no good: argv[0] of the one before
  std::uint32_t head_starts = 0;
  Upgrading upgrading = Upgrading::no;
  HappeningsState happenings;
  ChildrenState children;
  StreamsState streams;
  ListenersState listeners;
  MailboxesState mailboxes;
  ChannelState channel;
  ObserverState observer;
  template <class A>
  void fields(A& a) {
    a("version", version);
    a("protocol", protocol);
    a("secret", secret);
    a("executed", executed);
    a("signals_pending", signals_pending);
    a("stop_asked", stop_asked);
    a("stop_signal", stop_signal);
    a("nohup", nohup);
    a("stood", stood);
    a("nofile_soft", nofile_soft);
    a("nofile_hard", nofile_hard);
    a("terminal", terminal);
    a("control", control);
    a("lock", lock);
    a("journal", journal);
    a("state", state);
    a("table", table);
    a("history", history);
    a("head", head);
    a("adoption", adoption);
    a("config", config);
    a("unread_of", unread_of);
    a("head_before", head_before);
    a("head_starts", head_starts);
    a("upgrading", upgrading);
    a("happenings", happenings);
    a("children", children);
    a("streams", streams);
    a("listeners", listeners);
    a("mailboxes", mailboxes);
    a("channel", channel);
    a("observer", observer);
  }
};

// A state in a memfd of its own, above the reserved fds. On failure ENOMEM and the like.
Result<os::UniqueFd> store_state(const KeeperState& state);
// On failure: it is torn, of a version that this program does not read, or makes no sense; the message says
// which. The fds that it names are not looked at.
Result<KeeperState> load_state(int memory);
// Every fd that it names, each once.
std::vector<int> fds_of(const KeeperState& state);

}  // namespace runmain::keeper
