// Save of a watched file to main() of the new child: `runmain dev` beside a bare loop of inotify, kill,
// waitpid and vfork/exec, in turns, and any of the known reloaders that is named and on PATH.
//   b_dev [PAIRS] [nodemon entr watchexec watchfiles air watchmedo …]
#include "contenders.hpp"

using namespace runmain::bench;

int main(int argc, char** argv) {
  const int pairs = argc > 1 ? std::atoi(argv[1]) : 200;
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  {
    std::vector<std::unique_ptr<Contender>> both;
    both.push_back(std::make_unique<Runmain>());
    both.push_back(std::make_unique<Bare>());
    for (const auto& one : both) {
      if (!one->first_start()) return 1;
    }
    measure_in_turns(both, pairs);
    row("save to main() of the new child, median (p99) of " + std::to_string(pairs) + " pairs",
        both[0]->text() + "; " + both[1]->text() + "; ratio " + number(both[0]->median() / both[1]->median()),
        "ratio at most 2, 0 missed, 0 too many");
  }
  for (int i = 2; i < argc; ++i) {
    const std::string name = argv[i];
    if (!Peer::known(name) || !on_path(name)) {
      row("the same by " + name, "not here", "");
      continue;
    }
    std::vector<std::unique_ptr<Contender>> both;
    both.push_back(std::make_unique<Peer>(name));
    both.push_back(std::make_unique<Runmain>());
    bool started = true;
    for (const auto& one : both) started = one->first_start() && started;
    if (!started) {
      row("the same by " + name, "did not start", "");
      continue;
    }
    poll(nullptr, 0, 1000);  // some say that they watch before they do
    measure_in_turns(both, std::max(pairs / 4, 10));
    row("the same by " + name, both[0]->text() + "; " + both[1]->text(), "");
  }
  return 0;
}
