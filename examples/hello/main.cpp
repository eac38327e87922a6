// hello: a small HTTP server under runmain, or alone. See README.md.
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "child_runtime/child_runtime.hpp"
#include "server.hpp"

namespace {

constexpr char kUsage[] =
    "usage: hello [--fd N]... [--listen HOST:PORT]\n"
    "  --fd N               accept on this inherited socket\n"
    "  --listen HOST:PORT   bind here (127.0.0.1:8080) when no socket is inherited\n";

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  std::vector<int> fds;
  std::string listen = "127.0.0.1:8080";
  bool help = false;
};

Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--help" || name == "-h") {
      options.help = true;
      continue;
    }
    if (name != "--fd" && name != "--listen") throw UsageError("unknown argument: " + std::string(name));
    if (++i == argc) throw UsageError(std::string(name) + " needs a value");
    const std::string_view value = argv[i];
    if (name == "--listen") {
      options.listen = value;
      continue;
    }
    int fd = -1;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), fd);
    if (error != std::errc() || end != value.data() + value.size() || fd < 0) {
      throw UsageError("--fd: no fd number: " + std::string(value));
    }
    options.fds.push_back(fd);
  }
  return options;
}

bool is_listening(int fd) {
  int listening = 0;
  socklen_t size = sizeof listening;
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening != 0;
}

// "127.0.0.1:8080", "[::1]:0"
int bind_to(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos) throw UsageError("--listen: no port: " + address);
  std::string host = address.substr(0, colon);
  if (host.size() > 1 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(host.empty() ? nullptr : host.c_str(), address.c_str() + colon + 1, &hints, &found);
  if (error != 0) throw UsageError("--listen " + address + ": " + gai_strerror(error));
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  const bool bound = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                     bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0;
  const int code = errno;
  freeaddrinfo(found);
  if (!bound) throw std::system_error(code, std::generic_category(), "cannot listen on " + address);
  return fd;
}

std::string name_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (getsockname(fd, generic, &size) != 0 || address.ss_family == AF_UNIX ||
      getnameinfo(generic, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) !=
          0) {
    return "fd " + std::to_string(fd);
  }
  const bool v6 = address.ss_family == AF_INET6;
  return (v6 ? "[" : "") + std::string(host) + (v6 ? "]:" : ":") + port;
}

// The sockets to accept on: those of the command line, else those of the claim, else one of our own.
std::vector<int> sockets(const Options& options) {
  if (!options.fds.empty()) {
    for (const int fd : options.fds) {
      if (!is_listening(fd)) throw UsageError("--fd " + std::to_string(fd) + " is no listening socket");
    }
    return options.fds;
  }
  std::vector<int> fds;
  for (const runmain::Listener& l : runmain::listeners()) {
    if (is_listening(l.fd)) fds.push_back(l.fd);
  }
  if (fds.empty()) fds.push_back(bind_to(options.listen));
  return fds;
}

int serve(const Options& options) {
  const runmain::ServeResult claim = runmain::serve();
  if (claim.claim == runmain::Claim::refused) {
    std::fprintf(stderr, "hello: not to serve: %s\n", claim.why.c_str());
    return 1;
  }
  if (!claim.why.empty()) std::fprintf(stderr, "hello: %s\n", claim.why.c_str());
  hello::Server server;
  for (const int fd : sockets(options)) {
    server.add_listener(fd);
    std::printf("listening on %s\n", name_of(fd).c_str());
  }
  std::fflush(stdout);
  server.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Options options = parse_options(argc, argv);
    if (!options.help) return serve(options);
    std::fputs(kUsage, stdout);
    return 0;
  } catch (const UsageError& e) {
    std::fprintf(stderr, "hello: %s\n%s", e.what(), kUsage);
    return 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "hello: %s\n", e.what());
    return 1;
  }
}
