// Stopping what tries to get away: nothing is left, 50 times each.
//   b_stop [ROUNDS]
#include "bench.hpp"
#include "support/supervised.hpp"

using namespace runmain::bench;
using namespace runmain::test;

namespace {

void measure(const std::string& what, int rounds) {
  Supervised up("[service.a]\ncommand = [\"@BIN@/t_child\", \"" + what +
                "\", \"ready\", \"pause\"]\nready = { notify = true }\n"
                "stop = { timeout = \"1s\" }\n");
  up.start();
  up.wait_ready();
  int left = 0;
  int not_proved = 0;
  std::size_t seen = 0;
  std::vector<double> took;
  for (int i = 0; i < rounds; ++i) {
    std::vector<pid_t> found;
    while ((found = grandchildren_in(up.output())).size() <= seen && up.wait_output_more()) {
    }
    const auto begin = Clock::now();
    if (up.request("stop", {{"services", {"a"}}}).contains("error")) ++not_proved;
    took.push_back(ms_since(begin));
    for (; seen < found.size(); ++seen) left += alive(found[seen]) ? 1 : 0;
    up.request("start", {{"services", {"a"}}});
  }
  row("stop of " + what + ", " + std::to_string(rounds) + " times",
      std::to_string(seen) + " grandchildren seen, " + std::to_string(left) + " left, " +
          std::to_string(not_proved) + " stops not proved; median " + number(percentile(took, 50), " ms"),
      "nothing left, proven");
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 50;
  for (const char* what : {"setsid-grandchild", "double-fork-grandchild", "same-group-ignorer", "fork-chain"})
    measure(what, rounds);
  return 0;
}
