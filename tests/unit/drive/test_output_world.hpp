// What the tests of output stand on: the keeper's side of the board (as keeper/streams.cpp does it, from
// memory instead of pipes), a folder that goes away, and a head's Output over both.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "drive/output.hpp"
#include "keeper/board.hpp"

namespace runmain::output_test {

class TestFolder {
 public:
  TestFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "runmain-output-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream all;
  all << in.rdbuf();
  return all.str();
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

// The rotated files and the current one, the oldest first.
inline std::string whole_log(const std::string& path, std::uint32_t keep = 10'000) {
  std::string all;
  for (std::uint32_t n = keep; n > 0; --n) {
    const std::string name = path + "." + std::to_string(n);
    if (access(name.c_str(), F_OK) == 0) all += slurp(name);
  }
  return all + slurp(path);
}

// "… web | text" to "text".
inline std::string text_of(const std::string& line) {
  const std::size_t at = std::min(line.find(" | "), line.find(" + "));
  return at == std::string::npos ? "?" + line : line.substr(at + 3);
}

inline std::size_t open_fds() {
  std::size_t n = 0;
  DIR* folder = opendir("/proc/self/fd");
  while (readdir(folder) != nullptr) ++n;
  closedir(folder);
  return n;
}

// The memory that outlives heads, and the keeper's way of writing to it. May be used by a forked process.
class FakeKeeper {
 public:
  FakeKeeper() {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    board_fd = memory(sizeof(keeper::Board));
    fds.rings = memory(keeper::kRings * keeper::kRingBytes);
    fds.history = memory(0);
    fds.output_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fds.space_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    void* at = mmap(nullptr, sizeof(keeper::Board), PROT_READ | PROT_WRITE, MAP_SHARED, board_fd, 0);
    board = static_cast<keeper::Board*>(at);
  }
  ~FakeKeeper() {
    munmap(board, sizeof(keeper::Board));
    for (const int fd : {board_fd, fds.rings, fds.history, fds.output_event, fds.space_event}) close(fd);
  }
  FakeKeeper(const FakeKeeper&) = delete;
  FakeKeeper& operator=(const FakeKeeper&) = delete;

  void open(std::uint32_t ring, const ChildKey& key) {
    keeper::RingLine& line = board->rings[ring];
    line.written = 0;
    line.consumed = 0;
    line.ended = 0;
    line.blocked = 0;
    line.in_line = 0;
    line.service = key.service.value;
    line.slot = key.slot;
    line.generation = key.generation;
    line.attempt = key.attempt;
    line.used.store(1, std::memory_order_release);
  }

  // As much as there is room for; the ring is `blocked` if that is nothing. Returns how much.
  std::size_t put(std::uint32_t ring, std::string_view bytes) {
    keeper::RingLine& line = board->rings[ring];
    const std::uint64_t written = line.written.load();
    std::uint64_t room = keeper::kRingBytes - (written - line.consumed.load());
    if (room == 0) {
      line.blocked.store(1);
      room = keeper::kRingBytes - (written - line.consumed.load());
      if (room == 0) return 0;
      line.blocked.store(0);
    }
    const std::uint64_t at = written % keeper::kRingBytes;
    const std::uint64_t n = std::min({room, keeper::kRingBytes - at, std::uint64_t{bytes.size()}});
    if (pwrite(fds.rings, bytes.data(), n, static_cast<off_t>(ring * keeper::kRingBytes + at)) < 0) return 0;
    advance(ring, n);
    return n;
  }
  // The next n bytes are in the ring's memory already.
  void advance(std::uint32_t ring, std::uint64_t n) {
    board->rings[ring].written.store(board->rings[ring].written.load() + n, std::memory_order_release);
    tell_head(ring);
  }

  // Everything, where the ring surely has room (in two parts at its end).
  void put_all(std::uint32_t ring, std::string_view bytes) {
    while (!bytes.empty()) {
      const std::size_t n = put(ring, bytes);
      if (n == 0) std::abort();
      bytes.remove_prefix(n);
    }
  }

  void end(std::uint32_t ring) {
    board->rings[ring].ended.store(1, std::memory_order_release);
    tell_head(ring);
  }

  void tell_head(std::uint32_t ring) {
    board->dirty[ring / 64].fetch_or(1ULL << (ring % 64));
    if (board->head_asleep.exchange(0) == 0) return;
    const std::uint64_t one = 1;
    (void)!write(fds.output_event, &one, sizeof one);
  }

  // The room event fired: rings that may go on. Clears `blocked`.
  std::vector<std::uint32_t> take_room() {
    std::uint64_t count = 0;
    (void)!read(fds.space_event, &count, sizeof count);
    std::vector<std::uint32_t> rings;
    for (std::uint32_t word = 0; word < keeper::kDirtyWords; ++word) {
      for (std::uint64_t bits = board->room[word].exchange(0); bits != 0; bits &= bits - 1) {
        rings.push_back(word * 64 + static_cast<std::uint32_t>(__builtin_ctzll(bits)));
        board->rings[rings.back()].blocked.store(0);
      }
    }
    return rings;
  }

  bool consumed(std::uint32_t ring) const {
    return board->rings[ring].consumed.load() == board->rings[ring].written.load();
  }

  int board_fd = -1;
  drive::OutputFds fds;
  keeper::Board* board = nullptr;

 private:
  static int memory(std::uint64_t size) {
    const int fd = memfd_create("runmain-test", MFD_CLOEXEC);
    if (ftruncate(fd, static_cast<off_t>(size)) != 0) std::abort();
    return fd;
  }
};

inline core::ServiceSpec service(const std::string& name, std::uint32_t workers = 1,
                                 const std::string& file = {}) {
  core::ServiceSpec spec;
  spec.name = name;
  spec.workers = workers;
  spec.log.file = file;
  return spec;
}

// A head: everything that dies with it.
struct Head {
  Head(FakeKeeper& keeper, const drive::Output::Services& services, int stdout_fd = -1)
      : terminal(loop, stdout_fd),
        output(loop, keeper.board, keeper.fds, terminal,
               [this](const std::string& line) { told.push_back(line); }) {
    output.configure(services);
    output.recover();
  }
  // Until nothing more is to be done without waiting.
  void carry() {
    while (output.on_output_event()) {
    }
  }
  // Turns of the loop until `done`, at most `guard`. Returns done().
  template <class Done>
  bool until(Done done, Duration guard = std::chrono::seconds(20)) {
    const Time end = os::Loop::now() + guard;
    while (!done() && os::Loop::now() < end) loop.turn(std::chrono::milliseconds(100));
    return done();
  }

  std::vector<std::string> told;
  os::Loop loop;
  drive::OutputTerminal terminal;
  drive::Output output;
};

}  // namespace runmain::output_test
