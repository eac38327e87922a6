#include "keeper/streams.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <new>
#include <string>

#include "os/linux/sockets.hpp"

namespace runmain::keeper {
namespace {

constexpr std::uint64_t kPumpMax = kRingBytes;   // bytes a stream may move before the others get their turn
constexpr std::size_t kPtyPieceMax = 4U << 10U;  // as much as a pty gives at once

Result<os::UniqueFd> make_event() {
  os::UniqueFd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) return Error::from_errno("eventfd", errno);
  return fd;
}

}  // namespace

Result<std::unique_ptr<Streams>> Streams::make(Poller& poller) {
  std::unique_ptr<Streams> s(new Streams(poller));
  auto board = os::make_memfd("runmain-board", sizeof(Board));
  if (!board) return board.error();
  auto rings = os::make_memfd("runmain-rings", kRings * kRingBytes);
  if (!rings) return rings.error();
  auto output = make_event();
  if (!output) return output.error();
  auto room = make_event();
  if (!room) return room.error();
  s->board_fd_ = std::move(*board);
  s->cursor_fd_.reset(::open(("/proc/self/fd/" + std::to_string(rings->get())).c_str(), O_RDWR | O_CLOEXEC));
  s->rings_fd_ = std::move(*rings);
  s->output_event_ = std::move(*output);
  s->room_event_ = std::move(*room);
  if (auto mapped = s->map(); !mapped) return mapped.error();
  for (std::uint32_t i = kRings; i > 0; --i) s->free_rings_.push_back(i - 1);
  return s;
}

Result<void> Streams::map() {
  void* at = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, board_fd_.get(), 0);
  if (at == MAP_FAILED) return Error::from_errno("mmap", errno);
  board_ = std::launder(static_cast<Board*>(at));  // its initial state is zero pages, not touched before use
  stream_of_ring_.assign(kRings, 0);
  if (!poller_.add(room_event_.get(), EPOLLIN, Token{Source::room, 0}))
    return Error::from_errno("epoll_ctl", errno);
  return {};
}

Streams::~Streams() {
  if (board_ != nullptr) munmap(board_, sizeof(Board));
}

Result<os::UniqueFd> Streams::open_ends(Stream& stream, const os::TerminalShape* pty) {
  if (pty != nullptr) {
    auto pair = os::open_pty(*pty);
    if (!pair) return pair.error();
    stream.pipe = std::move(pair->master);
    stream.pty = true;
    return std::move(pair->slave);
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::from_errno("pipe2", errno);
  stream.pipe = os::UniqueFd(ends[0]);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);  // the read end is a file description of its own
  return os::UniqueFd(ends[1]);
}

// Both ends in one, by /proc: without it, the child gets SIGPIPE as ever.
os::UniqueFd Streams::make_lasting(Stream& stream, os::UniqueFd write_end) {
  os::UniqueFd both(::open(("/proc/self/fd/" + std::to_string(write_end.get())).c_str(), O_RDWR | O_CLOEXEC));
  if (!both) return write_end;
  if (wide_ < kWidePipesMax && fcntl(both.get(), F_SETPIPE_SZ, kWidePipeBytes) > 0) {
    stream.wide = true;
    ++wide_;
  }
  return both;
}

Result<Streams::Opened> Streams::open(const ChildKey& key, const os::TerminalShape* pty, bool lasting) {
  reclaim();
  if (free_rings_.empty()) return Error{"every output ring is in use", {}, {}, ENOBUFS};
  Stream opened;
  auto write_end = open_ends(opened, pty);
  if (!write_end) return write_end.error();
  opened.lasting = lasting && pty == nullptr;
  if (opened.lasting) *write_end = make_lasting(opened, std::move(*write_end));
  return Opened{begin(key, std::move(opened)), std::move(*write_end)};
}

Result<std::uint32_t> Streams::adopt(const ChildKey& key, os::UniqueFd read_end, const Unread& unread) {
  reclaim();
  if (free_rings_.empty()) return Error{"every output ring is in use", {}, {}, ENOBUFS};
  Stream opened;
  opened.pipe = std::move(read_end);
  opened.lasting = true;
  const std::uint32_t serial = begin(key, std::move(opened));
  const std::uint32_t ring = streams_[serial].ring;
  const auto bytes = std::string_view(unread.bytes).substr(0, kRingBytes);
  if (os::pwrite_all(rings_fd_.get(), bytes, ring * kRingBytes))
    board_->rings[ring].written.store(bytes.size(), std::memory_order_release);
  board_->rings[ring].in_line = unread.in_line ? 1 : 0;
  return serial;
}

std::uint64_t Streams::pipe_inode(std::uint32_t serial) const {
  const auto found = streams_.find(serial);
  return found == streams_.end() || found->second.pty ? 0 : os::inode_of(found->second.pipe.get());
}

