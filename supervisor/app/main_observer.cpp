// runmain-observer: the eyes. See app/observer_process.hpp. Started by the keeper, with fd 3 to talk to it.
#include <sys/prctl.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdio>
#include <exception>

#include "app/observer_process.hpp"

int main() {
  // Signals from the terminal reach the keeper, which tells us what they mean.
  for (const int number :
       {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGTSTP, SIGTTOU, SIGTTIN, SIGPIPE, SIGXFSZ, SIGUSR1, SIGUSR2}) {
    std::signal(number, SIG_IGN);
  }
  runmain::os::fill_stdio();
  struct stat file {};
  if (fstat(3, &file) != 0 || !S_ISSOCK(file.st_mode)) {
    std::fputs("runmain-observer: fd 3 is no socket\nThis program is started by `runmain up`.\n", stderr);
    return 2;
  }
  // It parses what strangers send: nothing that it could ever start may do more than it may.
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  constexpr mode_t kNobodyElse = 077;
  umask(kNobodyElse);
  try {
    runmain::app::ObserverProcess process(runmain::os::UniqueFd(3));
    return process.run();
  } catch (const std::exception& fault) {  // no memory
    std::fprintf(stderr, "runmain-observer: %s\n", fault.what());
    return 1;
  }
}
