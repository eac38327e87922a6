// What a person sees of the report of check-graceful.
#include <catch2/catch.hpp>

#include "cli/graceful_text.hpp"

using namespace runmain::cli;
using runmain::control::Json;

namespace {

Json report() {
  return Json::parse(
      R"({"v":1,"start_ms":{"least":5,"most":5,"of":1},"drain_ms":{"least":40,"most":1200,"of":4},
    "trials":[{"trial":"load","reloads":3,"requests":412,"errors":0,"outcomes":{"answered":409,"reset":3},"slowest_ms":29,
               "drain_ms":{"least":62,"most":100,"of":6}}],
    "findings":[{"cause":"kept-lost","title":"A kept connection is ended with a request in it","contract":"drain, 3",
                 "evidence":["3 of 412 requests: 3 were reset"],"fix":"Look once more."}],
    "notes":["1 request met the end"]})");
}

}  // namespace

TEST_CASE("a report has a line for each trial, and what is broken with its figures", "[graceful]") {
  const std::string text = graceful_text(report(), false, 100);
  for (const char* part :
       {"  load       3 reloads, 409 of 412 requests answered, slowest 29 ms, drains of 62 ms to 100 ms\n",
        "Ready after 5 ms, gone after 40 ms to 1.2 s.",
        "1. A kept connection is ended with a request in it\n   kept-lost\n", "   The contract: drain, 3.\n",
        "   - 3 of 412 requests: 3 were reset\n", "   Mend it: Look once more.\n",
        "Note: 1 request met the end.", "1 part of the contract broken.\n"}) {
    INFO(part << "\nin\n" << text);
    CHECK(text.find(part) != std::string::npos);
  }
}

TEST_CASE(
    "a program without a fault is told so, one that never served is not, and all of a report is harmless",
    "[graceful]") {
  CHECK(graceful_text(Json::parse(R"({"findings":[]})"), false, 80) == "\nAll of the contract is kept.\n");
  CHECK(graceful_text(Json::parse(R"({"findings":[],"fault":{},"output":["no module"]})"), false, 80) ==
        "\n  | no module\n");
  Json odd = report();
  odd["trials"].push_back(7);
  odd["trials"][0]["outcomes"] = 5;
  odd["findings"].push_back(nullptr);
  odd["findings"][0]["title"] = "\x1b[2J";
  odd["notes"] = Json::object();
  const std::string text = graceful_text(odd, false, 40);
  CHECK(text.find('\x1b') == std::string::npos);
}
