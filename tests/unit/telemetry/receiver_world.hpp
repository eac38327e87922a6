// A receiver on a free port, what it has taken, and clients of it that are played in the same thread.
#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/identity.hpp"
#include "spans.hpp"
#include "support/catch.hpp"
#include "telemetry/receiver.hpp"

namespace runmain::telemetry::test::receiving {

inline const std::string kSecret = "0123456789abcdef";
inline const ChildKey kWorker{ServiceId{3}, 1, 4, 2};
inline const ChildKey kOther{ServiceId{3}, 2, 4, 1};
inline constexpr Duration kPatience = std::chrono::seconds(20);

struct Listener {
  os::UniqueFd fd;
  std::uint16_t port = 0;

  Listener() : fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(listen(fd.get(), SOMAXCONN) == 0);
    socklen_t size = sizeof address;
    REQUIRE(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port = ntohs(address.sin_port);
  }
};

// Keeps what it takes; saves at once, or when the test says.
struct World {
  struct Seen {
    ChildKey worker;
    Signal signal;
    std::vector<std::string> items;
    std::uint64_t invalid;
    std::uint64_t connection;
    std::uint64_t request;
  };

  os::Loop loop;
  Listener listener;
  std::vector<Seen> seen;
  std::vector<std::function<void()>> unsaved;
  bool full = false;
  bool saves_at_once = true;
  Receiver receiver;

  explicit World(ReceiverLimits limits = {})
      : receiver(
            loop, os::UniqueFd(dup(listener.fd.get())), kSecret,
            [this](const Received& r, std::function<void()> saved) { return take(r, std::move(saved)); },
            limits) {}

  Taken take(const Received& r, std::function<void()> saved) {
    if (full) return Taken::full;
    Seen one{r.worker, r.signal, {}, r.invalid, r.connection, r.request};
    for (const Item& item : r.items) one.items.emplace_back(item.bytes);
    seen.push_back(std::move(one));
    if (saves_at_once) {
      saved();
    } else {
      unsaved.push_back(std::move(saved));
    }
    return Taken::ok;
  }
  template <class Fact>
  bool until(const Fact& fact) {
    const Time end = os::Loop::now() + kPatience;
    bool holds = fact();
    while (!holds && os::Loop::now() < end) {
      loop.turn(std::chrono::milliseconds(5));
      holds = fact();
    }
    return holds;
  }
  // What is on its way has come, and what it makes has been done.
  void settle() {
    for (int i = 0; i < 5; ++i) loop.turn(std::chrono::milliseconds(2));
  }
};

class Peer {
 public:
  explicit Peer(World& world) : world_(world), fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(world.listener.port);
    REQUIRE(connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(os::set_nonblocking(fd_.get(), true).ok());
  }
  void say(std::string_view text) {
    const Time end = os::Loop::now() + kPatience;
    while (!text.empty() && os::Loop::now() < end) {
      const ssize_t n = send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (n > 0) text.remove_prefix(static_cast<std::size_t>(n));
      if (n < 0 && errno != EAGAIN) break;
      if (n < 0) world_.loop.turn(std::chrono::milliseconds(1));
    }
    CHECK(text.empty());
  }
  void finish() { shutdown(fd_.get(), SHUT_WR); }
  // The next answer: head and body; what came until the end, if it ends.
  std::string hear() {
    std::string answer;
    CHECK(world_.until([&] {
      read_some();
      return cut(answer) || ended_;
    }));
    if (answer.empty()) answer.swap(text_);
    return answer;
  }
  bool hears_nothing() {
    world_.settle();
    read_some();
    return text_.empty() && !ended_;
  }
  bool ended() {
    return world_.until([&] {
      read_some();
      return ended_;
    });
  }

 private:
  void read_some() {
    char buffer[4096];
    ssize_t n = 0;
    while ((n = recv(fd_.get(), buffer, sizeof buffer, 0)) > 0)
      text_.append(buffer, static_cast<std::size_t>(n));
    if (n == 0 || errno != EAGAIN) ended_ = true;
  }
  bool cut(std::string& answer) {
    const std::size_t head = text_.find("\r\n\r\n");
    if (head == std::string::npos) return false;
    std::size_t size = head + 4;
    const std::size_t field = text_.find("Content-Length: ");
    if (field < head) size += std::stoul(text_.substr(field + 16));
    if (text_.size() < size) return false;
    answer = text_.substr(0, size);
    text_.erase(0, size);
    return true;
  }

  World& world_;
  os::UniqueFd fd_;
  std::string text_;
  bool ended_ = false;
};

inline std::string spans_of(std::uint64_t from, std::uint64_t to) {
  std::vector<std::string> spans;
  for (std::uint64_t n = from; n < to; ++n) spans.push_back(span_number(n));
  return make_request(make_resource("web"), make_scope("lib"), spans);
}

inline std::string token_field(const ChildKey& worker = kWorker) {
  return "runmain-token: " + otlp_token(kSecret, worker) + "\r\n";
}

inline std::string post(const std::string& body, const std::string& fields = token_field(),
                        const std::string& path = "/v1/traces",
                        const std::string& type = "application/x-protobuf") {
  return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + type + "\r\n" + fields +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

inline bool is_200(const std::string& answer) { return answer.starts_with("HTTP/1.1 200 OK\r\n"); }

}  // namespace runmain::telemetry::test::receiving
