// What people see: tables and sentences from JSON.
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>

#include "cli/age.hpp"
#include "cli/log_text.hpp"
#include "cli/sentences.hpp"
#include "cli/status_table.hpp"
#include "support/catch.hpp"

namespace runmain::cli {
namespace {

using control::Json;

std::string golden_folder(const std::string& room) {
  return std::string(RUNMAIN_SOURCE_DIR) + "/tests/golden/" + room + "/";
}

std::string content_of(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// With RUNMAIN_GOLDEN=write in the environment the files are made anew, to be looked at before they are
// committed.
void check_golden(const std::string& name, const std::string& text) {
  const std::string path = golden_folder("cli") + name;
  const char* mode = std::getenv("RUNMAIN_GOLDEN");
  if (mode != nullptr && std::string(mode) == "write") std::ofstream(path) << text;
  CHECK(text == content_of(path));
}

Json golden_status() { return Json::parse(content_of(golden_folder("control") + "status.json")); }

std::vector<Json> golden_events() {
  std::vector<Json> events;
  std::istringstream lines(content_of(golden_folder("control") + "events.jsonl"));
  for (std::string line; std::getline(lines, line);) events.push_back(Json::parse(line));
  return events;
}

// The longest line in columns; colour sequences count as nothing.
std::size_t widest(const std::string& text) {
  std::size_t widest = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::string shown;
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (line[i] != '\x1b') {
        shown += line[i];
      } else {
        i = line.find('m', i);
      }
    }
    widest = std::max(widest, columns_of(shown));
  }
  return widest;
}

TEST_CASE("durations are told in the units that matter") {
  struct Case {
    long long ms;
    const char* text;
  };
  const Case cases[] = {{-5, "0 ms"},        {0, "0 ms"},
                        {999, "999 ms"},     {1000, "1 s"},
                        {1250, "1.2 s"},     {9999, "9.9 s"},
                        {10'000, "10 s"},    {59'999, "59 s"},
                        {60'000, "1 min"},   {125'000, "2 min 5 s"},
                        {3'600'000, "1 h"},  {11'400'000, "3 h 10 min"},
                        {86'400'000, "1 d"}, {187'200'000, "2 d 4 h"}};
  for (const Case& c : cases) CHECK(age_text(c.ms) == c.text);
}

TEST_CASE("the status table is aligned, with notes where something is wrong") {
  check_golden("status.txt", status_table(golden_status(), false, 0));
}

TEST_CASE("colours change nothing but the colour") {
  std::string coloured = status_table(golden_status(), true, 0);
  CHECK(coloured.find("\x1b[36mreloading\x1b[0m") != std::string::npos);
  CHECK(widest(coloured) == widest(status_table(golden_status(), false, 0)));
}

TEST_CASE("a table is never wider than the terminal") {
  for (std::size_t width = 1; width < 120; ++width) {
    INFO(width);
    CHECK(widest(status_table(golden_status(), true, width)) <= width);
  }
}

TEST_CASE("a status of another shape is shown as far as it goes") {
  CHECK(status_table(Json::object(), false, 0) == "no services\n");
  CHECK(status_table(Json(), false, 0) == "no services\n");
  CHECK(status_table(Json::parse(R"({"services":[1,null,[]]})"), false, 0) == "no services\n");
  const std::string odd =
      status_table(Json::parse(R"({"services":[{"name":1,"workers":[2,{}],"listen":[3]}]})"), false, 0);
  CHECK(odd.find("NAME") == 0);
}

TEST_CASE("what a child says of itself cannot touch the terminal") {
  Json status = golden_status();
  status["services"][0]["workers"][0]["status"] = "\x1b]0;evil\x07\x1b[2Jbye\nnext";
  const std::string table = status_table(status, false, 0);
  CHECK(table.find('\x1b') == std::string::npos);
  CHECK(table.find("bye\\x0anext") != std::string::npos);
}

TEST_CASE("every event is a sentence") {
  std::string text;
  for (const Json& event : golden_events()) text += sentence_of(event) + "\n";
  check_golden("sentences.txt", text);
}

TEST_CASE("an event that is not known is shown as it is") {
  const Json event{{"type", "moon.risen"}, {"service", "web"}, {"data", {{"height", 3}}}};
  CHECK(sentence_of(event) == "web moon.risen {\"height\":3}");
  CHECK(sentence_of(Json::object()).empty());
}

TEST_CASE("an event is told with the local time of day") {
  setenv("TZ", "UTC-1", 1);
  tzset();
  const Json event{
      {"time", "2023-11-14T22:13:20.123456789Z"}, {"type", "service.stopping"}, {"service", "web"}};
  CHECK(event_text(event, false) == "23:13:20.123  web is asked to stop\n");
  CHECK(event_text({{"time", "soon"}, {"type", "service.stopping"}, {"service", "web"}}, false) ==
        "--:--:--.---  web is asked to stop\n");
  unsetenv("TZ");
  tzset();
}

Json event_at(std::int64_t mono_s, std::int64_t cause, const char* type, const Json& data) {
  return Json{{"mono_ns", mono_s * 1'000'000'000},
              {"type", type},
              {"service", "web"},
              {"slot", 0},
              {"pid", 4242},
              {"cause", cause},
              {"data", data}};
}

TEST_CASE("why tells the state and the chain of causes with how long ago they were") {
  const Json answer{{"now_ns", 1'000'000'000'000},
                    {"service",
                     {{"name", "web"},
                      {"state", "backoff"},
                      {"since_ms", 3000},
                      {"reason", "exited with status 1"},
                      {"retry_in_ms", 2100}}},
                    {"history",
                     {event_at(988, 7, "child.started", {{"reason", "start"}}),
                      event_at(989, 8, "child.ready", {{"took_ms", 120}, {"proof", "probe"}}),
                      event_at(997, 9, "child.exited", {{"text", "exited with status 1"}}),
                      {{"mono_ns", 997'000'000'000},
                       {"type", "service.backed_off"},
                       {"service", "web"},
                       {"cause", 9},
                       {"data", {{"retry_in_ms", 5000}}}}}}};
  check_golden("why.txt", why_text(answer, false));
  CHECK(why_text(Json::object(), false) == ":  for 0 ms\n");
}

TEST_CASE("a log line has its label, its own colours where there are colours, and nothing worse") {
  const Json line{
      {"service", "web"}, {"label", "web.1"}, {"continues", false}, {"text", "a\x1b[31mred\x1b[2J\rb\x07"}};
  CHECK(log_text(line, false) == "web.1 | b\\x07\n");
  const Json red{{"service", "web"}, {"label", "web"}, {"continues", true}, {"text", "\x1b[31mred"}};
  CHECK(log_text(red, false) == "web + red\n");
  const std::string coloured = log_text(red, true);
  CHECK(coloured.find("\x1b[31mred\x1b[0m\n") != std::string::npos);
  CHECK(log_text({{"skipped", 12}}, false) == "… 12 lines skipped, read too slowly …\n");
}

TEST_CASE("text is cut in columns, not in bytes") {
  CHECK(cut_to("häuser", 0) == "häuser");
  CHECK(cut_to("häuser", 6) == "häuser");
  CHECK(cut_to("häuser", 3) == "hä…");
  CHECK(cut_to("häuser", 1) == "…");
  CHECK(columns_of("häuser") == 6);
}

}  // namespace
}  // namespace runmain::cli
