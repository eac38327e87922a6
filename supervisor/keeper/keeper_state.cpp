#include "keeper/keeper_state.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/named_archive.hpp"
#include "keeper/board.hpp"
#include "keeper/channel_hub.hpp"
#include "keeper/children.hpp"
#include "keeper/happenings.hpp"
#include "keeper/listeners.hpp"
#include "keeper/mailboxes.hpp"
#include "keeper/observer_link.hpp"
#include "keeper/streams.hpp"

namespace runmain::keeper {
namespace {

constexpr std::size_t kStateMax = 256U
                                  << 20U;  // bytes; far above kChildrenMax children with all that they say

bool is_ring(std::uint32_t ring) { return ring < kRings; }

bool makes_sense(const KeeperState& state) {
  const auto& streams = state.streams;
  return !state.head.empty() && !state.secret.empty() && state.state >= 0 &&
         std::all_of(streams.ended_rings.begin(), streams.ended_rings.end(), is_ring) &&
         std::all_of(streams.streams.begin(), streams.streams.end(),
                     [](const StreamState& s) { return is_ring(s.ring); });
}

}  // namespace

Result<os::UniqueFd> store_state(const KeeperState& state) {
  auto memory = os::make_memfd("runmain-keeper-state", 0);
  if (!memory) return memory.error();
  if (auto written = os::pwrite_all(memory->get(), to_named(state), 0); !written) return written.error();
  return memory;
}

Result<KeeperState> load_state(int memory) {
  struct stat st {};
  if (fstat(memory, &st) != 0) return Error::from_errno("the keeper's state", errno);
  if (static_cast<std::uint64_t>(st.st_size) > kStateMax) return Error{"the keeper's state is too large"};
  auto bytes = os::pread_some(memory, static_cast<std::size_t>(st.st_size), 0);
  if (!bytes) return bytes.error();
  // The version stands in what may not be readable otherwise.
  struct Version {
    std::uint32_t version = 0;
    void fields(NamedReader& a) { a("version", version); }
  } written;
  KeeperState state;
  if (!from_named(*bytes, written) || written.version == 0) return Error{"the keeper's state is torn"};
  if (!reads_state_version(written.version)) {
    return Error{"the keeper's state is of version " + std::to_string(written.version) +
                 ", this program reads those next to " + std::to_string(state_version())};
  }
  if (!from_named(*bytes, state)) return Error{"the keeper's state has what this program does not know"};
  if (state.streams.layout != kBoardLayout)
    return Error{"the keeper's output rings are of layout " + std::to_string(state.streams.layout) +
                 ", this program goes on with " + std::to_string(kBoardLayout) + " only"};
  if (!makes_sense(state)) return Error{"the keeper's state makes no sense"};
  return state;
}

std::vector<int> fds_of(const KeeperState& state) {
  std::vector<int> fds{state.control, state.lock,    state.journal,         state.state,
                       state.table,   state.history, state.channel.listener};
  const auto add = [&fds](std::initializer_list<int> more) { fds.insert(fds.end(), more); };
  const StreamsState& streams = state.streams;
  add({streams.board, streams.rings, streams.cursor, streams.output_event, streams.room_event});
  for (const StreamState& s : streams.streams) add({s.pipe});
  for (const ChildState& c : state.children.children) add({c.notify, c.main_pidfd});
  for (const ListenerState& l : state.listeners.listeners) add({l.fd});
  for (const MailboxState& m : state.mailboxes.mailboxes) add({m.memory, m.wake});
  for (const ConnectionState& c : state.channel.connections) add({c.fd});
  for (const HappeningState& h : state.happenings.items) fds.insert(fds.end(), h.held.begin(), h.held.end());
  add({state.observer.configuration_memory, state.observer.cursors, state.observer.socket});
  std::sort(fds.begin(), fds.end());
  fds.erase(std::unique(fds.begin(), fds.end()), fds.end());
  std::erase_if(fds, [](int fd) { return fd < 0; });
  return fds;
}

// ---- happenings

HappeningsState Happenings::save() const {
  HappeningsState state;
  state.last = last_;
  for (const Item& item : items_) {
    HappeningState h{item.number, item.what, {}};
    for (const os::UniqueFd& fd : item.held) h.held.push_back(fd.get());
    state.items.push_back(std::move(h));
  }
  return state;
}

void Happenings::restore(const HappeningsState& state) {
  last_ = state.last;
  for (const HappeningState& h : state.items) {
    Item item{h.number, h.what, {}};
    for (const int fd : h.held) item.held.emplace_back(fd);
    items_.push_back(std::move(item));
  }
}

// ---- children

ChildrenState Children::save() const {
  ChildrenState state;
  state.last_tag = tags_.last();
  state.tags_begin = tags_begin_;
  state.last_serial = last_serial_;
  state.killed = killer_.targets();
  for (const auto& [key, c] : children_) {
    ChildState s;
    s.key = key;
    s.serial = c->serial;
    s.pid = c->pid;
    s.first_pid = c->first_pid;
    s.alive = c->alive;
    s.leader_alive = c->leader_alive;
    s.at_pty = c->at_pty;
    s.signalled = c->signalled;
    s.counted = c->counted;
    s.frozen = c->frozen;
    s.frozen_told = c->frozen_told;
    s.frozen_pending = c->frozen_pending;
    s.awaited = c->awaited;
    s.empty = c->empty;
    s.tag = c->tag;
    s.stream = c->stream;
    s.service = c->service;
    s.listeners = c->listeners;
    s.notify = c->notify.get();
    s.main_pidfd = c->main_pidfd.get();
    s.notify_pending = static_cast<std::uint32_t>(c->notify_pending);
    s.kept = c->kept;
    s.adopted = c->adopted;
    s.died_before = c->died_before;
    s.started = c->started;
    s.first_started = c->first_started;
    s.notify_name = c->notify_name;
    s.port = c->port;
    state.children.push_back(std::move(s));
  }
  return state;
}

void Children::restore(const ChildrenState& state) {
  tags_ = os::TagSource(state.last_tag);
  tags_begin_ = state.tags_begin;
  last_serial_ = state.last_serial;
  for (const auto& [tag, deadline] : state.killed) killer_.add(tag, deadline);
  for (const ChildState& s : state.children) restore(s);
}

void Children::restore(const ChildState& s) {
  auto c = std::make_unique<Child>();
  c->key = s.key;
  c->serial = s.serial;
  c->pid = s.pid;
  c->first_pid = s.first_pid;
  c->alive = s.alive;
  c->leader_alive = s.leader_alive;
  c->at_pty = s.at_pty;
  c->signalled = s.signalled;
  c->counted = s.counted;
  c->frozen = s.frozen;
  c->frozen_told = s.frozen_told;
  c->frozen_pending = s.frozen_pending;
  c->awaited = s.awaited;
  c->empty = s.empty;
  c->tag = s.tag;
  c->stream = s.stream;
  c->service = s.service;
  c->listeners = s.listeners;
  c->notify.reset(s.notify);
  c->main_pidfd.reset(s.main_pidfd);
  c->notify_pending = s.notify_pending;
  c->kept = s.kept;
  c->adopted = s.adopted;
  c->died_before = s.died_before;
  c->started = s.started;
  c->first_started = s.first_started;
  c->notify_name = s.notify_name;
  c->port = s.port;
  if (c->awaited) ++awaited_;
  if (c->awaited && c->adopted) look_soon();
  by_serial_[c->serial] = c.get();
  by_tag_[c->tag] = c.get();
  // Those that were adopted are no children of ours: their numbers say nothing to who waits.
  if (c->leader_alive && !c->adopted) by_pid_[c->first_pid] = c.get();
  if (c->alive && !c->adopted) by_pid_[c->pid] = c.get();
  if (c->notify && c->notify_pending < kNotifyPendingMax) poll_notify(*c, true);
  if (c->main_pidfd) poller_.add(c->main_pidfd.get(), EPOLLIN, Token{Source::main_pid, c->serial});
  children_.emplace(s.key, std::move(c));
}

// ---- streams

StreamsState Streams::save() const {
  StreamsState state;
  state.layout = kBoardLayout;
  state.board = board_fd_.get();
  state.rings = rings_fd_.get();
  state.cursor = cursor_fd_.get();
  state.output_event = output_event_.get();
  state.room_event = room_event_.get();
  state.last_serial = last_serial_;
  state.ended_rings = ended_rings_;
  for (const auto& [serial, s] : streams_)
    state.streams.push_back({serial, s.pipe.get(), s.ring, s.pty, s.reads, s.wide, s.input, s.lasting});
  return state;
}

Result<std::unique_ptr<Streams>> Streams::resume(Poller& poller, const StreamsState& state) {
  std::unique_ptr<Streams> s(new Streams(poller));
  s->board_fd_.reset(state.board);
  s->rings_fd_.reset(state.rings);
  s->cursor_fd_.reset(state.cursor);
  s->output_event_.reset(state.output_event);
  s->room_event_.reset(state.room_event);
  if (auto mapped = s->map(); !mapped) return mapped.error();
  s->last_serial_ = state.last_serial;
  s->ended_rings_ = state.ended_rings;
  s->free_rings_.clear();
  for (std::uint32_t i = kRings; i > 0; --i) {
    if (s->board_->rings[i - 1].used.load() == 0) s->free_rings_.push_back(i - 1);
  }
  for (const StreamState& one : state.streams) {
    Stream& stream = s->streams_[one.serial];
    stream.pipe.reset(one.pipe);
    stream.ring = one.ring;
    stream.pty = one.pty;
    stream.reads = one.reads;
    stream.wide = one.wide;
    stream.lasting = one.lasting;
    s->wide_ += one.wide ? 1 : 0;
    stream.input = one.input;
    s->stream_of_ring_[one.ring] = one.serial;
    s->poll(one.serial, stream);
  }
  s->on_room();  // told meanwhile
  return s;
}

// ---- listeners

ListenersState Listeners::save() const {
  ListenersState state;
  state.last_serial = last_serial_;
  state.untold = untold_;
  for (const auto& [id, h] : held_) {
    ListenerState l{id, h.listener.fd.get(), static_cast<std::uint8_t>(h.listener.kind), h.listener.bound};
    l.name.assign(reinterpret_cast<const char*>(&h.listener.name), h.listener.name_size);
    l.host = h.address.host;
    l.port = h.address.port;
    l.path = h.address.path;
    l.serial = h.serial;
    l.unlink_path = h.unlink_path;
    l.device = h.device;
    l.inode = h.inode;
    l.children = h.children;
    l.alive = h.alive;
    l.group = h.group;
    l.slot = h.slot;
    l.closing = h.closing;
    l.polled = h.polled;
    l.lost = h.lost;
    l.shut_untold = h.shut_untold;
    state.listeners.push_back(std::move(l));
  }
  for (const auto& [id, g] : groups_) {
    ListenerGroupState s{
        id,     static_cast<std::uint8_t>(g.address.kind), g.address.host, g.address.port, g.address.path,
        g.bound};
    s.ids.assign(g.ids.begin(), g.ids.end());
    s.places = g.order.places();
    s.places_known = g.order.known();
    s.named.assign(g.named.begin(), g.named.end());
    s.last_named.assign(g.last_named.begin(), g.last_named.end());
    s.out.assign(g.out.begin(), g.out.end());
    s.clients = g.clients;
    s.looks = g.looks;
    s.told_fault = g.told_fault;
    s.closing = g.closing;
    state.groups.push_back(std::move(s));
  }
  return state;
}

void Listeners::restore(const ListenersState& state) {
  last_serial_ = state.last_serial;
  untold_ = state.untold;
  for (const ListenerState& l : state.listeners) {
    Held held;
    held.id = l.id;
    held.serial = l.serial;
    held.listener =
        os::known_listener(os::UniqueFd(l.fd), static_cast<os::AddressKind>(l.kind), l.bound, l.name);
    held.address = {static_cast<os::AddressKind>(l.kind), l.host, l.port, l.path};
    held.unlink_path = l.unlink_path;
    held.device = static_cast<dev_t>(l.device);
    held.inode = static_cast<ino_t>(l.inode);
    held.children = l.children;
    held.alive = l.alive;
    held.group = l.group;
    held.slot = l.slot;
    held.closing = l.closing;
    held.lost = l.lost;
    held.shut_untold = l.shut_untold;
    by_serial_[held.serial] = l.id;
    held.cookie = os::socket_cookie(held.listener.fd.get());
    Held& kept = held_.emplace(l.id, std::move(held)).first->second;
    poll(kept, l.polled);
  }
  for (const ListenerGroupState& s : state.groups) {
    Group g;
    g.address = {static_cast<os::AddressKind>(s.kind), s.host, s.port, s.path};
    g.bound = s.bound;
    g.ids.insert(s.ids.begin(), s.ids.end());
    g.order = os::ReuseportOrder(s.places, s.places_known);
    g.named.insert(s.named.begin(), s.named.end());
    g.last_named.insert(s.last_named.begin(), s.last_named.end());
    g.out.insert(s.out.begin(), s.out.end());
    g.clients = s.clients;
    g.looks = s.looks;
    g.told_fault = s.told_fault;
    g.closing = s.closing;
    groups_.emplace(s.id, std::move(g));
  }
}

// ---- mailboxes

MailboxesState Mailboxes::save() const {
  MailboxesState state{last_number_, lost_, not_made_, {}, {bare_trees_.begin(), bare_trees_.end()}};
  for (const auto& [key, m] : mailboxes_) {
    MailboxState s{m.memory.get(), m.wake.get(), m.claims, m.number, m.made, {}, m.tree_gone};
    if (m.gone) s.gone.push_back(*m.gone);
    state.mailboxes.push_back(std::move(s));
  }
  return state;
}

// Nothing counts as told: the observer is another one, or is about to be.
void Mailboxes::restore(const MailboxesState& state) {
  last_number_ = state.last_number;
  lost_ = state.lost;
  not_made_ = state.not_made;
  bare_trees_.assign(state.bare_trees.begin(), state.bare_trees.end());
  for (const MailboxState& s : state.mailboxes) {
    Mailbox m;
    m.memory.reset(s.memory);
    m.wake.reset(s.wake);
    m.claims = s.claims;
    m.number = s.number;
    m.made = s.made;
    if (!s.gone.empty()) m.gone = s.gone.front();
    m.tree_gone = s.tree_gone;
    mailboxes_.emplace(s.made.key, std::move(m));
  }
  untold_ = true;
}

// ---- channel

ChannelState ChannelHub::save() const {
  ChannelState state;
  state.listener = listener_.get();
  state.last_serial = last_serial_;
  state.refused = refused_;
  for (const auto& [serial, c] : connections_) {
    ConnectionState s{c->fd.get(), serial,   c->peer.pid, c->peer.uid,
                      c->peer.gid, c->bound, c->has_key,  c->key};
    s.in = c->in;
    s.out = c->out;
    s.pending = static_cast<std::uint32_t>(c->pending);
    s.closing = c->closing;
    s.dead = c->dead;
    state.connections.push_back(std::move(s));
  }
  return state;
}

void ChannelHub::restore(const ChannelState& state) {
  last_serial_ = state.last_serial;
  refused_ = state.refused;
  for (const ConnectionState& s : state.connections) {
    auto c = std::make_unique<Connection>();
    c->fd.reset(s.fd);
    c->serial = s.serial;
    c->peer = {s.pid, s.uid, s.gid};
    c->bound = s.bound;
    c->has_key = s.has_key;
    c->key = s.key;
    c->in = s.in;
    c->out = s.out;
    c->pending = s.pending;
    c->closing = s.closing;
    c->dead = s.dead;
    if (!c->dead) {
      poller_.add(c->fd.get(), 0, Token{Source::connection, c->serial});
      watch(*c);
    }
    connections_.emplace(s.serial, std::move(c));
  }
}

// ---- observer

ObserverState ObserverLink::save() const {
  return {configuration_, configuration_memory_.get(), cursors_.get(), socket_.get(), pid_, starts_,
          started_};
}

void ObserverLink::restore(const ObserverState& state) {
  configuration_ = state.configuration;
  configuration_memory_.reset(state.configuration_memory);
  cursors_.reset(state.cursors);
  socket_.reset(state.socket);
  pid_ = state.pid;
  starts_ = state.starts;
  started_ = state.started;
  retiring_ = pid_ != 0;
  if (socket_) poller_.add(socket_.get(), EPOLLIN, Token{Source::observer, starts_});
}

}  // namespace runmain::keeper
