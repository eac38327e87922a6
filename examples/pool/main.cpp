// pool: a worker of a pool. hello's server loop with what a pool asks of a worker beside serving: it says
// that it is alive (WATCHDOG=1) and how many requests it has answered, so that a worker that hangs or has
// served its share is replaced. The drain is in hello/server.cpp.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "../hello/server.hpp"
#include "child_runtime/child_runtime.hpp"

namespace {

using namespace std::chrono_literals;

constexpr auto kBeat = 500ms;  // how often it reports
// A beat that is so late is looked into: runmain ends the worker if it waits, is busy or is stopped, and lets
// it go on if it only has had no CPU.
constexpr char kWatchdog[] = "WATCHDOG_USEC=3000000";

// One message as sd_notify(3) sends it; child_runtime has a call for each of the others.
void notify(std::string_view text) {
  const char* name = std::getenv("NOTIFY_SOCKET");
  sockaddr_un to{};
  if (name == nullptr || std::strlen(name) >= sizeof to.sun_path) return;
  to.sun_family = AF_UNIX;
  std::strcpy(to.sun_path, name);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(name));
  if (to.sun_path[0] == '@') to.sun_path[0] = '\0';
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  if (sendto(fd, text.data(), text.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&to), size) < 0) {
    std::perror("pool: NOTIFY_SOCKET");
  }
  close(fd);
}

int serve() {
  const runmain::ServeResult claim = runmain::serve();
  if (!claim.why.empty()) std::fprintf(stderr, "pool: %s\n", claim.why.c_str());
  if (claim.claim == runmain::Claim::refused) return 1;
  hello::Server server;
  const std::vector<runmain::Listener> listeners = runmain::listeners();
  for (const runmain::Listener& l : listeners) server.add_listener(l.fd);
  if (listeners.empty()) {
    std::fputs("pool: no socket was given; start it by: runmain serve --listen 127.0.0.1:8000 -- pool\n",
               stderr);
    return 2;
  }
  notify(kWatchdog);
  server.every(kBeat, [] {
    runmain::heartbeat();
    runmain::report_requests();
  });
  server.run();
  std::printf("drained after %llu requests\n", static_cast<unsigned long long>(runmain::counters().done));
  return 0;
}

}  // namespace

int main() {
  try {
    return serve();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "pool: %s\n", e.what());
    return 1;
  }
}
