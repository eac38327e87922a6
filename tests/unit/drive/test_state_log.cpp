#include "drive/state_log.hpp"

#include <unistd.h>

#include <random>

#include "base/named_archive.hpp"
#include "os/linux/fd.hpp"
#include "os/linux/memfd_cell.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;

namespace {

Checkpoint checkpoint(std::uint64_t happening) {
  Checkpoint c;
  c.version = state_version();
  c.happening = happening;
  c.machine = std::string(1000, 'm');
  return c;
}

LoggedEvent event(std::uint64_t happening) {
  return {happening, Time(Duration(static_cast<Duration::rep>(happening))),
          core::Signalled{static_cast<int>(happening)}};
}

struct Memory {
  os::UniqueFd fd;
  Memory() {
    auto made = os::make_memfd("test", 0);
    REQUIRE(made);
    fd = std::move(*made);
  }
};

}  // namespace

TEST_CASE("a fresh state log has nothing and wants a checkpoint") {
  Memory memory;
  StateLog log(memory.fd.get());
  auto found = log.recover();
  REQUIRE(found);
  CHECK_FALSE(found->has_value());
  CHECK(log.wants_checkpoint());
}

TEST_CASE("what was flushed is recovered in its order, what was only appended is not") {
  Memory memory;
  StateLog log(memory.fd.get());
  REQUIRE(log.write(checkpoint(7)));
  for (std::uint64_t i = 8; i < 20; ++i) {
    log.append(event(i));
    if (i % 3 == 0) REQUIRE(log.flush());
  }
  StateLog next(memory.fd.get());
  auto found = next.recover();
  REQUIRE(found);
  REQUIRE(found->has_value());
  CHECK((**found).checkpoint.happening == 7);
  REQUIRE((**found).events.size() == 11);  // 8 … 18; 19 was not flushed
  for (std::size_t i = 0; i < 11; ++i) CHECK((**found).events[i].happening == 8 + i);
}

TEST_CASE("a new checkpoint starts the log anew, also after many of them") {
  Memory memory;
  StateLog log(memory.fd.get());
  for (std::uint64_t round = 1; round <= 5; ++round) {
    REQUIRE(log.write(checkpoint(round * 100)));
    log.append(event(round * 100 + 1));
    REQUIRE(log.flush());
    StateLog next(memory.fd.get());
    auto found = next.recover();
    REQUIRE(found);
    REQUIRE(found->has_value());
    CHECK((**found).checkpoint.happening == round * 100);
    REQUIRE((**found).events.size() == 1);
    CHECK((**found).events[0].happening == round * 100 + 1);
  }
}

TEST_CASE("a log that is cut anywhere gives a prefix of its events or an error, never another event") {
  Memory memory;
  StateLog log(memory.fd.get());
  REQUIRE(log.write(checkpoint(0)));
  for (std::uint64_t i = 1; i <= 50; ++i) {
    log.append(event(i));
    REQUIRE(log.flush());
  }
  const auto size = static_cast<std::uint64_t>(lseek(memory.fd.get(), 0, SEEK_END));
  for (std::uint64_t cut = size; cut > size - 600; cut -= 7) {
    REQUIRE(ftruncate(memory.fd.get(), static_cast<off_t>(cut)) == 0);
    StateLog next(memory.fd.get());
    auto found = next.recover();
    if (!found || !*found) continue;
    for (std::size_t i = 0; i < (**found).events.size(); ++i) CHECK((**found).events[i].happening == i + 1);
    CHECK((**found).events.size() < 50 + (cut == size ? 1U : 0U));
  }
}

TEST_CASE("a log with flipped bits gives a prefix of its events or an error") {
  const unsigned seed = std::random_device()();
  CAPTURE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    Memory memory;
    StateLog log(memory.fd.get());
    REQUIRE(log.write(checkpoint(0)));
    for (std::uint64_t i = 1; i <= 20; ++i) {
      log.append(event(i));
      REQUIRE(log.flush());
    }
    const auto size = static_cast<std::uint64_t>(lseek(memory.fd.get(), 0, SEEK_END));
    const std::uint64_t at = size - 1 - random() % 200;
    auto byte = os::pread_some(memory.fd.get(), 1, at);
    REQUIRE(byte);
    REQUIRE(os::pwrite_all(memory.fd.get(),
                           std::string(1, static_cast<char>((*byte)[0] ^ (1 << random() % 8))), at));
    StateLog next(memory.fd.get());
    auto found = next.recover();
    if (!found || !*found) continue;
    CHECK((**found).events.size() < 20);
    for (std::size_t i = 0; i < (**found).events.size(); ++i) CHECK((**found).events[i].happening == i + 1);
  }
}

TEST_CASE("a log asks for a checkpoint before it grows without bound") {
  Memory memory;
  StateLog log(memory.fd.get());
  REQUIRE(log.write(checkpoint(0)));
  std::uint64_t i = 0;
  while (!log.wants_checkpoint() && i < 1'000'000) {
    log.append(event(++i));
    REQUIRE(log.flush());
  }
  CHECK(i < 1'000'000);
  CHECK(static_cast<std::uint64_t>(lseek(memory.fd.get(), 0, SEEK_END)) > kLogMin);
}

TEST_CASE("a cell holds its latest value, and the old one until the new one is whole") {
  Memory memory;
  os::MemfdCell cell(memory.fd.get());
  auto nothing = cell.load();
  REQUIRE(nothing);
  CHECK(nothing->empty());
  for (const std::string& value : {std::string("one"), std::string(100'000, 'x'), std::string("three")}) {
    REQUIRE(cell.store(value));
    auto loaded = os::MemfdCell(memory.fd.get()).load();
    REQUIRE(loaded);
    CHECK(*loaded == value);
  }
}
