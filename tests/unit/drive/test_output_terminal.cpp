// The terminal: prefixes and colours, a reader that is slow, stopped, or gone.
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/socket.h>
#include <termios.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "unit/drive/test_output_world.hpp"

namespace {

using namespace runmain;
using namespace runmain::output_test;

struct Pipe {
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
    reader = os::UniqueFd(ends[0]);
    writer = os::UniqueFd(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
  }
  // What is there now.
  std::string take() {
    std::string all;
    char buffer[65536];
    for (ssize_t n = 1; n > 0;) {
      n = read(reader.get(), buffer, sizeof buffer);
      if (n > 0) all.append(buffer, static_cast<std::size_t>(n));
    }
    return all;
  }
  os::UniqueFd reader;
  os::UniqueFd writer;
};

struct Pty {
  Pty() {
    int master_fd = -1;
    int slave_fd = -1;
    termios raw{};
    cfmakeraw(&raw);
    if (openpty(&master_fd, &slave_fd, nullptr, &raw, nullptr) != 0) std::abort();
    master = os::UniqueFd(master_fd);
    slave = os::UniqueFd(slave_fd);
    fcntl(master_fd, F_SETFD, FD_CLOEXEC);
    fcntl(slave_fd, F_SETFD, FD_CLOEXEC);
    fcntl(master_fd, F_SETFL, O_NONBLOCK);
  }
  std::string take() {
    std::string all;
    char buffer[65536];
    for (ssize_t n = 1; n > 0;) {
      n = read(master.get(), buffer, sizeof buffer);
      if (n > 0) all.append(buffer, static_cast<std::size_t>(n));
    }
    return all;
  }
  os::UniqueFd master;
  os::UniqueFd slave;
};

// An environment variable for the length of a test.
struct EnvGuard {
  EnvGuard(const char* variable, const char* value) : name(variable) {
    const char* old = std::getenv(variable);
    had = old != nullptr;
    if (had) before = old;
    value != nullptr ? setenv(variable, value, 1) : unsetenv(variable);
  }
  ~EnvGuard() { had ? setenv(name, before.c_str(), 1) : unsetenv(name); }
  const char* name;
  bool had = false;
  std::string before;
};

std::string numbered_lines(int from, int to) {
  std::string all;
  for (int i = from; i < to; ++i) all += "line " + std::to_string(i) + "\n";
  return all;
}

TEST_CASE("lines are prefixed with padded names, and a build step is named") {
  Pipe out;
  FakeKeeper keeper;
  keeper.open(0, ChildKey{ServiceId{0}, 1, 1, 1});
  keeper.open(1, ChildKey{ServiceId{1}, 0, 1, 1});
  keeper.open(2, ChildKey{ServiceId{0}, kBuildSlot, 1, 1});
  Head head(keeper, {{ServiceId{0}, service("web", 12)}, {ServiceId{1}, service("db")}}, out.writer.get());
  keeper.put_all(0, "\x1b[31mred\x1b[0m\x1b[2J\n");
  keeper.put_all(1, "10%\r20%\n\n");
  keeper.put_all(2, "built\n");
  head.carry();
  head.terminal.print("runmain: all is ready");
  CHECK(lines_of(out.take()) == std::vector<std::string>{"web.1  | red\\x1b[2J", "db     | 20%", "db     | ",
                                                         "web build | built", "runmain: all is ready"});
}

TEST_CASE("one service with one worker has no prefix, but its build step has") {
  Pipe out;
  FakeKeeper keeper;
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
  keeper.open(1, ChildKey{ServiceId{0}, kBuildSlot, 1, 1});
  Head head(keeper, {{ServiceId{0}, service("web")}}, out.writer.get());
  keeper.put_all(0, "hello\n");
  keeper.put_all(1, "built\n");
  head.carry();
  CHECK(out.take() == "hello\nweb build | built\n");
}

TEST_CASE("a terminal gets colours, those of the child are kept and ended, NO_COLOR takes both away") {
  const EnvGuard term("TERM", "xterm-256color");
  for (const bool no_color : {false, true}) {
    const EnvGuard guard("NO_COLOR", no_color ? "1" : nullptr);
    Pty tty;
    FakeKeeper keeper;
    keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
    Head head(keeper, {{ServiceId{0}, service("web", 2)}}, tty.slave.get());
    keeper.put_all(0, "\x1b[31mred\n");
    head.carry();
    const std::string want = no_color ? "web.0 | red\n" : "web.0 |\x1b[0m \x1b[31mred\x1b[0m\n";
    std::string shown = tty.take();
    CHECK((shown.find("\x1b[38;5;") == 0) == !no_color);
    CHECK(shown.size() >= want.size());
    CHECK(shown.substr(shown.size() - want.size()) == want);
  }
}

TEST_CASE("the flags of the shared description stay as they are") {
  Pipe out;
  Pty tty;
  int pair[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  const os::UniqueFd near(pair[0]);
  const os::UniqueFd far(pair[1]);
  os::Loop loop;
  for (const int fd : {out.writer.get(), tty.slave.get(), near.get()}) {
    const int before = fcntl(fd, F_GETFL);
    drive::OutputTerminal terminal(loop, fd);
    terminal.print("x");
    terminal.show(std::string(drive::kTerminalBufferMax / 2, 'y') + "\n");  // more than any of them takes
    CHECK(terminal.accepted() > terminal.written());
    CHECK(fcntl(fd, F_GETFL) == before);
    CHECK((before & O_NONBLOCK) == 0);
  }
}

TEST_CASE("a pipe whose reader is slow holds the rings, loses nothing, and the log waits for it") {
  TestFolder folder;
  Pipe out;
  FakeKeeper keeper;
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
  Head head(keeper, {{ServiceId{0}, service("web", 2, folder / "web.log")}}, out.writer.get());
  std::string sent;
  std::string waiting = numbered_lines(0, 200'000);
  const std::string all = waiting;
  // Nobody reads: the keeper's ring fills up, and stays so.
  for (std::size_t n = 1; n > 0;) {
    n = keeper.put(0, waiting);
    waiting.erase(0, n);
    head.carry();
  }
  CHECK(waiting.size() > all.size() / 2);
  CHECK(keeper.board->rings[0].blocked == 1);
  CHECK(head.terminal.accepted() - head.terminal.written() <= drive::kTerminalBufferMax);
  std::string shown;
  const bool through = head.until([&] {
    shown += out.take();
    keeper.take_room();
    waiting.erase(0, keeper.put(0, waiting));
    if (waiting.empty()) keeper.end(0);
    return waiting.empty() && keeper.consumed(0);
  });
  REQUIRE(through);
  REQUIRE(head.terminal.flush(std::chrono::seconds(10)));
  shown += out.take();
  std::string want;
  for (const std::string& line : lines_of(all)) want += "web.0 | " + line + "\n";
  CHECK((shown == want));
  std::string logged;
  for (const std::string& line : lines_of(slurp(folder / "web.log"))) logged += text_of(line) + "\n";
  CHECK((logged == all));
}

TEST_CASE("a ring that waits for a pipe goes on although another line has emptied the buffer") {
  Pipe out;
  FakeKeeper keeper;
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
  Head head(keeper, {{ServiceId{0}, service("web", 2)}}, out.writer.get());
  keeper.put_all(0, numbered_lines(0, 5600));  // more than a pipe holds, less than two
  head.carry();
  REQUIRE_FALSE(keeper.consumed(0));
  std::string shown = out.take();
  head.terminal.print("runmain: a line of its own");
  REQUIRE(head.terminal.written() == head.terminal.accepted());
  CHECK(head.until([&] { return keeper.consumed(0); }, std::chrono::seconds(5)));
  shown += out.take();
  CHECK(lines_of(shown).size() == 5601);
}

TEST_CASE("a log that takes nothing does not make the terminal show a line twice") {
  TestFolder folder;
  Pipe out;
  FakeKeeper keeper;
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
  REQUIRE(mkdir((folder / "web.log.1").c_str(), 0700) == 0);
  core::ServiceSpec web = service("web", 2, folder / "web.log");
  web.log.max_size = 1000;
  web.log.keep = 1;
  Head head(keeper, {{ServiceId{0}, web}}, out.writer.get());
  keeper.put_all(0, numbered_lines(0, 100));
  keeper.end(0);
  REQUIRE(head.until([&] { return head.told.size() == 1; }));
  REQUIRE(rmdir((folder / "web.log.1").c_str()) == 0);
  REQUIRE(head.until([&] { return keeper.consumed(0); }));
  std::string want;
  for (const std::string& line : lines_of(numbered_lines(0, 100))) want += "web.0 | " + line + "\n";
  CHECK(out.take() == want);
}

TEST_CASE("a stopped terminal holds nobody, its lines are counted, and it goes on where it can") {
  const EnvGuard no_color("NO_COLOR", "1");
  TestFolder folder;
  Pty tty;
  FakeKeeper keeper;
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
  Head head(keeper, {{ServiceId{0}, service("web", 2, folder / "web.log")}}, tty.slave.get());
  REQUIRE(tcflow(tty.slave.get(), TCOOFF) == 0);  // Ctrl-S
  constexpr int kLines = 300'000;
  std::string waiting = numbered_lines(0, kLines);
  while (!waiting.empty()) {
    waiting.erase(0, keeper.put(0, waiting));
    head.carry();
  }
  CHECK(keeper.consumed(0));
  CHECK(lines_of(whole_log(folder / "web.log", 5)).size() == kLines);
  CHECK(head.terminal.lines_dropped() > kLines / 2);
  const std::uint64_t dropped = head.terminal.lines_dropped();
  REQUIRE(tcflow(tty.slave.get(), TCOON) == 0);
  std::string shown;
  REQUIRE(head.until([&] {
    shown += tty.take();
    return shown.find("not shown\n") != std::string::npos;
  }));
  const auto lines = lines_of(shown);
  CHECK(lines.front() == "web.0 | line 0");
  CHECK(lines.back() == "… " + std::to_string(dropped) + " lines not shown");
  CHECK(lines.size() - 1 + dropped == kLines);
  CHECK(lines[lines.size() - 2] == "web.0 | line " + std::to_string(lines.size() - 2));
  keeper.put_all(0, "after\n");
  head.carry();
  CHECK(tty.take() == "web.0 | after\n");
}

TEST_CASE("a reader that went away ends the terminal and nothing else") {
  TestFolder folder;
  FakeKeeper keeper;
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
  Pipe out;
  Head head(keeper, {{ServiceId{0}, service("web", 2, folder / "web.log")}}, out.writer.get());
  keeper.put_all(0, numbered_lines(0, 12'000));  // more than a pipe takes: the rest is held
  head.carry();
  CHECK_FALSE(keeper.consumed(0));
  out.reader.reset();
  REQUIRE(head.until([&] { return keeper.consumed(0); }));
  CHECK_FALSE(head.terminal.active());
  CHECK(lines_of(slurp(folder / "web.log")).size() == 12'000);
  keeper.put_all(0, "on\n");
  head.carry();
  CHECK(text_of(lines_of(slurp(folder / "web.log")).back()) == "on");
}

TEST_CASE("a ring that waits for a pipe goes on when another line finds out that the reader is gone") {
  FakeKeeper keeper;
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
  Pipe out;
  Head head(keeper, {{ServiceId{0}, service("web", 2)}}, out.writer.get());
  keeper.put_all(0, numbered_lines(0, 12'000));
  head.carry();
  REQUIRE_FALSE(keeper.consumed(0));
  out.reader.reset();
  head.terminal.print("nobody");
  REQUIRE_FALSE(head.terminal.active());
  CHECK(head.until([&] { return keeper.consumed(0); }, std::chrono::seconds(5)));
}

TEST_CASE("a socket as stdout is written to without waiting") {
  int pair[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  const os::UniqueFd near(pair[0]);
  os::UniqueFd far(pair[1]);
  os::Loop loop;
  drive::OutputTerminal terminal(loop, near.get());
  CHECK(terminal.lossless());
  terminal.print("hello");
  char buffer[16] = {};
  CHECK(read(far.get(), buffer, sizeof buffer) == 6);
  far.reset();
  terminal.print("nobody");
  CHECK_FALSE(terminal.active());
}

TEST_CASE("a full disk behind stdout drops lines, counts them, and says so later") {
  os::Loop loop;
  const os::UniqueFd full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  drive::OutputTerminal terminal(loop, full.get());
  terminal.show("a\nb\n");
  terminal.show("c\n");
  CHECK(terminal.active());
  CHECK(terminal.lines_dropped() >= 3);
}

TEST_CASE("without a stdout nothing is shown and nothing is held") {
  FakeKeeper keeper;
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
  Head head(keeper, {{ServiceId{0}, service("web")}});
  head.terminal.print("nobody sees this");
  keeper.put_all(0, numbered_lines(0, 1000));
  head.carry();
  CHECK(keeper.consumed(0));
  CHECK(head.output.recent({ServiceId{0}}, 5000).size() == 1000);
}

TEST_CASE("at the end everything is carried out, unfinished lines too, or it is said that it is not") {
  TestFolder folder;
  Pipe out;
  FakeKeeper keeper;
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
  const std::size_t fds = open_fds();
  {
    Head head(keeper, {{ServiceId{0}, service("web", 2, folder / "web.log")}}, out.writer.get());
    keeper.put_all(0, numbered_lines(0, 12'000) + "unfinished");
    keeper.end(0);
    CHECK_FALSE(head.output.flush(std::chrono::milliseconds(50)));  // nobody reads
    CHECK_FALSE(keeper.consumed(0));
    std::string shown;
    for (int guard = 0; guard < 1000 && !keeper.consumed(0); ++guard) {
      shown += out.take();
      head.output.flush(std::chrono::milliseconds(10));
    }
    CHECK(keeper.consumed(0));
    CHECK(head.output.flush(std::chrono::seconds(5)));
    shown += out.take();
    CHECK(lines_of(shown).back() == "web.0 | unfinished");
    CHECK(lines_of(slurp(folder / "web.log")).size() == 12'001);
    const auto room = keeper.take_room();
    CHECK(std::count(room.begin(), room.end(), 0U) == 1);  // the keeper is told that the ring is free
  }
  CHECK(open_fds() == fds);
}

TEST_CASE("a noisy ring does not keep the others waiting") {
  FakeKeeper keeper;
  Head head(keeper, {{ServiceId{0}, service("noisy", 1, "/dev/null")}, {ServiceId{1}, service("quiet")}});
  keeper.open(0, ChildKey{ServiceId{0}, 0, 1, 1});
  keeper.open(1, ChildKey{ServiceId{1}, 0, 1, 1});
  keeper.open(4095, ChildKey{ServiceId{1}, 1, 1, 1});
  const std::string noise(keeper::kRingBytes / 2, 'n');
  keeper.put_all(1, "near\n");
  keeper.put_all(4095, "far\n");
  int turns = 0;
  for (; turns < 10 && !(keeper.consumed(1) && keeper.consumed(4095)); ++turns) {
    keeper.put(0, noise);
    head.output.on_output_event();
  }
  CHECK(turns <= 3);
}

}  // namespace
