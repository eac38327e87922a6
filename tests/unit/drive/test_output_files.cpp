// Log files: rotation, faults, and what others do to them.
#include <sys/mount.h>
#include <sys/resource.h>

#include <random>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "unit/drive/test_output_world.hpp"

namespace {

using namespace runmain;
using namespace runmain::output_test;

constexpr std::uint32_t kRing = 0;
const ChildKey kKey{ServiceId{0}, 0, 1, 1};

drive::Output::Services logged(const std::string& file, std::uint64_t max_size = 10U << 20U,
                               std::uint32_t keep = 5) {
  core::ServiceSpec spec = service("web", 1, file);
  spec.log.max_size = max_size;
  spec.log.keep = keep;
  return {{ServiceId{0}, spec}};
}

std::vector<std::string> texts(const std::string& log) {
  std::vector<std::string> out;
  for (const std::string& line : lines_of(log)) out.push_back(text_of(line));
  return out;
}

std::string numbered_lines(int from, int to) {
  std::string all;
  for (int i = from; i < to; ++i) all += "line " + std::to_string(i) + "\n";
  return all;
}

std::vector<std::string> numbered(int from, int to) { return lines_of(numbered_lines(from, to)); }

// Lines of one millisecond have no order between services.
void wait_for_next_millisecond() {
  const auto now = [] {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::system_clock::now().time_since_epoch());
  };
  for (const auto start = now(); now() == start;) {
  }
}

TEST_CASE("a line in a log file has time, label and the child's own bytes") {
  TestFolder folder;
  FakeKeeper keeper;
  keeper.open(kRing, ChildKey{ServiceId{0}, 1, 1, 1});
  keeper.open(1, ChildKey{ServiceId{0}, kBuildSlot, 1, 1});
  Head head(keeper, {{ServiceId{0}, service("web", 2, folder / "web.log")}});
  const std::string hostile("\x1b[31m\x00\xff\r\x07", 9);
  keeper.put_all(kRing, hostile + "\nlast");
  keeper.end(kRing);
  keeper.put_all(1, "built\n");
  head.carry();
  const auto lines = lines_of(slurp(folder / "web.log"));
  REQUIRE(lines.size() == 3);
  CHECK(lines[0].size() == drive::kStampSize + std::string(" web.1 | ").size() + hostile.size());
  CHECK(lines[0].substr(drive::kStampSize) == " web.1 | " + hostile);
  CHECK(lines[0][10] == 'T');
  CHECK(lines[1].substr(drive::kStampSize) == " web.1 | last");
  CHECK(lines[2].substr(drive::kStampSize) == " web build | built");
  CHECK(keeper.consumed(kRing));
}

