#include "app/state_check.hpp"

#include <cstdio>
#include <string>

#include "core/machine.hpp"
#include "drive/state_log.hpp"
#include "keeper/check_line.hpp"

namespace runmain::app {
namespace {

constexpr int kTries = 5;

int refuse(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  return 1;
}

}  // namespace

int check_state(int log) {
  // The head that lives may begin its log anew while it is read.
  auto recovered = drive::StateLog(log).recover();
  for (int again = 0; !recovered && again < kTries; ++again) recovered = drive::StateLog(log).recover();
  if (!recovered) return refuse(recovered.error().text());
  if (*recovered) {
    core::Machine machine(1);
    core::Output out;
    if (!machine.restore((*recovered)->checkpoint.machine))
      return refuse("the services' state cannot be read");
    for (const drive::LoggedEvent& logged : (*recovered)->events) {
      out.clear();
      machine.handle(logged.event, logged.time, out);
    }
  }
  std::fputs(keeper::check_line("runmain-supervisor").c_str(), stdout);
  return 0;
}

}  // namespace runmain::app
