// `runmain traces`, and the telemetry in `runmain status`, against an observer that is played.
#include "fake_observer.hpp"
#include "support/catch.hpp"

namespace runmain::cli {
namespace {

using control::Json;

Json span(const std::string& trace, const std::string& id, const std::string& parent, std::int64_t end) {
  return Json{{"trace_id", trace},        {"span_id", id},
              {"parent_span_id", parent}, {"name", "n" + id},
              {"start_unix_nano", 1000},  {"end_unix_nano", end},
              {"service", "web"},         {"slot", 0},
              {"generation", 3},          {"attributes", {{"k", "v"}}}};
}

std::string line(const Json& json) { return json.dump() + "\n"; }
std::string said(const Json& span) { return line({{"v", 1}, {"span", span}}); }

std::string three_traces() {
  return said(span("new", "1", "", 3'000'000)) + said(span("old", "2", "", 1'000'000)) +
         said(span("mid", "4", "3", 1'500'000)) + said(span("mid", "3", "", 2'000'000)) +
         line({{"v", 1}, {"end", true}});
}

}  // namespace

TEST_CASE("recent traces are trees with the newest last") {
  Observed observed([](const Json&) { return three_traces(); });
  const Ran all = observed.run({"traces"});
  CHECK(all.exit == kClean);
  CHECK(all.err.empty());
  const std::size_t old_at = all.out.find("trace old");
  const std::size_t mid_at = all.out.find("trace mid");
  const std::size_t new_at = all.out.find("trace new");
  CHECK(old_at == 0);
  CHECK(mid_at < new_at);
  CHECK(mid_at != std::string::npos);
  CHECK(all.out.find("└─ n4") != std::string::npos);
  CHECK(all.out.find("web.0@3  k=v") != std::string::npos);
  CHECK(observed.questions().at(0) ==
        Json{{"v", 1}, {"verb", "traces"}, {"duplicates", false}, {"follow", false}});

  const Ran one =
      observed.run({"traces", "-n", "1", "--service", "web", "--generation", "3", "--duplicates"});
  CHECK(one.out.find("trace new") == 0);
  CHECK(one.out.find("trace mid") == std::string::npos);
  const Json question = observed.questions().at(1);
  CHECK(question["service"] == "web");
  CHECK(question["generation"] == 3);
  CHECK(question["duplicates"] == true);
}

TEST_CASE("programs get spans as the observer tells them, a line each") {
  Observed observed([](const Json&) { return three_traces(); });
  const Ran ran = observed.run({"traces", "--json", "-n", "2"});
  CHECK(ran.exit == kClean);
  std::istringstream lines(ran.out);
  std::vector<std::string> names;
  for (std::string text; std::getline(lines, text);) names.push_back(Json::parse(text)["name"]);
  CHECK(names == std::vector<std::string>{"n4", "n3", "n1"});
}

TEST_CASE("a follower shows what was there and goes on until runmain ends") {
  int asked = 0;
  auto observed = std::make_unique<Observed>([&](const Json&) {
    return three_traces() + (++asked == 1 ? said(span("later", "9", "", 9'000'000)) : "");
  });
  Observed* const running = observed.get();
  // The observer hangs up, and is asked again; then all of it ends.
  std::thread ends([&] {
    while (running->questions().size() < 3) std::this_thread::yield();
    observed.reset();
  });
  const std::vector<std::string> args = running->placed({"traces", "-f", "-n", "1"});
  const Ran ran = run_cli(args);
  ends.join();
  CHECK(ran.exit == kClean);
  CHECK(ran.out.find("trace new") == 0);
  CHECK(ran.out.find("trace later") != std::string::npos);
  CHECK(ran.out.find("trace later") == ran.out.rfind("trace later"));  // not shown again
  CHECK(ran.out.find("trace old") == std::string::npos);
}

TEST_CASE("without an observer traces say so and status is as ever") {
  Observed observed(nullptr);
  const Ran traces = observed.run({"traces"});
  CHECK(traces.exit == kServiceFailed);
  CHECK(traces.err ==
        "runmain: no telemetry here: it is off, has no endpoint in prod mode, or runmain-observer is "
        "missing\n");
  const Ran status = observed.run({"status"});
  CHECK(status.exit == kClean);
  CHECK(status.out.find("TELEMETRY") == std::string::npos);
  CHECK_FALSE(Json::parse(observed.run({"status", "--json"}).out).contains("telemetry"));
}

TEST_CASE("where there is nothing to show a person is told why in one line, and a program nothing") {
  bool kept = true;
  Observed observed([&](const Json&) {
    return line(kept ? Json{{"v", 1}, {"end", true}} : Json{{"v", 1}, {"end", true}, {"kept", false}});
  });
  const auto said = [&](std::vector<std::string> args, std::size_t width) {
    const Ran ran = run_cli(observed.placed(std::move(args)), width);
    CHECK(ran.exit == kClean);
    CHECK(ran.out.empty());
    return ran.err;
  };
  CHECK(said({"traces"}, 80) == "no spans yet\n");
  CHECK(said({"traces", "--service", "web"}, 80) == "no such spans yet\n");
  CHECK(said({"traces"}, 0).empty());  // no terminal
  CHECK(said({"traces", "--json"}, 80).empty());
  kept = false;
  CHECK(said({"traces"}, 80) == "no spans are kept in prod mode until somebody looks: `runmain traces -f`\n");
}

TEST_CASE("status tells of the ledgers as a table and as JSON") {
  const Json answer = Json::parse(
      R"({"v":1,"ok":true,"ledgers":[{"service":"web","slot":0,"generation":3,"ended":2,"exported":2}],
"destinations":[{"name":"http://c:4318","failing":false}]})");
  Observed observed([&](const Json&) { return line(answer); });
  const Ran table = observed.run({"status"});
  CHECK(table.out.find("\nTELEMETRY\n  web@3: 2 ended = 2 exported\n  to http://c:4318\n") !=
        std::string::npos);
  CHECK(observed.questions().at(0) == Json{{"v", 1}, {"verb", "status"}});
  const Json json = Json::parse(observed.run({"status", "--json"}).out);
  CHECK(json["telemetry"]["ledgers"][0]["exported"] == 2);
  CHECK(json["services"].size() == 2);
}

TEST_CASE("an observer that is slow or odd costs status half a second and no more") {
  for (const char* answer : {"", "no json\n", "[]\n", "{\"v\":1,\"ok\":false}\n"}) {
    INFO(answer);
    Observed observed([&](const Json&) { return std::string(answer); });
    const Time begin = os::Loop::now();
    const Ran status = observed.run({"status"});
    CHECK(status.exit == kClean);
    CHECK(status.out.find("NAME") == 0);
    CHECK(status.out.find("TELEMETRY") == std::string::npos);
    CHECK(os::Loop::now() - begin < std::chrono::seconds(5));
  }
}

TEST_CASE("an observer that says something else is told to the person") {
  Observed observed([](const Json&) { return said(span("t", "1", "", 1)) + "no json\n"; });
  const Ran ran = observed.run({"traces"});
  CHECK(ran.exit == kServiceFailed);
  CHECK(ran.err.find("something else than JSON") != std::string::npos);
  Observed busy([](const Json&) { return line({{"v", 1}, {"ok", false}, {"error", "too many clients"}}); });
  const Ran refused = busy.run({"traces"});
  CHECK(refused.exit == kServiceFailed);
  CHECK(refused.err.find("the observer: too many clients") != std::string::npos);
}

}  // namespace runmain::cli
