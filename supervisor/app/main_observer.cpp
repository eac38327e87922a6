// runmain-observer: the eyes. See app/observer_process.hpp. Started by the keeper, with fd 3 to talk to it.
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>

#include "app/observer_process.hpp"
#include "keeper/check_line.hpp"
#include "os/linux/heap.hpp"

namespace {

// As root it keeps the one that opens files of other users: a state folder, a key of TLS (capabilities(7)).
void give_up_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (geteuid() == 0) data[0].effective = data[0].permitted = 1U << CAP_DAC_OVERRIDE;
  (void)syscall(SYS_capset, &header, data);  // where it is refused there were none
}

// What serves comes first: a round of ours that is due waits for what runs (sched(7)), and takes its whole
// share then.
void let_others_go_first() {
  const sched_param none{};
  (void)sched_setscheduler(0, SCHED_BATCH, &none);  // where it is refused we are one of many
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--check") == 0) {
    std::fputs(runmain::keeper::check_line("runmain-observer").c_str(), stdout);
    return 0;
  }
  runmain::os::keep_heap_small();
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
  give_up_capabilities();
  let_others_go_first();

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
