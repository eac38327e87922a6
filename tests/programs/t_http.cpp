// t_http: a web server of one answer, for integration tests. It keeps the contract without the runtime
// library.
//
//   t_http --fd N | --port N [--boot-ms N] [--ignore-term] [--exit-after N] [--slow-ms N] [--no-notify]
//          [--backlog N] [--beat-ms N] [--mute FILE] [--unwell FILE] [--count]
//
// Accepts on the inherited socket N and answers every request with "PID GENERATION WORKER\n" and "Connection:
// close".
// --port N        binds this port of the loopback by itself instead, after --boot-ms
// --boot-ms N     accepts nothing and is not ready for N ms
// --ignore-term   SIGTERM does nothing; otherwise it accepts what is waiting, answers it and exits with 0
// --exit-after N  exits with 0 after N answers, as a crash would: without looking at other connections
// --slow-ms N     takes one connection at a time, and N ms for its answer; at SIGTERM the rest is left
// waiting
// --no-notify     does not send READY=1 to NOTIFY_SOCKET
// --backlog N     at SIGUSR1 it calls listen(2) with this backlog
// --beat-ms N     says WATCHDOG=1 every N ms, and that it is late after four times that …
// --mute FILE     … but not while this file is there
// --unwell FILE   answers 503 while this file is there
// --count         prints "PID answer N" behind its Nth answer, and "PID end N" at its end
// One thread, ppoll(2); at most kConnectionsMax connections at once, the rest waits in the backlog.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kConnectionsMax = 256;
constexpr std::size_t kRequestMax = 16384;
constexpr milliseconds kDrainTime{1000};  // for requests of connections that were accepted before the drain

struct Options {
  int fd = -1;
  int port = 0;
  milliseconds boot{0};
  milliseconds beat{0};
  std::string mute;
  std::string unwell;
  long exit_after = -1;
  int backlog = -1;
  milliseconds slow{0};
  bool ignore_term = false;
  bool notify = true;
  bool count = false;
};

struct Connection {
  int fd = -1;
  std::string in;
};

volatile sig_atomic_t g_terminated = 0;
volatile sig_atomic_t g_asked = 0;  // by SIGUSR1

void on_signal(int number) { (number == SIGTERM ? g_terminated : g_asked) = 1; }

[[noreturn]] void usage(const char* what) {
  std::fprintf(stderr, "t_http: %s\n", what);
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    const bool takes_value = name == "--fd" || name == "--port" || name == "--boot-ms" ||
                             name == "--exit-after" || name == "--slow-ms" || name == "--backlog" ||
                             name == "--beat-ms" || name == "--mute" || name == "--unwell";
    if (takes_value && i + 1 == argc) usage("a value is missing");
    const char* text = takes_value ? argv[++i] : "";
    const long value = std::strtol(text, nullptr, 10);
    if (name == "--fd") {
      o.fd = static_cast<int>(value);
    } else if (name == "--port") {
      o.port = static_cast<int>(value);
    } else if (name == "--boot-ms") {
      o.boot = milliseconds(value);
    } else if (name == "--beat-ms") {
      o.beat = milliseconds(value);
    } else if (name == "--mute") {
      o.mute = text;
    } else if (name == "--unwell") {
      o.unwell = text;
    } else if (name == "--exit-after") {
      o.exit_after = value;
    } else if (name == "--backlog") {
      o.backlog = static_cast<int>(value);
    } else if (name == "--slow-ms") {
      o.slow = milliseconds(value);
    } else if (name == "--ignore-term") {
      o.ignore_term = true;
    } else if (name == "--no-notify") {
      o.notify = false;
    } else if (name == "--count") {
      o.count = true;
    } else {
      usage("unknown argument");
    }
  }
  if ((o.fd < 0) == (o.port == 0)) usage("one of --fd and --port");
  return o;
}

// As sd_notify(3) says.
void say(const std::string& text) {
  const char* name = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (name == nullptr || std::strlen(name) >= sizeof address.sun_path) return;
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, name);
  socklen_t size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(name));
  if (name[0] == '@') address.sun_path[0] = '\0';
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  if (sendto(fd, text.data(), text.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address), size) < 0) {
    std::perror("t_http: NOTIFY_SOCKET");
  }
  close(fd);
}

int bind_port(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(fd, SOMAXCONN) != 0) {
    std::perror("t_http: bind");
    std::exit(1);
  }
  return fd;
}

const char* variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "-";
}

bool is_there(const std::string& file) { return !file.empty() && access(file.c_str(), F_OK) == 0; }

void answer(int fd, const Options& options) {
  const std::string body = std::to_string(getpid()) + " " + variable("RUNMAIN_GENERATION") + " " +
                           variable("RUNMAIN_WORKER") + "\n";
  const std::string out = std::string(is_there(options.unwell) ? "HTTP/1.1 503 Unwell" : "HTTP/1.1 200 OK") +
                          "\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
                          "\r\nConnection: close\r\n\r\n" + body;
  // A fresh socket's buffer has room for these few bytes.
  if (send(fd, out.data(), out.size(), MSG_NOSIGNAL) < 0) std::perror("t_http: send");
}

