// What a person sees of the doctor's report.
#include <catch2/catch.hpp>

#include "cli/doctor_text.hpp"

using namespace runmain::cli;
using runmain::control::Json;

namespace {

Json report() {
  return Json::parse(R"({"v":1,"served":{"requests":4,"spans":8},
    "processes":[{"pid":7,"role":"reloader","argv":["flask","run"],"requests":0,"probe":true},
                 {"pid":8,"role":"serves","argv":["flask","run"],"requests":4,"probe":false}],
    "providers":[{"pid":7,"class":"TracerProvider","at":"/home/me/app.py:3","set":true,"resource":{"service.name":"web"},
      "processors":[{"class":"BatchSpanProcessor","exporter":"OTLPSpanExporter","endpoint":"http://c:4318/v1/traces","at":"/home/me/app.py:4"}],
      "instrumentations":[{"class":"FlaskInstrumentor","at":"/home/me/app.py:9"},{"class":"A","automatic":true},{"class":"B","automatic":true}]}],
    "collectors":[{"endpoint":"http://c:4318/v1/traces","reach":"silent"}],
    "findings":[{"cause":"reloader-both","title":"A process that does not serve starts telemetry, too","pid":7,"sure":"sure",
      "seen_by":["hooks","proc"],"evidence":["pid 7 answered none"],"fix":"Start it in the child only.",
      "stacks":[{"pid":7,"role":"reloader","what":"started here","shown":["/home/me/app.py:3 f","/home/me/venv/lib/python3.11/site-packages/flask/app.py:7 run"],"stack":["/home/me/app.py:3 f"]}]}],
    "notes":["1 span was lost"]})");
}

}  // namespace

TEST_CASE("a report names processes, findings with places and how to mend them, and providers", "[doctor]") {
  const std::string text = doctor_text(report(), false, 100, "/home/me");
  for (const char* part :
       {"pid 7  reloader", "pid 8  serves, 4 requests, seen from outside only",
        "1. A process that does not serve", "reloader-both, sure; seen by hooks, proc", "       app.py:3 f\n",
        "       …/flask/app.py:7 run\n", "   - pid 7 answered none",
        "   Mend it: Start it in the child only.", "TracerProvider, made at app.py:3",
        "BatchSpanProcessor → OTLPSpanExporter http://c:4318/v1/traces  (app.py:4)",
        "FlaskInstrumentor  (app.py:9)", "      automatically: A, B\n", "service.name=web",
        "it does not answer", "Note: 1 span was lost.", "1 finding (4 requests, 8 spans)."}) {
    INFO(part << "\nin\n" << text);
    CHECK(text.find(part) != std::string::npos);
  }
}

TEST_CASE("nothing found is said so, and whatever a report holds is harmless", "[doctor]") {
  CHECK(doctor_text(Json::parse(R"({"served":{"requests":4,"spans":8},"findings":[]})"), false, 80, "") ==
        "Processes\n\nNothing found (4 requests, 8 spans).\n");
  Json odd = report();
  odd["processes"][0]["argv"] = Json::array({"\x1b[2J", 5, nullptr});
  odd["findings"].push_back(17);
  odd["findings"].push_back(Json::object());
  odd["providers"] = "none";
  const std::string text = doctor_text(odd, false, 40, "/");
  CHECK(text.find('\x1b') == std::string::npos);
}
