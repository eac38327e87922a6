#include "app/unread.hpp"

#include <unistd.h>

#include <algorithm>

#include "os/linux/fd.hpp"

namespace runmain::app {

void settle_moved(keeper::Board& board, int cursor) {
  const std::uint64_t ring = board.move.ring.exchange(0);
  if (cursor < 0 || ring == 0 || ring > keeper::kRings) return;
  keeper::RingLine& line = board.rings[ring - 1];
  const std::uint64_t before = board.move.written.load();
  if (line.used.load() == 0 || line.written.load() != before) return;  // it was said
  const auto begin = static_cast<off_t>((ring - 1) * keeper::kRingBytes + before % keeper::kRingBytes);
  const off_t moved = lseek(cursor, 0, SEEK_CUR) - begin;
  if (moved > 0 && static_cast<std::uint64_t>(moved) <= keeper::kRingBytes)
    line.written.store(before + static_cast<std::uint64_t>(moved));
}

std::vector<keeper::Unread> unread_in(const keeper::Board& board, int rings) {
  std::vector<keeper::Unread> all;
  std::size_t room = kUnreadMax;
  for (std::uint32_t ring = 0; ring < keeper::kRings; ++ring) {
    const keeper::RingLine& line = board.rings[ring];
    if (line.used.load() == 0 || line.pty.load() != 0) continue;
    std::uint64_t at = line.consumed.load();
    const std::uint64_t end = line.written.load();
    const bool in_line = line.in_line.load() != 0;
    if ((at == end && !in_line) || end - at > std::min<std::uint64_t>(room, keeper::kRingBytes)) continue;
    keeper::Unread unread{
        {ServiceId{line.service.load()}, line.slot.load(), line.generation.load(), line.attempt.load()},
        in_line,
        {}};
    while (at < end) {
      const std::uint64_t place = at % keeper::kRingBytes;
      const std::uint64_t size = std::min(end - at, keeper::kRingBytes - place);
      const auto piece = os::pread_some(rings, size, ring * keeper::kRingBytes + place);
      if (!piece || piece->empty()) break;
      unread.bytes += *piece;
      at += piece->size();
    }
    room -= std::min(room, unread.bytes.size());
    all.push_back(std::move(unread));
  }
  return all;
}

}  // namespace runmain::app
