// What people hear of destinations that fail.
#include "telemetry/outages.hpp"

#include "support/catch.hpp"

using namespace runmain::telemetry;

namespace {

const std::string kA = "http://a:4318";
const std::string kB = "http://b:4318";

}  // namespace

TEST_CASE(
    "an endpoint is told to fail once, whatever goes there, and to answer once, with each signal once") {
  Outages outages;
  int traces = 0;
  int metrics = 0;
  int former_traces = 0;  // of a configuration before this one
  CHECK(outages.fails(&traces, kA, Signal::traces, "Connection refused, retrying") ==
        "http://a:4318 fails (traces): Connection refused, retrying");
  CHECK(outages.fails(&former_traces, kA, Signal::traces, "x") == std::nullopt);
  CHECK(outages.fails(&metrics, kA, Signal::metrics, "x") == std::nullopt);
  CHECK(outages.recovers(&traces, kA, "after 1 s and 1 attempt") == std::nullopt);
  CHECK(outages.fails(&traces, kA, Signal::traces, "x") == std::nullopt);  // it was not well yet
  CHECK(outages.recovers(&traces, kA, "x") == std::nullopt);
  CHECK(outages.recovers(&metrics, kA, "x") == std::nullopt);
  CHECK(outages.recovers(&former_traces, kA, "after 3 s and 4 attempts") ==
        "http://a:4318 answers again (traces, metrics) after 3 s and 4 attempts");
  CHECK(outages.recovers(&former_traces, kA, "x") == std::nullopt);
  CHECK(outages.fails(&metrics, kA, Signal::metrics, "y") == "http://a:4318 fails (metrics): y");
}

TEST_CASE("endpoints fail each for itself, and one that is gone fails no more") {
  Outages outages;
  int a = 0;
  int b = 0;
  CHECK(outages.fails(&a, kA, Signal::logs, "x"));
  CHECK(outages.fails(&b, kB, Signal::logs, "x"));
  outages.forget(&a, kA);
  outages.forget(&a, kA);
  CHECK(outages.recovers(&a, kA, "x") == std::nullopt);
  CHECK(outages.recovers(&b, kB, "x") == "http://b:4318 answers again (logs) x");
}