class Server {
 public:
  explicit Server(const Options& options) : options_(options) {}

  // Until the drain is over or the answers are given. Signals are let in only while it waits.
  void run(const sigset_t& while_waiting) {
    serve_all(while_waiting);
    if (options_.count) print("end");
  }

 private:
  void serve_all(const sigset_t& while_waiting) {
    const auto ready_at = Clock::now() + options_.boot;
    while (!finished()) {
      const bool booting = !ready_ && Clock::now() < ready_at;
      if (!booting && !ready_) become_ready();
      if (g_terminated != 0 && !draining_) begin_drain();
      if (g_asked != 0 && listen(options_.fd, options_.backlog) != 0) std::perror("t_http: listen");
      g_asked = 0;
      if (finished()) return;
      const auto next = booting ? ready_at : draining_ ? drain_end_ : Clock::time_point::max();
      turn(std::min(next, next_beat()), while_waiting);
    }
  }

  bool finished() const {
    if (options_.exit_after >= 0 && answers_ >= options_.exit_after) return true;
    return draining_ && (connections_.empty() || Clock::now() >= drain_end_);
  }

  void become_ready() {
    ready_ = true;
    if (options_.port != 0) options_.fd = bind_port(options_.port);
    next_beat();  // who is ready has its watchdog
    if (options_.notify) say("READY=1");
  }

  // Says what is due of it.
  Clock::time_point next_beat() {
    if (options_.beat == milliseconds(0)) return Clock::time_point::max();
    const auto now = Clock::now();
    if (now < beat_at_) return beat_at_;
    const bool first = beat_at_ == Clock::time_point();
    if (first) say("WATCHDOG_USEC=" + std::to_string(options_.beat.count() * 4000));
    if (!first && !is_there(options_.mute)) say("WATCHDOG=1");
    beat_at_ = now + options_.beat;
    return beat_at_;
  }

  void begin_drain() {
    draining_ = true;
    drain_end_ = Clock::now() + kDrainTime;
    if (ready_ && options_.slow.count() == 0) accept_all();
  }

  std::size_t room() const { return options_.slow.count() > 0 ? 1 : kConnectionsMax; }

  // Waits for something to happen, or for `until`, and answers.
  void turn(Clock::time_point until, const sigset_t& mask) {
    const bool has_end = until != Clock::time_point::max();
    std::vector<pollfd> polled;
    for (const Connection& c : connections_) polled.push_back({c.fd, POLLIN, 0});
    const bool accepts = ready_ && !draining_ && connections_.size() < room();
    if (accepts) polled.push_back({options_.fd, POLLIN, 0});
    timespec left{};
    if (has_end) {
      const auto ns = std::max<long long>((until - Clock::now()).count(), 0);
      left = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
    }
    if (ppoll(polled.data(), polled.size(), has_end ? &left : nullptr, &mask) <= 0) return;
    for (std::size_t i = connections_.size(); i-- > 0;) {
      if (polled[i].revents != 0 && serve(connections_[i])) {
        connections_.erase(connections_.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
    if (accepts && polled.back().revents != 0) accept_all();
  }

  void accept_all() {
    while (connections_.size() < room()) {
      const int fd = accept4(options_.fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
      if (fd < 0) return;
      connections_.push_back({fd, {}});
    }
  }

  // True if the connection is done with and closed.
  bool serve(Connection& c) {
    char buffer[4096];
    const ssize_t n = recv(c.fd, buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (n > 0) c.in.append(buffer, static_cast<std::size_t>(n));
    const bool whole = c.in.find("\r\n\r\n") != std::string::npos;
    if (n > 0 && !whole && c.in.size() < kRequestMax) return false;
    if (whole) {
      const auto ns = std::chrono::nanoseconds(options_.slow).count();
      const timespec work{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
      if (ns > 0) nanosleep(&work, nullptr);
      answer(c.fd, options_);
      ++answers_;
      if (options_.count) print("answer");
    }
    close(c.fd);
    return true;
  }

  void print(const char* what) const {
    const std::string line = std::to_string(getpid()) + " " + what + " " + std::to_string(answers_) + "\n";
    if (write(STDOUT_FILENO, line.data(), line.size()) < 0) std::perror("t_http: write");
  }

  Options options_;
  std::vector<Connection> connections_;
  Clock::time_point drain_end_;
  Clock::time_point beat_at_;
  long answers_ = 0;
  bool ready_ = false;
  bool draining_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  if (options.fd >= 0) fcntl(options.fd, F_SETFL, fcntl(options.fd, F_GETFL) | O_NONBLOCK);
  sigset_t signals;
  sigset_t while_waiting;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  if (options.backlog >= 0) sigaddset(&signals, SIGUSR1);
  sigprocmask(SIG_BLOCK, &signals, &while_waiting);
  sigdelset(&while_waiting, SIGTERM);
  sigdelset(&while_waiting, SIGUSR1);
  struct sigaction action {};
  action.sa_handler = options.ignore_term ? SIG_IGN : on_signal;
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = on_signal;
  if (options.backlog >= 0) sigaction(SIGUSR1, &action, nullptr);
  Server(options).run(while_waiting);
  return 0;
}
