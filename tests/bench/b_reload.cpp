// Reloads under 4 clients that open a connection for each request: lost requests, with overlap and without.
//   b_reload [RELOADS]
#include "bench.hpp"
#include "support/http_load.hpp"
#include "support/supervised.hpp"

using namespace runmain::bench;
using namespace runmain::test;

namespace {

void measure(bool overlap, int reloads) {
  Supervised up(
      std::string(
          "[service.web]\ncommand = [\"@BIN@/hello\", \"--fd\", \"{fd}\"]\nlisten = [\"127.0.0.1:0\"]\n") +
      "workers = 2\nwatch = { paths = [\"src\"] }\noverlap = " + (overlap ? "true" : "false") + "\n");
  up.folder().write("src/main.txt", "0");
  up.start();
  if (!up.wait_ready()) return;
  HttpLoad load(up.address("web"), 4);
  std::vector<double> took;
  for (int i = 1; i <= reloads; ++i) {
    load.wait_more(10);
    const auto begin = Clock::now();
    // Two files in turn: one alone, saved right after each start, is what a loop looks like.
    up.folder().write(i % 2 == 0 ? "src/main.txt" : "src/other.txt", std::to_string(i));
    if (!up.wait_event("reload.done", "web").is_object()) break;
    took.push_back(ms_since(begin));
    up.wait_status([](const Json& s) { return s["services"][0]["workers"].size() == 2; });
  }
  load.stop();
  std::string faults;
  for (const auto& [fault, count] : load.faults()) faults += ", " + fault + " " + std::to_string(count);
  row(std::string(std::to_string(took.size()) + " reloads under 4 clients, ") +
          (overlap ? "with" : "without") + " overlap",
      std::to_string(load.failed()) + " of " + std::to_string(load.done()) + " requests failed" + faults +
          "; save to ready " + number(percentile(took, 50), " ms") + " (p99 " +
          number(percentile(took, 99), " ms") + "); slowest request " + number(load.longest_ms(), " ms"),
      "0 failed");
}

}  // namespace

int main(int argc, char** argv) {
  const int reloads = argc > 1 ? std::atoi(argv[1]) : 100;
  measure(true, reloads);
  measure(false, reloads);
  return 0;
}
