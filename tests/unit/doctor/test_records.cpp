// What a process wrote, whatever it is.
#include "case.hpp"
#include "doctor/records.hpp"
#include "doctor/report.hpp"

using namespace runmain::doctor;

TEST_CASE("records become evidence, and a line that is cut is left alone", "[doctor]") {
  Evidence e;
  read_records(
      7,
      R"({"k":"process","t":1,"pid":7,"ppid":3,"argv":["python","a.py"],"runtime":"python 3.11","forked":true})"
      "\n"
      R"({"k":"provider","t":2,"pid":7,"id":1,"class":"TracerProvider","resource":{"service.name":"web"},"stack":["a.py:3 f"]})"
      "\n"
      R"({"k":"start","t":3,"pid":7,"trace":"ab","span":"cd","name":"x","kind":2,"by":"program","at":"a.py:9","task":"1:2"})"
      "\n"
      R"({"k":"activate","t":4,"pid":7,"trace":"ab","span":"cd"})"
      "\n"
      R"({"k":"end","t":5,"pid":7,"trace":"ab","span":"cd"})"
      "\n"
      R"({"k":"exit","how":"os._ex)",
      e);
  REQUIRE(e.processes.size() == 1);
  CHECK(e.processes[0].parent == 3);
  CHECK(e.processes[0].forked == true);
  REQUIRE(e.providers.size() == 1);
  CHECK(e.providers[0].resource["service.name"] == "web");
  REQUIRE(e.seen.size() == 1);
  CHECK((e.seen[0].activated && e.seen[0].end == 5 && e.seen[0].by_program && e.seen[0].kind == 2));
  CHECK(e.exits.empty());
  CHECK(e.records_lost == 0);
}

TEST_CASE("what is no record is counted, and what follows is read", "[doctor]") {
  Evidence e;
  const std::string long_line = R"({"k":"exit","how":")" + std::string(kRecordMax, 'x') + "\"}\n";
  for (const std::string& line : {std::string("no json\n"), std::string("[]\n"), std::string("{}\n"),
                                  std::string("{\"k\":5}\n"), std::string("{\"k\":\"unknown\"}\n"),
                                  std::string("{\"k\":\"full\"}\n"), long_line, std::string("\xff\xfe\n")})
    read_records(7, line, e);
  CHECK(e.records_lost == 8);
  read_records(7, "{\"k\":\"exit\",\"how\":17,\"code\":\"x\",\"stack\":[1,{},\"a.py:1 f\"],\"t\":-5}\n", e);
  REQUIRE(e.exits.size() == 1);
  CHECK((e.exits[0].how.empty() && e.exits[0].stack == Stack{"a.py:1 f"}));
}

TEST_CASE("numbers and lists that lie about their size are cut", "[doctor]") {
  Evidence e;
  std::string stack;
  for (int i = 0; i < 100; ++i) stack += (i == 0 ? "" : ",") + std::string("\"f\"");
  read_records(7, "{\"k\":\"provider\",\"id\":1e300,\"stack\":[" + stack + "]}\n", e);
  REQUIRE(e.providers.size() == 1);
  CHECK(e.providers[0].stack.size() == kFramesMax);
  CHECK(e.providers[0].id == 0);
}

TEST_CASE("a report has processes, providers and findings with their stacks", "[doctor]") {
  Case c = clean();
  c.start(kServing, 2, "/app/app.py:20", false);
  const auto json = to_json(c.e, judge(c.e));
  CHECK(json["served"]["pids"][0] == kServing);
  CHECK(json["providers"].size() == 2);
  CHECK(json["providers"][0]["set"] == true);
  CHECK(json["providers"][1]["set"] == false);
  REQUIRE(json["findings"].size() == 1);
  CHECK(json["findings"][0]["cause"] == "double-init");
  CHECK(json["findings"][0]["stacks"][1]["shown"][0] == "/app/app.py:20 main");
  CHECK(json["findings"][0]["seen_by"] == nlohmann::json::array({"hooks"}));
}
