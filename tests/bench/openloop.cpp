// openloop: a load of HTTP GETs at a fixed rate, and what became of each. For tests/bench/pools and by hand.
//
//   openloop --to HOST:PORT [--path /] [--rate 400] [--seconds 10] [--mode new|keep] [--connections 32]
//            [--timeout-ms 15000] [--seen]
//
// Open loop: every request has a time at which it is due, whether or not the ones before it are answered, and
// its latency counts from then; a server that stops for a second is seen by all that were due in it.
// --mode new   a connection for each request ("Connection: close")
// --mode keep  --connections of them, kept, the one that was idle longest first; a request that finds none
// idle
//              waits. A connection that the server closes while it is idle is no loss; a request that
//              was sent on one that is closed or reset before the answer is.
// --seen       a line "seen WORD NANOSECONDS" (CLOCK_MONOTONIC) at the first and after 100 ms without it at
//              each next answer whose body begins with this word
// SIGTERM or SIGINT ends the load early; what is in flight is waited for. Then one line of JSON: requests,
// ok, lost by kind, latency in ms, the longest time without an answer. One thread; bounded by
// kConnectionsMax, kRequestsMax, --seconds and --timeout-ms.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace {

using Ns = std::int64_t;

constexpr std::size_t kConnectionsMax = 8192;
constexpr std::size_t kRequestsMax = 4'000'000;
constexpr std::size_t kAnswerMax = 65536;
constexpr std::size_t kWordsMax = 4096;  // of --seen
constexpr Ns kMs = 1'000'000;
constexpr Ns kSeenAgain = 100 * kMs;
constexpr std::uint64_t kTimerKey = 0;
constexpr std::uint64_t kSignalKey = 1;
constexpr std::uint64_t kFirstKey = 2;

Ns now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

struct Options {
  std::string to;
  std::string path = "/";
  double rate = 400;
  double seconds = 10;
  bool keep = false;
  std::size_t connections = 32;
  Ns timeout = 15'000 * kMs;
  bool seen = false;
};

[[noreturn]] void usage(const std::string& what) {
  std::fprintf(stderr,
               "openloop: %s\nusage: openloop --to HOST:PORT [--path /] [--rate N] [--seconds N] [--mode "
               "new|keep] [--connections N] [--timeout-ms N] [--seen]\n",
               what.c_str());
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--seen") {
      o.seen = true;
      continue;
    }
    if (++i == argc) usage(std::string(name) + " needs a value");
    const std::string value = argv[i];
    if (name == "--to") {
      o.to = value;
    } else if (name == "--path") {
      o.path = value;
    } else if (name == "--rate") {
      o.rate = std::strtod(value.c_str(), nullptr);
    } else if (name == "--seconds") {
      o.seconds = std::strtod(value.c_str(), nullptr);
    } else if (name == "--mode") {
      if (value != "new" && value != "keep") usage("--mode is new or keep");
      o.keep = value == "keep";
    } else if (name == "--connections") {
      o.connections = static_cast<std::size_t>(std::strtoul(value.c_str(), nullptr, 10));
    } else if (name == "--timeout-ms") {
      o.timeout = std::strtol(value.c_str(), nullptr, 10) * kMs;
    } else {
      usage("unknown argument: " + std::string(name));
    }
  }
  if (o.to.rfind(':') == std::string::npos) usage("--to HOST:PORT is needed");
  if (o.rate <= 0 || o.seconds <= 0 || o.timeout <= 0 || o.connections == 0) usage("only positive numbers");
  if (o.rate * o.seconds > kRequestsMax) usage("too many requests");
  o.connections = std::min(o.connections, kConnectionsMax);
  return o;
}

struct Connection {
  int fd = -1;
  bool connecting = true;
  bool busy = true;     // a request is on it
  bool reused = false;  // … not the first one
  Ns due = 0;
  std::size_t sent = 0;
  std::string in;
};

