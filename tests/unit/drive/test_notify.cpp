#include <string>
#include <vector>

#include "drive/notify.hpp"
#include "support/catch.hpp"

using namespace runmain;
using namespace runmain::drive;

namespace {

const ChildKey kKey{ServiceId{1}, 0, 2, 3};
constexpr std::int32_t kOwn = 4711;

keeper::Notified message(std::string text, bool of_tree = true) {
  keeper::Notified m;
  m.key = kKey;
  m.sender = kOwn;
  m.of_tree = of_tree;
  m.text = std::move(text);
  return m;
}

NotifyOutcome parse(std::string text, bool of_tree = true) {
  return parse_notify(message(std::move(text), of_tree), [](std::int32_t pid) { return pid == kOwn; });
}

// The Events as words, so that a row of a table can name them.
std::string words(const NotifyOutcome& outcome) {
  std::string out;
  for (const core::Event& event : outcome.events) {
    out += out.empty() ? "" : " ";
    out += core::type_name(event);
    if (const auto* e = std::get_if<core::Extend>(&event)) out += "=" + std::to_string(e->usec);
    if (const auto* e = std::get_if<core::Watchdog>(&event)) {
      out += "=" + (e->trigger ? std::string("trigger") : std::to_string(e->usec));
    }
    if (const auto* e = std::get_if<core::MainPid>(&event)) out += "=" + std::to_string(e->pid);
    if (const auto* e = std::get_if<core::StatusText>(&event)) out += "=" + e->text;
    std::visit(
        [](const auto& e) {
          if constexpr (requires { e.key; }) CHECK(e.key == kKey);
        },
        event);
  }
  return out;
}

}  // namespace

TEST_CASE("each assignment of sd_notify becomes its event, and nonsense becomes none") {
  const std::string far = std::to_string(kNotifyUsecMax);
  const struct {
    const char* text;
    std::string events;
    std::uint32_t malformed;
    std::uint32_t unknown;
  } rows[] = {
      {"READY=1", "child.ready", 0, 0},
      {"READY=1\n", "child.ready", 0, 0},
      {"\n\nREADY=1\n\n", "child.ready", 0, 0},
      {"READY=0", "", 1, 0},
      {"READY=", "", 1, 0},
      {"READY", "", 1, 0},
      {"READY=1\r\n", "", 1, 0},
      {"ready=1", "", 0, 1},
      {" READY=1", "", 0, 1},
      {"STOPPING=1", "child.stopping", 0, 0},
      {"RELOADING=1\nMONOTONIC_USEC=12", "child.reloading", 0, 1},
      {"READY=1\nRELOADING=1", "child.reloading child.ready", 0, 0},
      {"STATUS=up = 1", "child.status=up = 1", 0, 0},
      {"STATUS=", "child.status=", 0, 0},
      {"WATCHDOG=1", "child.watchdog=0", 0, 0},
      {"WATCHDOG=trigger", "child.watchdog=trigger", 0, 0},
      {"WATCHDOG=no", "", 1, 0},
      {"WATCHDOG_USEC=2000000", "child.watchdog=2000000", 0, 0},
      {"WATCHDOG_USEC=0", "child.watchdog=" + far, 0, 0},
      {"WATCHDOG_USEC=18446744073709551615", "child.watchdog=" + far, 0, 0},
      {"WATCHDOG_USEC=99999999999999999999999999", "child.watchdog=" + far, 0, 0},
      {"WATCHDOG_USEC=-1", "", 1, 0},
      {"WATCHDOG_USEC=1s", "", 1, 0},
      {"WATCHDOG_USEC=0x10", "", 1, 0},
      {"EXTEND_TIMEOUT_USEC=5000000", "child.extend=5000000", 0, 0},
      {"EXTEND_TIMEOUT_USEC=0", "", 0, 0},
      {"EXTEND_TIMEOUT_USEC= 5", "", 1, 0},
      {"EXTEND_TIMEOUT_USEC=", "", 1, 0},
      {"MAINPID=4711", "child.mainpid=4711", 0, 0},
      {"MAINPID=0", "", 1, 0},
      {"MAINPID=-4711", "", 1, 0},
      {"MAINPID=4711x", "", 1, 0},
      {"MAINPID=4294972007", "", 1, 0},  // 4711 + 2^32
      {"ERRNO=2", "child.status=errno: 2 No such file or directory", 0, 0},
      {"ERRNO=0", "", 0, 0},
      {"ERRNO=nope", "", 1, 0},
      {"STATUS=no disk\nERRNO=2", "child.status=no disk (errno: 2 No such file or directory)", 0, 0},
      {"BARRIER=1", "", 0, 0},
      {"FDSTORE=1\nFDNAME=x\nX_CUSTOM=1", "", 0, 3},
      {"READY=1\nMAINPID=4711\nSTATUS=a", "child.mainpid=4711 child.status=a child.ready", 0, 0},
      {"STATUS=first\nSTATUS=second", "child.status=first", 0, 0},
      {"", "", 0, 0},
      {"\n\n\n", "", 0, 0},
      {"=1", "", 1, 0},
      {"====", "", 1, 0},
  };
  for (const auto& row : rows) {
    CAPTURE(row.text);
    const NotifyOutcome outcome = parse(row.text);
    CHECK(words(outcome) == row.events);
    CHECK(outcome.malformed == row.malformed);
    CHECK(outcome.unknown == row.unknown);
    CHECK(outcome.refusals.empty());
  }
}

