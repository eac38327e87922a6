// Output of children on ptys: one that has our terminal for itself, and prompts among lines.
#include <pty.h>
#include <termios.h>

#include "support/catch.hpp"
#include "test_output_world.hpp"

using namespace runmain;
using namespace runmain::output_test;

namespace {

struct Screen {
  Screen() {
    int ends[2];
    if (openpty(&ends[0], &ends[1], nullptr, nullptr, nullptr) != 0) std::abort();
    master.reset(ends[0]);
    slave.reset(ends[1]);
    termios modes{};
    tcgetattr(slave.get(), &modes);
    cfmakeraw(&modes);
    tcsetattr(slave.get(), TCSANOW, &modes);
    fcntl(master.get(), F_SETFL, O_NONBLOCK);
    setenv("NO_COLOR", "1", 1);
  }
  ~Screen() { unsetenv("NO_COLOR"); }
  std::string take() {
    std::string all;
    char buffer[4096];
    for (ssize_t n = 0; (n = read(master.get(), buffer, sizeof buffer)) > 0;)
      all.append(buffer, static_cast<std::size_t>(n));
    return all;
  }
  os::UniqueFd master;
  os::UniqueFd slave;
};

core::ServiceSpec on_pty(const std::string& name, const std::string& file = {}) {
  core::ServiceSpec spec = service(name, 1, file);
  spec.pty = true;
  return spec;
}

void open_pty_ring(FakeKeeper& keeper, std::uint32_t ring, std::uint32_t service_id = 0) {
  keeper.open(ring, ChildKey{ServiceId{service_id}, 0, 1, 1});
  keeper.board->rings[ring].pty = 1;
}

}  // namespace

TEST_CASE("the only child on a pty has the terminal: every byte at once, and whole lines in the log") {
  TestFolder folder;
  Screen screen;
  FakeKeeper keeper;
  open_pty_ring(keeper, 0);
  Head head(keeper, {{ServiceId{0}, on_pty("web", folder / "web.log")}}, screen.slave.get());
  keeper.put_all(0, "\x1b[2Jone\r\ntwo");
  head.carry();
  CHECK(screen.take() == "\x1b[2Jone\r\ntwo");
  CHECK(lines_of(slurp(folder / "web.log")).size() == 1);
  keeper.put_all(0, "? yes\r\n");
  head.carry();
  CHECK(screen.take() == "? yes\r\n");
  const auto lines = lines_of(slurp(folder / "web.log"));
  REQUIRE(lines.size() == 2);
  CHECK(text_of(lines[0]) == "\x1b[2Jone");
  CHECK(text_of(lines[1]) == "two? yes");
}

TEST_CASE("the next child in a ring is shown from its first byte, whatever was shown of the last one") {
  Screen screen;
  FakeKeeper keeper;
  open_pty_ring(keeper, 0);
  Head head(keeper, {{ServiceId{0}, on_pty("web")}}, screen.slave.get());
  keeper.put_all(0, "generation 1\r\n");
  head.carry();
  keeper.end(0);
  head.carry();
  keeper.open(0, ChildKey{ServiceId{0}, 0, 2, 1});
  keeper.put_all(0, "generation 2\r\n");
  head.carry();
  CHECK(screen.take() == "generation 1\r\ngeneration 2\r\n");
}

TEST_CASE("a line of runmain's own begins on a line of its own, with the newline that a raw terminal needs") {
  Screen screen;
  FakeKeeper keeper;
  open_pty_ring(keeper, 0);
  Head head(keeper, {{ServiceId{0}, on_pty("web")}}, screen.slave.get());
  head.terminal.set_raw(true);
  keeper.put_all(0, "name? ");
  head.carry();
  head.terminal.print("runmain | ready");
  head.terminal.print("runmain | steady");
  CHECK(screen.take() == "name? \r\nrunmain | ready\r\nrunmain | steady\r\n");
}

TEST_CASE("a stopped terminal holds the ring of the child that has it, and no byte is lost") {
  Screen screen;
  FakeKeeper keeper;
  open_pty_ring(keeper, 0);
  Head head(keeper, {{ServiceId{0}, on_pty("web")}}, screen.slave.get());
  REQUIRE(tcflow(screen.slave.get(), TCOOFF) == 0);
  std::string all;
  for (int n = 0; n < 200'000; ++n) all += "line " + std::to_string(n) + "\r\n";
  std::string waiting = all;
  for (std::size_t n = 1; n > 0;) {
    n = keeper.put(0, waiting);
    waiting.erase(0, n);
    head.carry();
  }
  CHECK_FALSE(waiting.empty());
  REQUIRE(tcflow(screen.slave.get(), TCOON) == 0);
  std::string shown;
  CHECK(head.until([&] {
    shown += screen.take();
    keeper.take_room();
    waiting.erase(0, keeper.put(0, waiting));
    return shown.size() == all.size();
  }));
  CHECK((shown == all));
  CHECK(head.terminal.lines_dropped() == 0);
}

TEST_CASE(
    "among several a prompt is shown when it is quiet, goes on as it is answered, and ends as its line") {
  TestFolder folder;
  Screen screen;
  FakeKeeper keeper;
  open_pty_ring(keeper, 0);
  Head head(keeper, {{ServiceId{0}, on_pty("web", folder / "web.log")}, {ServiceId{1}, service("db")}},
            screen.slave.get());
  std::vector<ChildKey> quiet;
  head.output.on_quiet([&](const std::vector<ChildKey>& keys) { quiet = keys; });
  keeper.put_all(0, "name? ");
  head.carry();
  CHECK(screen.take() == "");
  REQUIRE(head.until([&] { return !quiet.empty(); }));
  CHECK(screen.take() == "web | name? ");
  CHECK(quiet == std::vector<ChildKey>{ChildKey{ServiceId{0}, 0, 1, 1}});
  keeper.put_all(0, "bx\b \bo");
  head.carry();
  CHECK(screen.take() == "bx\b \bo");
  keeper.put_all(0, "b\r\nhello\r\n");
  head.carry();
  CHECK(screen.take() == "b\nweb | hello\n");
  CHECK(text_of(lines_of(slurp(folder / "web.log")).back()) == "hello");
}

TEST_CASE("a prompt that another line has interrupted is shown whole when it is complete") {
  Screen screen;
  FakeKeeper keeper;
  open_pty_ring(keeper, 0);
  keeper.open(1, ChildKey{ServiceId{1}, 0, 1, 1});
  Head head(keeper, {{ServiceId{0}, on_pty("web")}, {ServiceId{1}, service("db")}}, screen.slave.get());
  keeper.put_all(0, "name? ");
  std::string shown;
  REQUIRE(head.until([&] { return !(shown += screen.take()).empty(); }));
  keeper.put_all(1, "on\n");
  head.carry();
  CHECK(screen.take() == "\ndb  | on\n");
  keeper.put_all(0, "bob\r\n");
  head.carry();
  CHECK(screen.take() == "web | name? bob\n");
}

TEST_CASE("a pty that passes to a pipe, or whose terminal is gone, gives lines") {
  FakeKeeper keeper;
  open_pty_ring(keeper, 0);
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  const os::UniqueFd in(ends[0]);
  const os::UniqueFd out(ends[1]);
  Head head(keeper, {{ServiceId{0}, on_pty("web")}}, out.get());
  keeper.put_all(0, "one\r\ntwo");
  keeper.end(0);
  head.carry();
  char buffer[64];
  const ssize_t n = read(in.get(), buffer, sizeof buffer);
  REQUIRE(n > 0);
  CHECK(std::string(buffer, static_cast<std::size_t>(n)) == "one\ntwo\n");
}