// Whether `in` is a whole answer; `by_end`: its end is the connection's.
struct Head {
  bool complete = false;  // the head is there
  bool whole = false;
  bool close = false;
  bool by_end = false;
  int status = 0;
  std::size_t body_at = 0;
};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

Head look(const std::string& in) {
  Head h;
  const std::size_t end = in.find("\r\n\r\n");
  if (end == std::string::npos || in.size() < 12) return h;
  h.complete = true;
  h.body_at = end + 4;
  h.status = std::atoi(in.c_str() + 9);
  std::string head = in.substr(0, end + 2);
  std::transform(head.begin(), head.end(), head.begin(), lower);
  h.close = head.find("\r\nconnection: close\r\n") != std::string::npos;
  const std::size_t length = head.find("\r\ncontent-length:");
  if (length != std::string::npos) {
    h.whole = in.size() - h.body_at >= std::strtoul(head.c_str() + length + 17, nullptr, 10);
  } else if (head.find("\r\ntransfer-encoding: chunked\r\n") != std::string::npos) {
    h.whole = in.size() >= h.body_at + 5 && in.compare(in.size() - 5, 5, "0\r\n\r\n") == 0;
  } else {
    h.by_end = true;
  }
  return h;
}

class Load {
 public:
  explicit Load(const Options& options) : options_(options) {
    const std::size_t colon = options.to.rfind(':');
    to_.sin_family = AF_INET;
    to_.sin_port = htons(static_cast<std::uint16_t>(std::atoi(options.to.c_str() + colon + 1)));
    if (inet_pton(AF_INET, options.to.substr(0, colon).c_str(), &to_.sin_addr) != 1) usage("--to: no IPv4");
    request_ = "GET " + options.path + " HTTP/1.1\r\nHost: " + options.to +
               (options.keep ? "\r\nConnection: keep-alive\r\n\r\n" : "\r\nConnection: close\r\n\r\n");
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    signals_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    watch(timer_, EPOLLIN, kTimerKey, EPOLL_CTL_ADD);
    watch(signals_, EPOLLIN, kSignalKey, EPOLL_CTL_ADD);
  }

  void run() {
    begin_ = last_answer_ = now_ns();
    const Ns end = begin_ + static_cast<Ns>(options_.seconds * 1e9);
    const double gap = 1e9 / options_.rate;
    epoll_event events[256];
    for (;;) {
      // What has come is looked at before the next one is sent: a client sees that its connection was closed.
      const int n = epoll_wait(epoll_, events, 256, 0);
      for (int i = 0; i < n; ++i) on_event(events[i].data.u64, events[i].events);
      const Ns now = now_ns();
      stopped_ = stopped_ || now >= end;
      Ns next = begin_ + static_cast<Ns>(static_cast<double>(made_) * gap);
      while (!stopped_ && next <= now) {
        waiting_.push_back(next);
        next = begin_ + static_cast<Ns>(static_cast<double>(++made_) * gap);
      }
      while (!waiting_.empty() && send_one(waiting_.front())) waiting_.pop_front();
      expire(now);
      if (stopped_ && waiting_.empty() && busy_ == 0) return;
      if (n == 256) continue;
      wait_until(stopped_ ? now + 10 * kMs : next);
    }
  }

  void report() {
    std::sort(ms_.begin(), ms_.end());
    const auto at = [&](double part) {
      return ms_.empty() ? 0.0 : ms_[std::min(ms_.size() - 1, static_cast<std::size_t>(ms_.size() * part))];
    };
    std::printf("{\"requests\":%zu,\"ok\":%zu,\"lost\":%zu,\"kinds\":{", made_, ms_.size(), lost_);
    const char* comma = "";
    for (const auto& [kind, count] : kinds_) {
      std::printf("%s\"%s\":%zu", comma, kind.c_str(), count);
      comma = ",";
    }
    std::printf(
        "},\"connections\":%zu,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"p999_ms\":%.2f,\"longest_ms\":%.1f,"
        "\"longest_gap_ms\":%.1f,\"seconds\":%.1f}\n",
        opened_, at(0.5), at(0.99), at(0.999), at(1), static_cast<double>(longest_gap_) / 1e6,
        static_cast<double>(now_ns() - begin_) / 1e9);
  }