TEST_CASE("counts of requests are read with and without those in flight") {
  using Counts = std::optional<std::pair<std::uint64_t, std::uint64_t>>;
  const struct {
    const char* value;
    Counts counts;
  } rows[] = {{"9", Counts({9, 0})},   {"9/2", Counts({9, 2})}, {"0/0", Counts({0, 0})},
              {"", std::nullopt},      {"9/", std::nullopt},    {"/2", std::nullopt},
              {"9/2/3", std::nullopt}, {"-1", std::nullopt},    {"9 ", std::nullopt}};
  for (const auto& row : rows) {
    CAPTURE(row.value);
    const NotifyOutcome outcome = parse("X_RUNMAIN_REQUESTS=" + std::string(row.value));
    CHECK(outcome.requests == row.counts);
    CHECK(outcome.malformed == (row.counts ? 0U : 1U));
    CHECK(outcome.events.empty());
  }
}

TEST_CASE("a message from outside the tree is refused whole, whatever it says") {
  for (const char* text : {"READY=1", "MAINPID=4711", "STATUS=x\nWATCHDOG=trigger", "", "garbage"}) {
    const NotifyOutcome outcome = parse(text, false);
    CHECK(outcome.events.empty());
    REQUIRE(outcome.refusals.size() == 1);
    CHECK(outcome.refusals[0] ==
          "a notify message came from process 4711, which is not of this child's tree, ignoring");
  }
}

TEST_CASE("a main pid outside the tree is refused, the rest of the message counts") {
  const NotifyOutcome outcome = parse("MAINPID=1\nREADY=1");
  CHECK(words(outcome) == "child.ready");
  REQUIRE(outcome.refusals.size() == 1);
  CHECK(outcome.refusals[0] == "MAINPID 1 is not a process of this child, ignoring");
}

TEST_CASE("a datagram of 64 kB without a newline, or of nothing but lines, is no trouble") {
  CHECK(parse(std::string(65536, 'x')).malformed == 1);
  CHECK(parse(std::string(65536, '\n')).events.empty());
  CHECK(parse(std::string(65536, '\0')).malformed == 1);
  std::string beats;
  for (int i = 0; i < 5000; ++i) beats += "WATCHDOG=1\n";
  CHECK(words(parse(beats)) == "child.watchdog=0");
  const NotifyOutcome status = parse("STATUS=" + std::string(65536, 's'));
  CHECK(std::get<core::StatusText>(status.events.at(0)).text == std::string(kStatusTextMax, 's'));
}

TEST_CASE("a status with an errno stays within its limit and keeps the errno") {
  const NotifyOutcome outcome = parse("STATUS=" + std::string(5000, 's') + "\nERRNO=13");
  const std::string& text = std::get<core::StatusText>(outcome.events.at(0)).text;
  CHECK(text.size() <= kStatusTextMax);
  CHECK(text.find("(errno: 13 ") != std::string::npos);
  CHECK(text.back() == ')');
}

TEST_CASE("a status text is never cut inside a character") {
  const struct {
    std::string text;
    std::size_t kept;
  } rows[] = {
      {std::string(512, 'a'), 512},
      {std::string(511, 'a') + "\xc3\xa9", 511},  // 2 bytes, the second does not fit
      {std::string(510, 'a') + "\xc3\xa9", 512},
      {std::string(510, 'a') + "\xe2\x82\xac" + "b", 510},      // 3 bytes
      {std::string(509, 'a') + "\xf0\x9f\x98\x80" + "b", 509},  // 4 bytes
      {std::string(508, 'a') + "\xf0\x9f\x98\x80" + "b", 512},
      {std::string(600, '\x80'), 509},  // no UTF-8 at all: cut somewhere
  };
  for (const auto& row : rows) CHECK(clip_status(row.text) == row.text.substr(0, row.kept));
  CHECK(clip_status("\x80\x80\x80", 1).size() <= 1);
  CHECK(clip_status("abc", 0).empty());
}
