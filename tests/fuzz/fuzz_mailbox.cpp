// Any bytes as a mailbox: as its header, and as two lanes of one that is sound. Whatever is there, the reader
// hands out valid OTLP only, and comes to an end.
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "telemetry/mailbox_reader.hpp"
#include "telemetry/otlp_wire.hpp"

using namespace runmain;
using namespace runmain::telemetry;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

// The smallest one, made once.
struct World {
  Geometry geometry;
  os::UniqueFd fd;

  World() {
    geometry = standard_geometry("fuzz");
    geometry.lane_count = 2;
    geometry.lanes_shared = 1;
    geometry.dictionary_size = 512;
    geometry.open_slots = 4;
    geometry.ring_size = 4096;
    geometry.lane_stride = geometry.ring_offset() + geometry.ring_size;
    auto made = make_mailbox(geometry);
    must(made.ok());
    fd = std::move(*made);
  }
};

// Spreads the input over what a lane has: its words, dictionary, slots and the ring from where it was read.
void fill(MailboxMemory& memory, std::uint32_t number, std::string_view bytes) {
  const auto part = [&bytes](void* to, std::size_t size) {
    const std::size_t n = std::min(size, bytes.size());
    std::memcpy(to, bytes.data(), n);
    bytes.remove_prefix(n);
  };
  runmain_lane& lane = memory.lane(number);
  std::memset(&lane, 0, memory.geometry().lane_stride);
  std::uint8_t words[8] = {};
  part(words, sizeof words);
  lane.state = words[0] % 4;
  lane.mode = words[1] % 3;
  lane.pid = words[2] % 2;
  lane.pid_started = words[3] % 3;
  lane.read = std::uint64_t{words[4]} * RUNMAIN_RECORD_ALIGN;
  lane.write = lane.read + std::uint64_t{words[5]} * RUNMAIN_RECORD_ALIGN;
  lane.dictionary_used = std::uint64_t{words[6]} * 8;
  part(&memory.slots(number)[0], sizeof(runmain_open_slot));
  part(const_cast<char*>(memory.dictionary(number)), std::min<std::size_t>(lane.dictionary_used, 512));
  part(const_cast<char*>(memory.ring(number)) + lane.read % 4096, 4096 - lane.read % 4096);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const World world;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)read_geometry(bytes, 1ULL << 33U);
  auto memory = MailboxMemory::open(os::UniqueFd(dup(world.fd.get())), world.geometry);
  auto reader = MailboxReader::open(os::UniqueFd(dup(world.fd.get())), {.geometry = world.geometry});
  must(memory.ok() && reader.ok());
  for (std::uint32_t lane = 0; lane < 2; ++lane) fill(*memory, lane, bytes.substr(bytes.size() / 2 * lane));
  for (int turn = 0; turn < 3; ++turn) {
    for (const Item& item : reader->drain(1U << 20U)) {
      must(check(item_message(item.signal), item.bytes).sound());
      must(check(kResource, item.origin.resource).sound() && check(kScope, item.origin.scope).sound());
    }
    reader->commit();
    reader->find_gone([](std::uint32_t pid, std::uint64_t) {
      return pid == 1 ? std::optional(Ending{Ending::How::killed, 9, 5}) : std::nullopt;
    });
  }
  (void)reader->fall_asleep();
  must(reader->tallies().lanes_aside <= 6);
  return 0;
}