 private:
  void watch(int fd, std::uint32_t events, std::uint64_t key, int how) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = key;
    epoll_ctl(epoll_, how, fd, &event);
  }

  // Blocks until something happens or this time has come.
  void wait_until(Ns when) {
    itimerspec t{};
    t.it_value.tv_sec = when / 1'000'000'000;
    t.it_value.tv_nsec = when % 1'000'000'000;
    timerfd_settime(timer_, TFD_TIMER_ABSTIME, &t, nullptr);
    epoll_event event;
    epoll_wait(epoll_, &event, 1, -1);  // level-triggered: the loop takes it
  }

  void lose(const std::string& kind, bool reused) {
    ++lost_;
    ++kinds_[kind + (reused ? " (reused)" : "")];
  }

  // False: there is no connection for it now.
  bool send_one(Ns due) {
    const bool room = connections_.size() < (options_.keep ? options_.connections : kConnectionsMax);
    while (!room && !idle_.empty()) {
      const std::uint64_t key = idle_.front();
      idle_.pop_front();
      const auto found = connections_.find(key);
      if (found == connections_.end()) continue;  // closed meanwhile
      Connection& c = found->second;
      c.busy = c.reused = true;
      c.due = due;
      c.sent = 0;
      ++busy_;
      deadlines_.emplace_back(due, key);
      write_some(key, c);
      return true;
    }
    if (!room) return false;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return false;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ++opened_;
    if (connect(fd, reinterpret_cast<const sockaddr*>(&to_), sizeof to_) != 0 && errno != EINPROGRESS) {
      lose(errno == ECONNREFUSED ? "refused" : std::string("connect: ") + std::strerror(errno), false);
      close(fd);
      return true;
    }
    const std::uint64_t key = next_key_++;
    Connection& c = connections_[key];
    c.fd = fd;
    c.due = due;
    ++busy_;
    deadlines_.emplace_back(due, key);
    watch(fd, EPOLLOUT, key, EPOLL_CTL_ADD);
    return true;
  }

  void drop(std::uint64_t key, Connection& c) {
    if (c.busy) --busy_;
    close(c.fd);
    connections_.erase(key);
  }

  void fail(std::uint64_t key, Connection& c, const std::string& kind) {
    lose(kind, c.reused);
    drop(key, c);
  }

  void write_some(std::uint64_t key, Connection& c) {
    while (c.sent < request_.size()) {
      const ssize_t n = send(c.fd, request_.data() + c.sent, request_.size() - c.sent, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) {
        watch(c.fd, EPOLLOUT, key, EPOLL_CTL_MOD);
        return;
      }
      if (n < 0) {
        fail(key, c, errno == ECONNRESET ? "reset" : errno == EPIPE ? "closed" : std::strerror(errno));
        return;
      }
      c.sent += static_cast<std::size_t>(n);
    }
    watch(c.fd, EPOLLIN, key, EPOLL_CTL_MOD);
  }

  void on_event(std::uint64_t key, std::uint32_t events) {
    if (key == kTimerKey) {
      std::uint64_t count;
      (void)!read(timer_, &count, sizeof count);
      return;
    }
    if (key == kSignalKey) {
      signalfd_siginfo info{};
      (void)!read(signals_, &info, sizeof info);
      stopped_ = true;
      return;
    }
    const auto found = connections_.find(key);
    if (found == connections_.end()) return;
    Connection& c = found->second;
    if (c.connecting) {
      int code = 0;
      socklen_t size = sizeof code;
      getsockopt(c.fd, SOL_SOCKET, SO_ERROR, &code, &size);
      if (code != 0) {
        fail(key, c, code == ECONNREFUSED ? "refused" : std::string("connect: ") + std::strerror(code));
        return;
      }
      c.connecting = false;
      write_some(key, c);
    } else if ((events & EPOLLOUT) != 0 && c.sent < request_.size()) {
      write_some(key, c);
    } else {
      read_some(key, c);
    }
  }

  void read_some(std::uint64_t key, Connection& c) {
    char buffer[8192];
    for (;;) {
      const ssize_t n = recv(c.fd, buffer, sizeof buffer, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) {
        ended(key, c, n < 0 ? errno : 0);
        return;
      }
      c.in.append(buffer, static_cast<std::size_t>(n));
      if (c.in.size() > kAnswerMax) {
        fail(key, c, "answer too long");
        return;
      }
      const Head head = look(c.in);
      if (head.whole) {
        answered(key, c, head);
        return;
      }
    }
  }

  void ended(std::uint64_t key, Connection& c, int code) {
    if (!c.busy) {
      drop(key, c);  // closed while idle
      return;
    }
    const Head head = look(c.in);
    if (code == 0 && head.by_end) {
      answered(key, c, head);
    } else if (code != 0) {
      fail(key, c, code == ECONNRESET ? "reset" : std::strerror(code));
    } else {
      fail(key, c, c.in.empty() ? "eof before answer" : "eof within answer");
    }
  }

  void answered(std::uint64_t key, Connection& c, const Head& head) {
    const Ns now = now_ns();
    longest_gap_ = std::max(longest_gap_, now - last_answer_);
    last_answer_ = now;
    if (options_.seen) see(c.in.substr(head.body_at), now);
    if (head.status == 200) {
      ms_.push_back(static_cast<float>(static_cast<double>(now - c.due) / 1e6));
    } else {
      lose("status " + std::to_string(head.status), false);
    }
    if (!options_.keep || head.close || head.by_end) {
      drop(key, c);
      return;
    }
    c.in.clear();
    c.busy = false;
    --busy_;
    idle_.push_back(key);
  }

  void see(const std::string& body, Ns now) {
    const std::string word = body.substr(0, body.find_first_of(" \r\n"));
    if (words_.size() >= kWordsMax && words_.count(word) == 0) return;
    Ns& last = words_[word];
    if (last == 0 || now - last > kSeenAgain) {
      std::printf("seen %s %lld\n", word.c_str(), static_cast<long long>(now));
      std::fflush(stdout);
    }
    last = now;
  }

  void expire(Ns now) {
    while (!deadlines_.empty() && deadlines_.front().first + options_.timeout <= now) {
      const auto [due, key] = deadlines_.front();
      deadlines_.pop_front();
      const auto found = connections_.find(key);
      if (found == connections_.end() || !found->second.busy || found->second.due != due) continue;
      fail(key, found->second, "timeout");
    }
    while (!waiting_.empty() && waiting_.front() + options_.timeout <= now) {
      lose("timeout", false);
      waiting_.pop_front();
    }
  }

  Options options_;
  sockaddr_in to_{};
  std::string request_;
  int epoll_ = -1;
  int timer_ = -1;
  int signals_ = -1;
  Ns begin_ = 0;
  Ns last_answer_ = 0;
  Ns longest_gap_ = 0;
  bool stopped_ = false;
  std::size_t made_ = 0;
  std::size_t busy_ = 0;
  std::size_t lost_ = 0;
  std::size_t opened_ = 0;
  std::uint64_t next_key_ = kFirstKey;
  std::deque<Ns> waiting_;                              // due times without a connection
  std::deque<std::pair<Ns, std::uint64_t>> deadlines_;  // due times of what was sent, with the connection
  std::deque<std::uint64_t> idle_;
  std::unordered_map<std::uint64_t, Connection> connections_;
  std::map<std::string, std::size_t> kinds_;
  std::map<std::string, Ns> words_;
  std::vector<float> ms_;
};

}  // namespace

int main(int argc, char** argv) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = std::min<rlim_t>(files.rlim_max, kConnectionsMax + 64);
  setrlimit(RLIMIT_NOFILE, &files);
  Load load(parse(argc, argv));
  load.run();
  load.report();
  return 0;
}