// A ring for it, at its beginning.
std::uint32_t Streams::begin(const ChildKey& key, Stream opened) {
  const std::uint32_t ring = free_rings_.back();
  free_rings_.pop_back();
  const std::uint32_t serial = ++last_serial_;
  Stream& stream = streams_[serial] = std::move(opened);
  stream.ring = ring;
  stream_of_ring_[ring] = serial;
  RingLine& line = board_->rings[ring];
  line.written = 0;
  line.consumed = 0;
  line.ended = 0;
  line.blocked = 0;
  line.in_line = 0;
  line.service = key.service.value;
  line.slot = key.slot;
  line.generation = key.generation;
  line.attempt = key.attempt;
  line.pid = 0;
  line.pty = stream.pty ? 1 : 0;
  line.used.store(1, std::memory_order_release);
  return serial;
}

void Streams::started(std::uint32_t serial, std::int32_t pid) {
  const auto found = streams_.find(serial);
  if (found == streams_.end()) return;
  if (pid == 0) {
    end(serial, found->second);
    return;
  }
  board_->rings[found->second.ring].pid = static_cast<std::uint32_t>(pid);
  read_on(serial, found->second, true);
}

void Streams::read_on(std::uint32_t serial, Stream& stream, bool on) {
  stream.reads = on;
  poll(serial, stream);
}

// At rest it is not polled at all: an error or a hang-up would wake us again and again.
void Streams::poll(std::uint32_t serial, Stream& stream) {
  const bool reads = stream.reads && !(held_ && stream.lasting);
  const std::uint32_t want = (reads ? static_cast<std::uint32_t>(EPOLLIN) : 0U) |
                             (stream.input.empty() ? 0U : static_cast<std::uint32_t>(EPOLLOUT));
  if (stream.polled == want) return;
  const Token token{Source::pipe, serial};
  if (want == 0) {
    poller_.remove(stream.pipe.get());
  } else if (stream.polled == 0) {
    poller_.add(stream.pipe.get(), want, token);
  } else {
    poller_.change(stream.pipe.get(), want, token);
  }
  stream.polled = want;
}

