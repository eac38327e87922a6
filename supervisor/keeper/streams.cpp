#include "keeper/streams.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <new>

namespace runmain::keeper {
namespace {

constexpr std::uint64_t kPumpMax = kRingBytes;  // bytes a stream may move before the others get their turn

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
  void* at = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, board->get(), 0);
  if (at == MAP_FAILED) return Error::from_errno("mmap", errno);
  s->board_ =
      std::launder(static_cast<Board*>(at));  // its initial state is zero pages, not touched before use
  s->board_fd_ = std::move(*board);
  s->rings_fd_ = std::move(*rings);
  s->output_event_ = std::move(*output);
  s->room_event_ = std::move(*room);
  s->stream_of_ring_.assign(kRings, 0);
  for (std::uint32_t i = kRings; i > 0; --i) s->free_rings_.push_back(i - 1);
  if (!poller.add(s->room_event_.get(), EPOLLIN, Token{Source::room, 0}))
    return Error::from_errno("epoll_ctl", errno);
  return s;
}

Streams::~Streams() {
  if (board_ != nullptr) munmap(board_, sizeof(Board));
}

Result<Streams::Opened> Streams::open(const ChildKey& key) {
  reclaim();
  if (free_rings_.empty()) return Error{"every output ring is in use", {}, {}, ENOBUFS};
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::from_errno("pipe2", errno);
  const std::uint32_t ring = free_rings_.back();
  free_rings_.pop_back();
  const std::uint32_t serial = ++last_serial_;
  Stream& stream = streams_[serial];
  stream.pipe = os::UniqueFd(ends[0]);
  stream.ring = ring;
  stream_of_ring_[ring] = serial;
  fcntl(ends[0], F_SETFL, O_NONBLOCK);  // the read end is a file description of its own
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
  line.used.store(1, std::memory_order_release);
  return Opened{serial, os::UniqueFd(ends[1])};
}

void Streams::started(std::uint32_t serial, std::int32_t pid) {
  const auto found = streams_.find(serial);
  if (found == streams_.end()) return;
  if (pid == 0) {
    end(serial, found->second);
    return;
  }
  board_->rings[found->second.ring].pid = static_cast<std::uint32_t>(pid);
  poll(serial, found->second, true);
}

void Streams::poll(std::uint32_t serial, Stream& stream, bool on) {
  if (stream.polled == on) return;
  stream.polled = on;
  if (on) {
    poller_.add(stream.pipe.get(), EPOLLIN, Token{Source::pipe, serial});
  } else {
    poller_.remove(stream.pipe.get());
  }
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
  loff_t offset = static_cast<loff_t>(stream.ring * kRingBytes + at);
  const ssize_t n = splice(stream.pipe.get(), nullptr, rings_fd_.get(), &offset,
                           std::min(room, kRingBytes - at), SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  if (n > 0) {
    line.written.store(written + static_cast<std::uint64_t>(n), std::memory_order_release);
    return Moved::some;
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return Moved::nothing_there;
  if (n < 0 && (errno == ENOSPC || errno == ENOMEM))
    return Moved::nothing_there;  // told again: level-triggered
  return Moved::ended;
}

void Streams::on_pipe(std::uint32_t serial) {
  const auto found = streams_.find(serial);
  if (found == streams_.end()) return;
  Stream& stream = found->second;
  const std::uint32_t ring = stream.ring;
  const std::uint64_t before = board_->rings[ring].written.load(std::memory_order_relaxed);
  Moved moved = Moved::some;
  while (moved == Moved::some &&
         board_->rings[ring].written.load(std::memory_order_relaxed) - before < kPumpMax) {
    moved = move_some(stream);
  }
  if (moved == Moved::no_room) poll(serial, stream, false);
  if (moved == Moved::ended) end(serial, stream);
  tell_head(ring);
}

void Streams::drain(std::uint32_t serial) {
  const auto found = streams_.find(serial);
  if (found == streams_.end()) return;
  on_pipe(serial);
}

void Streams::end(std::uint32_t serial, Stream& stream) {
  poll(serial, stream, false);
  const std::uint32_t ring = stream.ring;
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
      poll(serial, streams_[serial], true);
    }
  }
  reclaim();
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
