// Heads that die at any instruction, and the two of them that share the board.
#include <poll.h>
#include <sys/wait.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "unit/drive/test_output_world.hpp"

namespace {

using namespace runmain;
using namespace runmain::output_test;

constexpr int kRingsUsed = 3;

drive::Output::Services services(const std::string& folder) {
  core::ServiceSpec web = service("web", 2, folder + "/web.log");
  web.log.max_size = 300'000;
  web.log.keep = 10'000;
  core::ServiceSpec db = service("db");
  return {{ServiceId{0}, web}, {ServiceId{1}, db}};
}

// The head's process: never returns.
[[noreturn]] void run_head(FakeKeeper& keeper, const std::string& folder) {
  Head head(keeper, services(folder));
  head.loop.run();
  _exit(0);
}

// The children: numbered lines of many lengths, some split, from a seed, each stream for ever.
struct Stream {
  std::uint32_t ring;
  std::mt19937 random;
  std::vector<std::string> sent;
  std::string waiting;  // bytes of whole lines not yet in the ring

  void fill() {
    while (waiting.size() < 32'000) {
      const std::size_t length = random() % 400 == 0 ? random() % 40'000 : random() % 150;
      sent.push_back(std::to_string(ring) + ":" + std::to_string(sent.size()) + ":" +
                     std::string(length, 'x'));
      waiting += sent.back() + "\n";
    }
  }
};

// Puts split lines together again and sorts them by stream.
std::vector<std::vector<std::string>> streams_of(const std::string& log, std::size_t& torn) {
  std::vector<std::vector<std::string>> streams(kRingsUsed);
  std::vector<std::string*> open(kRingsUsed, nullptr);
  for (const std::string& line : lines_of(log)) {
    const bool more = line.find(" + ") < line.find(" | ");
    const std::string text = text_of(line);
    const std::size_t worker =
        line.size() > 29 && line[28] == '.' ? static_cast<std::size_t>(line[29] - '0') : 9;
    if (worker >= kRingsUsed || (!more && (text.empty() || text[0] != static_cast<char>('0' + worker)))) {
      ++torn;
      continue;
    }
    if (more && open[worker] != nullptr) {
      *open[worker] += text;
    } else {
      streams[worker].push_back(text);
      open[worker] = &streams[worker].back();
    }
  }
  return streams;
}

TEST_CASE("a head that is killed at 300 random moments loses, repeats and tears no line of a log file") {
  const std::uint32_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  TestFolder folder;
  FakeKeeper keeper;
  std::vector<Stream> streams;
  for (std::uint32_t ring = 0; ring < kRingsUsed; ++ring) {
    // Two workers with a file, one service with history.
    const ServiceId id{ring < 2 ? 0U : 1U};
    keeper.open(ring, ChildKey{id, ring < 2 ? ring : 0, 1, 1});
    streams.push_back(Stream{ring, std::mt19937(seed + ring), {}, {}});
  }
  const auto feed = [&] {
    bool moved = false;
    for (Stream& s : streams) {
      s.fill();
      const std::size_t n =
          keeper.put(s.ring, std::string_view(s.waiting).substr(0, 1 + s.random() % 32'000));
      s.waiting.erase(0, n);
      moved = moved || n > 0;
    }
    if (!moved) {
      pollfd p{keeper.fds.space_event, POLLIN, 0};
      poll(&p, 1, 1);
      keeper.take_room();
    }
  };
  for (int kills = 0; kills < 300; ++kills) {
    const pid_t head = fork();
    if (head == 0) run_head(keeper, folder.path());
    const Time until = os::Loop::now() + std::chrono::microseconds(random() % 8000);
    while (os::Loop::now() < until) feed();
    kill(head, SIGKILL);
    REQUIRE(waitpid(head, nullptr, 0) == head);
  }
  for (Stream& s : streams) s.waiting.resize(s.waiting.rfind('\n', s.waiting.size()) + 1);
  Head last(keeper, services(folder.path()));
  for (Stream& s : streams) {
    while (!s.waiting.empty()) {
      s.waiting.erase(0, keeper.put(s.ring, s.waiting));
      last.carry();
    }
    keeper.end(s.ring);
  }
  last.carry();
  std::size_t torn = 0;
  const auto got = streams_of(whole_log(folder / "web.log"), torn);
  CHECK(torn == 0);
  CHECK(streams[0].sent.size() + streams[1].sent.size() > 10'000);
  for (std::size_t i = 0; i < 2; ++i) {
    INFO("worker " << i << ": " << got[i].size() << " of " << streams[i].sent.size() << " lines");
    CHECK((got[i] == streams[i].sent));
  }
  // The history holds the last ones, each once.
  const auto kept = last.output.recent({ServiceId{1}}, 100'000);
  std::vector<std::string> joined;
  for (const auto& line : kept) {
    if (line.continues && !joined.empty()) joined.back() += line.text;
    if (!line.continues) joined.push_back(line.text);
  }
  REQUIRE(joined.size() > 10);
  CHECK((joined == std::vector<std::string>(streams[2].sent.end() - static_cast<long>(joined.size()),
                                            streams[2].sent.end())));
}

struct DeathRow {
  const char* what;
  bool written;  // the batch is in the file
  bool in_line_set;
  bool consumed;
};

TEST_CASE("a new head mends each state that a dead one can leave") {
  for (const DeathRow& row : std::vector<DeathRow>{{"before the write", false, false, false},
                                                   {"after the write", true, false, false},
                                                   {"with the new in_line", true, true, false},
                                                   {"before the record's end", true, true, true}}) {
    INFO(row.what);
    TestFolder folder;
    FakeKeeper keeper;
    const std::string path = folder / "web.log";
    const ChildKey key{ServiceId{0}, 0, 1, 1};
    keeper.open(0, key);
    std::ofstream(path) << "2026-11-21T10:00:00.000Z web | before\n";
    const std::string stream = std::string(drive::kOutputLineMax, 'x') + "yz\n";
    keeper.put_all(0, stream);
    {
      drive::OutputFile file(path);
      file.configure(1U << 20U, 5);
      REQUIRE(file.prepare(Time{}));
      drive::OutputReader reader(keeper.board, keeper.fds.rings);
      drive::OutputRecord record(keeper.board);
      record.begin(*reader.look(0), file.place());
      if (row.written) {
        REQUIRE(
            file.append("2026-11-21T10:00:00.001Z web | " + std::string(drive::kOutputLineMax, 'x') + "\n"));
      }
      if (row.in_line_set) keeper.board->rings[0].in_line = 1;
      if (row.consumed) keeper.board->rings[0].consumed = drive::kOutputLineMax;
    }
    Head head(keeper, {{ServiceId{0}, service("web", 1, path)}});
    const auto lines = lines_of(slurp(path));
    REQUIRE(lines.size() == 3);
    CHECK(text_of(lines[0]) == "before");
    CHECK(lines[1].substr(drive::kStampSize, 7) == " web | ");
    CHECK(lines[2].substr(drive::kStampSize) == " web + yz");
    CHECK(keeper.board->record.valid == 0);
  }
}

TEST_CASE("a record of a ring that belongs to another child by now takes nothing out") {
  TestFolder folder;
  FakeKeeper keeper;
  const std::string path = folder / "web.log";
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
  keeper.put_all(0, "old\n");
  drive::OutputFile file(path);
  file.configure(1U << 20U, 5);
  REQUIRE(file.prepare(Time{}));
  drive::OutputReader reader(keeper.board, keeper.fds.rings);
  drive::OutputRecord record(keeper.board);
  record.begin(*reader.look(0), file.place());
  REQUIRE(file.append("2026-11-21T10:00:00.000Z web | old\n"));
  // The dead head had consumed; the keeper gave the ring away, and it stands at 0 again as the record does.
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 2});
  keeper.put_all(0, "new\n");
  Head head(keeper, {{ServiceId{0}, service("web", 1, path)}});
  const auto lines = lines_of(slurp(path));
  REQUIRE(lines.size() == 2);
  CHECK(text_of(lines[0]) == "old");
  CHECK(text_of(lines[1]) == "new");
}

TEST_CASE("recovery never makes a file longer that somebody has truncated") {
  TestFolder folder;
  FakeKeeper keeper;
  const std::string path = folder / "web.log";
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
  keeper.put_all(0, "text\n");
  std::ofstream(path) << "some bytes that were there\n";
  drive::OutputFile file(path);
  file.configure(1U << 20U, 5);
  REQUIRE(file.prepare(Time{}));
  drive::OutputReader reader(keeper.board, keeper.fds.rings);
  drive::OutputRecord(keeper.board).begin(*reader.look(0), file.place());
  REQUIRE(truncate(path.c_str(), 0) == 0);
  Head head(keeper, {{ServiceId{0}, service("web", 1, path)}});
  const auto lines = lines_of(slurp(path));
  REQUIRE(lines.size() == 1);
  CHECK(text_of(lines[0]) == "text");
}

// Two threads, as keeper and head are two processes: neither may sleep while the other waits for it.
TEST_CASE("no wake-up is lost between a head that falls asleep and a keeper that waits for room") {
  FakeKeeper keeper;
  constexpr std::uint32_t kStreams = 4;
  constexpr int kLines = 300'000;
  for (std::uint32_t ring = 0; ring < kStreams; ++ring)
    keeper.open(ring * 100, ChildKey{ServiceId{0}, ring, 1, 1});
  Head head(keeper, {{ServiceId{0}, service("web", kStreams, "/dev/null")}});
  std::vector<int> lines(kStreams, 0);
  head.output.follow([&](const drive::OutputLine& line) { ++lines[line.slot]; });
  bool stuck = false;
  std::thread writer([&] {
    std::mt19937 random(1);
    std::vector<int> sent(kStreams, 0);
    std::vector<std::string> waiting(kStreams);
    std::uint32_t left = kStreams;
    while (left > 0 && !stuck) {
      bool moved = false;
      for (std::uint32_t s = 0; s < kStreams; ++s) {
        if (sent[s] < 0) continue;
        if (waiting[s].empty() && sent[s] < kLines) {
          const std::size_t burst = random() % 50 == 0 ? 4000 : 1;
          for (std::size_t i = 0; i < burst && sent[s] < kLines; ++i, ++sent[s])
            waiting[s] += "0123456789012345678\n";
        }
        const std::size_t n = keeper.put(s * 100, waiting[s]);
        waiting[s].erase(0, n);
        moved = moved || n > 0;
        if (waiting[s].empty() && sent[s] == kLines) {
          keeper.end(s * 100);
          sent[s] = -1;
          --left;
        }
      }
      if (!moved && left > 0) {
        pollfd p{keeper.fds.space_event, POLLIN, 0};
        stuck = poll(&p, 1, 20'000) == 0;
        keeper.take_room();
      }
    }
  });
  const bool all = head.until([&] { return std::count(lines.begin(), lines.end(), kLines) == kStreams; });
  writer.join();
  CHECK_FALSE(stuck);
  CHECK(all);
}

// One line at a time: nothing that comes later would make up for a lost wake-up.
TEST_CASE("a line that comes while the head falls asleep is carried without another one") {
  FakeKeeper keeper;
  constexpr int kLines = 100'000;
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
  std::string lines;
  while (lines.size() < keeper::kRingBytes) lines += "x\n";
  REQUIRE(pwrite(keeper.fds.rings, lines.data(), lines.size(), 0) == static_cast<ssize_t>(lines.size()));
  Head head(keeper, {{ServiceId{0}, service("web", 1, "/dev/null")}});
  const std::uint32_t seed = std::random_device{}();
  INFO("seed " << seed);
  int carried = 0;
  std::atomic<bool> over{false};
  std::thread writer([&] {
    std::mt19937 random(seed);
    for (int i = 0; i < kLines && carried == i; ++i) {
      keeper.advance(0, 2);
      const Time guard = os::Loop::now() + std::chrono::seconds(10);
      for (int spin = 0; !keeper.consumed(0) && os::Loop::now() < guard; ++spin) {
        if (spin > 1000) std::this_thread::yield();
      }
      carried += keeper.consumed(0) ? 1 : 0;
      for (auto spins = random() % 1000; spins > 0; --spins)
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    over = true;
    keeper.tell_head(0);
  });
  head.until([&] { return over.load(); }, std::chrono::minutes(2));
  writer.join();
  CHECK(carried == kLines);
}

}  // namespace