TEST_CASE(
    "a file is rotated before it would grow past its size, and no line is lost, repeated or out of order") {
  const std::uint32_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  TestFolder folder;
  FakeKeeper keeper;
  keeper.open(kRing, kKey);
  constexpr std::uint64_t kMaxSize = 20'000;
  Head head(keeper, logged(folder / "web.log", kMaxSize, 10'000));
  std::vector<std::string> sent;
  for (int i = 0; i < 20'000; ++i) {
    sent.push_back(std::to_string(i) + std::string(random() % 200, 'x'));
    keeper.put_all(kRing, sent.back() + "\n");
    if (random() % 300 == 0 || i % 1000 == 0) head.carry();
  }
  keeper.end(kRing);
  head.carry();
  CHECK(texts(whole_log(folder / "web.log")) == sent);
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    ++files;
    CHECK(entry.file_size() <= kMaxSize);
    if (entry.path() != folder / "web.log") CHECK(entry.file_size() > kMaxSize - 300);
    CHECK(slurp(entry.path()).back() == '\n');
  }
  CHECK(files > 100);
}

TEST_CASE("only so many rotated files are kept, the youngest") {
  for (const std::uint32_t keep : {0U, 1U, 3U}) {
    TestFolder folder;
    FakeKeeper keeper;
    keeper.open(kRing, kKey);
    Head head(keeper, logged(folder / "web.log", 1000, keep));
    keeper.put_all(kRing, numbered_lines(0, 1000));
    head.carry();
    const auto kept = texts(whole_log(folder / "web.log"));
    const auto all = numbered(0, 1000);
    REQUIRE(kept.size() < all.size());
    CHECK(kept == std::vector<std::string>(all.end() - static_cast<long>(kept.size()), all.end()));
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
      files += entry.exists() ? 1 : 0;
    CHECK(files == keep + 1);
  }
}

TEST_CASE("a line that is longer than the size of a file has a file of its own") {
  TestFolder folder;
  FakeKeeper keeper;
  keeper.open(kRing, kKey);
  Head head(keeper, logged(folder / "web.log", 500, 9));
  keeper.put_all(kRing, "a\n" + std::string(2000, 'b') + "\nc\n");
  head.carry();
  CHECK(texts(slurp(folder / "web.log.2")) == std::vector<std::string>{"a"});
  CHECK(texts(slurp(folder / "web.log.1")) == std::vector<std::string>{std::string(2000, 'b')});
  CHECK(texts(slurp(folder / "web.log")) == std::vector<std::string>{"c"});
}

TEST_CASE("a cascade that was interrupted anywhere is finished without loss") {
  // The first `done` renames of a cascade over web.log, .1, .2, .3, .4 have happened.
  for (int done = 0; done <= 5; ++done) {
    TestFolder folder;
    const std::string path = folder / "web.log";
    for (int n = 4; n >= 0; --n) {
      const int now = n >= 5 - done ? n + 1 : n;
      std::ofstream(now == 0 ? path : path + "." + std::to_string(now))
          << "2026-11-21T10:00:00.000Z web | old " << n << "\n";
    }
    FakeKeeper keeper;
    keeper.open(kRing, kKey);
    Head head(keeper, logged(path, 45, 5));
    keeper.put_all(kRing, "new\n");
    head.carry();
    INFO("renames done: " << done);
    CHECK(texts(whole_log(path)) ==
          std::vector<std::string>{"old 4", "old 3", "old 2", "old 1", "old 0", "new"});
  }
}

TEST_CASE("a file that was deleted, moved or truncated from outside is noticed") {
  TestFolder folder;
  FakeKeeper keeper;
  keeper.open(kRing, kKey);
  const std::string path = folder / "web.log";
  drive::OutputFile file(path);
  file.configure(1U << 20U, 5);
  Time now{};
  const auto write = [&](const char* text) {
    now += drive::kLogCheckInterval;
    REQUIRE(file.prepare(now));
    REQUIRE(file.append(text));
  };
  write("one\n");
  REQUIRE(unlink(path.c_str()) == 0);
  write("two\n");
  CHECK(slurp(path) == "two\n");
  REQUIRE(rename(path.c_str(), (folder / "moved").c_str()) == 0);
  write("three\n");
  CHECK(slurp(path) == "three\n");
  CHECK(slurp(folder / "moved") == "two\n");
  REQUIRE(truncate(path.c_str(), 0) == 0);
  write("four\n");
  CHECK(slurp(path) == "four\n");
  CHECK(file.place().offset == 5);
}

TEST_CASE("a deleted file is noticed at once, not only when its path is looked at") {
  TestFolder folder;
  const std::string path = folder / "web.log";
  drive::OutputFile file(path);
  file.configure(1U << 20U, 5);
  REQUIRE(file.prepare(Time{}));
  REQUIRE(unlink(path.c_str()) == 0);
  REQUIRE(file.prepare(Time{}));
  REQUIRE(file.append("here\n"));
  CHECK(slurp(path) == "here\n");
}

TEST_CASE("what cannot be a log file is refused") {
  TestFolder folder;
  REQUIRE(mkfifo((folder / "fifo").c_str(), 0600) == 0);
  const int reader = open((folder / "fifo").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  CHECK_FALSE(drive::OutputFile(folder / "fifo").prepare(Time{}));
  close(reader);
  CHECK_FALSE(drive::OutputFile(folder / "fifo").prepare(Time{}));
  CHECK_FALSE(drive::OutputFile(folder.path()).prepare(Time{}));
  CHECK_FALSE(drive::OutputFile(folder / "none/web.log").prepare(Time{}));
}

TEST_CASE("a disk without room holds the output of its service only, tells it once, and loses nothing") {
  TestFolder folder;
  FakeKeeper keeper;
  keeper.open(0, kKey);
  keeper.open(1, ChildKey{ServiceId{1}, 0, 1, 1});
  const std::string path = folder / "web.log";
  Head head(keeper,
            {{ServiceId{0}, service("web", 1, path)}, {ServiceId{1}, service("db", 1, folder / "db.log")}});
  keeper.put_all(0, numbered_lines(0, 10));
  head.carry();

  keeper.put_all(0, numbered_lines(10, 510));
  keeper.put_all(1, "db goes on\n");
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto size_now = std::filesystem::file_size(path);
  const rlimit tight{size_now + 100, before.rlim_max};  // a write goes in part, the next says EFBIG
  REQUIRE(setrlimit(RLIMIT_FSIZE, &tight) == 0);
  head.carry();
  const bool held = head.told.size() == 1;
  const auto size_held = std::filesystem::file_size(path);
  const std::string db = slurp(folder / "db.log");
  REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);

  CHECK(held);
  CHECK(size_held == size_now);
  CHECK_FALSE(keeper.consumed(0));
  CHECK(texts(db) == std::vector<std::string>{"db goes on"});
  REQUIRE(head.until([&] { return keeper.consumed(0); }));
  CHECK(texts(slurp(path)) == numbered(0, 510));
  REQUIRE(head.told.size() == 2);
  CHECK(head.told[0].find("holding the output of web") != std::string::npos);
  CHECK(head.told[1].find("written again") != std::string::npos);
}

TEST_CASE("a full file system is held and gone on with") {
  TestFolder folder;
  const std::string mounted = folder / "disk";
  REQUIRE(mkdir(mounted.c_str(), 0700) == 0);
  if (mount("tmpfs", mounted.c_str(), "tmpfs", 0, "size=128k") != 0) {
    WARN("no right to mount: ENOSPC is left to the test with RLIMIT_FSIZE");
    return;
  }
  bool held = false;
  bool gone_on = false;
  std::vector<std::string> kept;
  {
    FakeKeeper keeper;
    keeper.open(kRing, kKey);
    std::ofstream(mounted + "/ballast") << std::string(100'000, 'b');
    Head head(keeper, logged(mounted + "/web.log"));
    keeper.put_all(kRing, numbered_lines(0, 3000));
    held = head.until([&] { return !head.told.empty(); }) && !keeper.consumed(kRing) &&
           head.told[0].find("No space left") != std::string::npos;
    unlink((mounted + "/ballast").c_str());
    keeper.put_all(kRing, "more\n");
    gone_on = head.until([&] { return keeper.consumed(kRing); });
    kept = texts(slurp(mounted + "/web.log"));
  }
  umount2(mounted.c_str(), MNT_DETACH);
  auto want = numbered(0, 3000);
  want.push_back("more");
  CHECK(held);
  CHECK(gone_on);
  CHECK(kept == want);
}

TEST_CASE("a removed folder is told and written to again when it is back") {
  TestFolder folder;
  FakeKeeper keeper;
  keeper.open(kRing, kKey);
  REQUIRE(mkdir((folder / "logs").c_str(), 0700) == 0);
  Head head(keeper, logged(folder / "logs/web.log"));
  keeper.put_all(kRing, "one\n");
  head.carry();
  std::filesystem::remove_all(folder / "logs");
  keeper.put_all(kRing, "two\n");
  REQUIRE(head.until([&] { return head.told.size() == 1; }));
  CHECK(head.told[0].find("No such file") != std::string::npos);
  CHECK_FALSE(keeper.consumed(kRing));
  REQUIRE(mkdir((folder / "logs").c_str(), 0700) == 0);
  REQUIRE(head.until([&] { return keeper.consumed(kRing); }));
  CHECK(texts(slurp(folder / "logs/web.log")) == std::vector<std::string>{"two"});
  CHECK(head.told.size() == 2);
}

TEST_CASE("a rotation that cannot be done holds the output and loses nothing") {
  TestFolder folder;
  FakeKeeper keeper;
  keeper.open(kRing, kKey);
  const std::string path = folder / "web.log";
  REQUIRE(mkdir((path + ".1").c_str(), 0700) == 0);
  Head head(keeper, logged(path, 1000, 1));
  keeper.put_all(kRing, numbered_lines(0, 100));
  REQUIRE(head.until([&] { return head.told.size() == 1; }));
  CHECK(std::filesystem::file_size(path) <= 1000);
  REQUIRE(rmdir((path + ".1").c_str()) == 0);
  REQUIRE(head.until([&] { return keeper.consumed(kRing); }));
  CHECK(texts(slurp(path)).back() == "line 99");
}

TEST_CASE("two services may share a log file") {
  TestFolder folder;
  FakeKeeper keeper;
  const std::string path = folder / "both.log";
  keeper.open(0, kKey);
  keeper.open(1, ChildKey{ServiceId{1}, 0, 1, 1});
  Head head(keeper, {{ServiceId{0}, service("web", 1, path)}, {ServiceId{1}, service("db", 1, path)}});
  keeper.put_all(0, "from web\n");
  keeper.put_all(1, "from db\n");
  head.carry();
  CHECK(texts(slurp(path)) == std::vector<std::string>{"from web", "from db"});
  const auto only_db = head.output.recent({ServiceId{1}}, 10);
  REQUIRE(only_db.size() == 1);
  CHECK(only_db[0].text == "from db");
}

TEST_CASE("the last lines are found across rotated files and several services, in the order of time") {
  TestFolder folder;
  FakeKeeper keeper;
  keeper.open(0, kKey);
  keeper.open(1, ChildKey{ServiceId{1}, 0, 7, 1});
  core::ServiceSpec web = service("web", 1, folder / "web.log");
  web.log.max_size = 2000;
  Head head(keeper, {{ServiceId{0}, web}, {ServiceId{1}, service("db")}});
  keeper.put_all(1, "too old\n");
  head.carry();
  wait_for_next_millisecond();
  keeper.put_all(0, numbered_lines(0, 100));
  head.carry();
  wait_for_next_millisecond();
  keeper.put_all(1, "in memory\n");
  head.carry();
  const auto recent = head.output.recent({ServiceId{1}, ServiceId{0}}, 101);
  REQUIRE(recent.size() == 101);
  CHECK(recent.front().text == "line 0");
  CHECK(recent[99].text == "line 99");
  CHECK(recent.back().text == "in memory");
  CHECK(recent.back().service == ServiceId{1});
  CHECK(recent.back().service_name == "db");
  CHECK(recent.back().generation == 7);
  CHECK(head.output.recent({ServiceId{0}}, 3).front().text == "line 97");
}

TEST_CASE("the history keeps the latest whole lines of a region and survives the head") {
  FakeKeeper keeper;
  keeper.open(kRing, kKey);
  std::vector<std::string> sent;
  {
    Head head(keeper, {{ServiceId{0}, service("web")}});
    for (int i = 0; i < 20'000; ++i) {
      sent.push_back("line " + std::to_string(i));
      keeper.put_all(kRing, sent.back() + "\n");
      if (i % 97 == 0) head.carry();
    }
    head.carry();
  }
  drive::OutputHistory history(keeper.fds.history);
  const std::string text = history.lines(ServiceId{0});
  CHECK(text.size() <= drive::kHistoryRoom);
  CHECK(text.size() > drive::kHistoryRoom - 100);
  const auto kept = texts(text);
  CHECK(kept == std::vector<std::string>(sent.end() - static_cast<long>(kept.size()), sent.end()));
  CHECK(history.lines(ServiceId{1}).empty());
  history.append(ServiceId{1}, std::string(3 * drive::kHistoryRoom, 'x') + "\nlast\n");
  CHECK(history.lines(ServiceId{1}) == "last\n");
}

TEST_CASE("what was taken out of the history is gone, what was before stays") {
  FakeKeeper keeper;
  drive::OutputHistory history(keeper.fds.history);
  history.append(ServiceId{3}, "one\n");
  const auto end = history.end(ServiceId{3});
  history.append(ServiceId{3}, std::string(drive::kHistoryRoom - 2, 'x') + "\n");
  history.cut(ServiceId{3}, end);
  CHECK(history.lines(ServiceId{3}).empty());  // overwritten, and said so
  history.append(ServiceId{3}, "two\n");
  history.append(ServiceId{3}, "three\n");
  CHECK(drive::OutputHistory(keeper.fds.history).lines(ServiceId{3}) == history.lines(ServiceId{3}));
  CHECK(lines_of(history.lines(ServiceId{3})).back() == "three");
}

TEST_CASE("a service that is gone keeps its name and log until its last ring is read") {
  TestFolder folder;
  FakeKeeper keeper;
  keeper.open(kRing, kKey);
  Head head(keeper, logged(folder / "web.log"));
  head.output.configure({{ServiceId{1}, service("db")}});
  keeper.put_all(kRing, "still here\n");
  head.carry();
  CHECK(texts(slurp(folder / "web.log")) == std::vector<std::string>{"still here"});
  keeper.board->rings[kRing].used = 0;
  head.output.configure({{ServiceId{1}, service("db")}});
  CHECK(head.output.recent({ServiceId{0}}, 5).empty());
}

}  // namespace
