// A fake collector: one thread that accepts on loopback and does with each request what the test says.
#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "os/linux/fd.hpp"
#include "support/catch.hpp"

namespace runmain::telemetry::test {

class Collector {
 public:
  struct Seen {
    std::string head;
    std::string body;
    int connection = 0;  // the how-manyth
  };
  // The bytes to answer with; empty: closes the connection. `kSilence`: never answers.
  using Behave = std::function<std::string(const Seen& seen, std::size_t number)>;
  inline static const std::string kSilence = "silence";

  explicit Collector(Behave behave) : behave_(std::move(behave)) {
    listener_ = os::UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(listen(listener_.get(), SOMAXCONN) == 0);
    socklen_t size = sizeof address;
    REQUIRE(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    auto stop = os::make_socketpair(SOCK_STREAM);
    REQUIRE(stop.ok());
    stop_ = std::move(*stop);
    thread_ = std::thread([this] { serve(); });
  }
  ~Collector() {
    stop_.first.reset();
    thread_.join();
  }

  std::string url(const char* path = "/v1/traces") const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }
  std::vector<Seen> seen() const {
    const std::lock_guard lock(mutex_);
    return seen_;
  }

 private:
  struct Connection {
    os::UniqueFd fd;
    std::string in;
    int number = 0;
  };

  void serve() {
    std::vector<Connection> connections;
    int accepted = 0;
    for (;;) {
      std::vector<pollfd> fds{{stop_.second.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
      for (const Connection& c : connections) fds.push_back({c.fd.get(), POLLIN, 0});
      if (poll(fds.data(), fds.size(), -1) < 0) continue;
      if (fds[0].revents != 0) return;
      for (std::size_t i = connections.size(); i-- > 0;) {
        if (fds[i + 2].revents != 0 && !read_some(connections[i])) {
          connections.erase(connections.begin() + static_cast<std::ptrdiff_t>(i));
        }
      }
      if (fds[1].revents != 0) {
        connections.push_back(
            {os::UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)), {}, ++accepted});
      }
    }
  }

  bool read_some(Connection& c) {
    char buffer[65536];
    const ssize_t n = recv(c.fd.get(), buffer, sizeof buffer, 0);
    if (n <= 0) return false;
    c.in.append(buffer, static_cast<std::size_t>(n));
    const std::size_t head = c.in.find("\r\n\r\n");
    const std::size_t field = c.in.find("Content-Length: ");
    if (head == std::string::npos || field == std::string::npos) return true;
    const std::size_t length = std::stoul(c.in.substr(field + 16));
    if (c.in.size() < head + 4 + length) return true;
    const Seen seen{c.in.substr(0, head + 2), c.in.substr(head + 4, length), c.number};
    c.in.erase(0, head + 4 + length);
    std::size_t number = 0;
    {
      const std::lock_guard lock(mutex_);
      seen_.push_back(seen);
      number = seen_.size();
    }
    const std::string answer = behave_(seen, number);
    if (answer == kSilence) return true;
    return !answer.empty() && os::write_all(c.fd.get(), answer).ok();
  }

  Behave behave_;
  os::UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::pair<os::UniqueFd, os::UniqueFd> stop_;
  mutable std::mutex mutex_;
  std::vector<Seen> seen_;
  std::thread thread_;
};

inline std::string answer_text(const std::string& status, const std::string& fields,
                               const std::string& body) {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + fields +
         "\r\n" + body;
}

}  // namespace runmain::telemetry::test
