// runmain-supervisor: the head. See app/head.hpp. Started by the keeper, with fd 3 to talk to it.
#include <csignal>
#include <cstdio>
#include <cstring>

#include "app/head.hpp"
#include "app/state_check.hpp"

int main(int argc, char** argv) {
  // Signals from the terminal reach the keeper, which tells us what they mean.
  for (const int number :
       {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGTSTP, SIGTTOU, SIGTTIN, SIGPIPE, SIGXFSZ, SIGUSR1, SIGUSR2}) {
    std::signal(number, SIG_IGN);
  }
  if (argc == 2 && std::strcmp(argv[1], "--check") == 0) return runmain::app::check_state(3);
  auto options = runmain::app::parse_options(argc, argv);
  if (!options) {
    std::fprintf(stderr, "runmain-supervisor: %s\nThis program is started by `runmain up`.\n",
                 options.error().message.c_str());
    return 2;
  }
  runmain::app::Head head(std::move(*options), runmain::os::UniqueFd(3));
  return head.run();
}