// As splice(2) tells it; 0 is the end.
ssize_t Streams::move_bytes(Stream& stream, std::size_t size, loff_t offset) {
  // The kernel moves the cursor in the same step: what we have moved is known also if we are killed in it.
  if (!stream.pty && cursor_fd_ && lseek(cursor_fd_.get(), offset, SEEK_SET) == offset) {
    board_->move.written.store(board_->rings[stream.ring].written.load(std::memory_order_relaxed));
    board_->move.ring.store(stream.ring + 1);
    return splice(stream.pipe.get(), nullptr, cursor_fd_.get(), nullptr, size,
                  SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  }
  if (!stream.pty) {
    return splice(stream.pipe.get(), nullptr, rings_fd_.get(), &offset, size,
                  SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  }
  // What is read must have its place, so the memory for it comes first.
  scratch_.resize(std::min(size, kPtyPieceMax));
  if (fallocate(rings_fd_.get(), FALLOC_FL_KEEP_SIZE, offset, static_cast<off_t>(scratch_.size())) != 0)
    return -1;
  const ssize_t n = read(stream.pipe.get(), scratch_.data(), scratch_.size());
  if (n < 0 && errno == EIO) return 0;  // nobody has the slave, and everything that was written is read
  if (n <= 0) return n;
  (void)os::pwrite_all(rings_fd_.get(), std::string_view(scratch_).substr(0, static_cast<std::size_t>(n)),
                       static_cast<std::uint64_t>(offset));
  return n;
}

Streams::Moved Streams::move_some(Stream& stream) {
  RingLine& line = board_->rings[stream.ring];
  const std::uint64_t written = line.written.load(std::memory_order_relaxed);
  std::uint64_t room = kRingBytes - (written - line.consumed.load(std::memory_order_acquire));
  if (room == 0) {
    line.blocked.store(1);
    room = kRingBytes -
           (written - line.consumed.load());  // the head may have consumed just before it could see us
    if (room == 0) return Moved::no_room;
    line.blocked.store(0);
  }
  const std::uint64_t at = written % kRingBytes;
  const auto offset = static_cast<loff_t>(stream.ring * kRingBytes + at);
  const ssize_t n = move_bytes(stream, std::min(room, kRingBytes - at), offset);
  if (n > 0) line.written.store(written + static_cast<std::uint64_t>(n), std::memory_order_release);
  board_->move.ring.store(0);
  if (n > 0) return Moved::some;
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return Moved::nothing_there;
  if (n < 0 && (errno == ENOSPC || errno == ENOMEM))
    return Moved::nothing_there;  // told again: level-triggered
  return Moved::ended;
}

void Streams::on_pipe(std::uint32_t serial, std::uint32_t events) {
  const auto found = streams_.find(serial);
  if (found == streams_.end()) return;
  Stream& stream = found->second;
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0 && !stream.input.empty()) {
    flush_input(stream);
    poll(serial, stream);
  }
  if ((!stream.reads && (events & EPOLLIN) == 0) || (held_ && stream.lasting)) return;
  const std::uint32_t ring = stream.ring;
  const std::uint64_t before = board_->rings[ring].written.load(std::memory_order_relaxed);
  Moved moved = Moved::some;
  while (moved == Moved::some &&
         board_->rings[ring].written.load(std::memory_order_relaxed) - before < kPumpMax) {
    moved = move_some(stream);
  }
  if (moved == Moved::no_room) read_on(serial, stream, false);
  if (moved == Moved::ended) end(serial, stream);
  tell_head(ring);
}

void Streams::hold(bool on) {
  if (held_ == on) return;
  held_ = on;
  std::vector<std::uint32_t> lasting;
  for (auto& [serial, stream] : streams_) {
    if (!stream.lasting) continue;
    poll(serial, stream);
    lasting.push_back(serial);
  }
  if (on) return;
  for (const std::uint32_t serial : lasting) drain(serial);
}

void Streams::drain(std::uint32_t serial) {
  const auto found = streams_.find(serial);
  if (found == streams_.end()) return;
  on_pipe(serial, EPOLLIN);
}

void Streams::end(std::uint32_t serial, Stream& stream) {
  stream.input.clear();
  read_on(serial, stream, false);
  const std::uint32_t ring = stream.ring;
  if (stream.wide) --wide_;
  board_->rings[ring].ended.store(1, std::memory_order_release);
  stream_of_ring_[ring] = 0;
  ended_rings_.push_back(ring);
  streams_.erase(serial);
  tell_head(ring);
}

void Streams::tell_head(std::uint32_t ring) {
  board_->dirty[ring / 64].fetch_or(1ULL << (ring % 64));
  if (board_->head_asleep.exchange(0) != 0) {
    const std::uint64_t one = 1;
    (void)!write(output_event_.get(), &one, sizeof one);
  }
}

void Streams::on_room() {
  std::uint64_t count = 0;
  (void)!read(room_event_.get(), &count, sizeof count);
  for (std::uint32_t word = 0; word < kDirtyWords; ++word) {
    std::uint64_t bits = board_->room[word].exchange(0);
    for (; bits != 0; bits &= bits - 1) {
      const auto ring = word * 64 + static_cast<std::uint32_t>(__builtin_ctzll(bits));
      const std::uint32_t serial = stream_of_ring_[ring];
      if (serial == 0) continue;
      board_->rings[ring].blocked.store(0);
      read_on(serial, streams_[serial], true);
    }
  }
  reclaim();
}

int Streams::master(std::uint32_t serial) const {
  const auto found = streams_.find(serial);
  return found == streams_.end() || !found->second.pty ? -1 : found->second.pipe.get();
}

void Streams::type(std::uint32_t serial, std::string_view bytes) {
  const auto found = streams_.find(serial);
  if (found == streams_.end() || !found->second.pty) return;
  Stream& stream = found->second;
  stream.input.append(bytes.substr(0, kInputMax - std::min(kInputMax, stream.input.size())));
  flush_input(stream);
  poll(serial, stream);
}

void Streams::flush_input(Stream& stream) {
  while (!stream.input.empty()) {
    const ssize_t n = write(stream.pipe.get(), stream.input.data(), stream.input.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return stream.input.clear();
    stream.input.erase(0, static_cast<std::size_t>(n));
  }
}

void Streams::resize(const winsize& size) {
  for (const auto& [serial, stream] : streams_) {
    if (stream.pty) ioctl(stream.pipe.get(), TIOCSWINSZ, &size);
  }
}

void Streams::redraw() {
  for (const auto& [serial, stream] : streams_) {
    const pid_t group = stream.pty ? os::foreground_group(stream.pipe.get()) : 0;
    if (group > 1) kill(-group, SIGWINCH);
  }
}

void Streams::reclaim() {
  std::erase_if(ended_rings_, [this](std::uint32_t ring) {
    RingLine& line = board_->rings[ring];
    const std::uint64_t written = line.written.load();
    if (line.consumed.load(std::memory_order_acquire) != written) return false;
    line.used.store(0, std::memory_order_release);
    if (written != 0) {
      fallocate(rings_fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                static_cast<off_t>(ring * kRingBytes), static_cast<off_t>(kRingBytes));
    }
    free_rings_.push_back(ring);
    return true;
  });
}

}  // namespace runmain::keeper
