#include "http_load.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>

namespace runmain::test {
namespace {

Answered fault(const std::string& what) { return {false, what + ": " + std::strerror(errno), {}, 0}; }

Answered exchange(int fd, const std::string& path, const std::string& accept) {
  const std::string request =
      "GET " + path + " HTTP/1.1\r\nHost: test\r\nAccept: " + accept + "\r\nConnection: close\r\n\r\n";
  if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
    return fault("send");
  std::string answer;
  char buffer[4096];
  for (;;) {
    const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n < 0) return fault("recv");
    if (n == 0) break;
    answer.append(buffer, static_cast<std::size_t>(n));
  }
  if (answer.empty()) return {false, "empty answer", {}, 0};
  const std::size_t body = answer.find("\r\n\r\n");
  if (answer.size() < 12 || body == std::string::npos) return {false, "torn answer", {}, 0};
  const bool ok = answer.starts_with("HTTP/1.1 200");
  return {ok, ok ? "" : "status " + answer.substr(9, 3), answer.substr(body + 4), 0};
}

// One answer of a connection that stays open: to the length that its head says. `more`: it does stay open.
Answered read_answer(int fd, bool& more) {
  std::string answer;
  char buffer[4096];
  for (;;) {
    const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n < 0) return fault("recv");
    if (n == 0) return {false, answer.empty() ? "empty answer" : "torn answer", {}, 0};
    answer.append(buffer, static_cast<std::size_t>(n));
    const std::size_t end = answer.find("\r\n\r\n");
    if (end == std::string::npos) continue;
    std::string head = answer.substr(0, end + 2);
    for (char& c : head) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const std::size_t length = head.find("\r\ncontent-length:");
    if (length == std::string::npos) return {false, "no length", {}, 0};
    if (answer.size() < end + 4 + std::strtoul(head.c_str() + length + 17, nullptr, 10)) continue;
    more = head.find("\r\nconnection: close\r\n") == std::string::npos;
    const bool ok = answer.starts_with("HTTP/1.1 200");
    return {ok, ok ? "" : "status " + answer.substr(9, 3), answer.substr(end + 4), 0};
  }
}

// Whether the server has closed it, or said something that nobody asked for.
bool spoken(int fd) {
  char byte = 0;
  return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

}  // namespace

int connect_to(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(std::atoi(address.c_str() + colon + 1)));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval limit{30, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return fd;
  const int why = errno;
  close(fd);
  errno = why;
  return -1;
}

Answered get(const std::string& address, const std::string& path, const std::string& accept) {
  const auto begin = std::chrono::steady_clock::now();
  const int fd = connect_to(address);
  Answered answered = fd < 0 ? fault("connect") : exchange(fd, path, accept);
  if (fd >= 0) close(fd);
  answered.ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  return answered;
}

EventStream::EventStream(const std::string& address, const std::string& path) : fd_(connect_to(address)) {
  const std::string request = "GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n";
  if (fd_ >= 0) (void)!send(fd_, request.data(), request.size(), MSG_NOSIGNAL);
}

EventStream::~EventStream() {
  if (fd_ >= 0) close(fd_);
}

std::string EventStream::next() {
  for (;;) {
    const std::size_t at = text_.find("data: ");
    const std::size_t end = at == std::string::npos ? at : text_.find("\n\n", at);
    if (end != std::string::npos) {
      std::string data = text_.substr(at + 6, end - at - 6);
      text_.erase(0, end + 2);
      return data;
    }
    char buffer[4096];
    const ssize_t n = fd_ < 0 ? -1 : recv(fd_, buffer, sizeof buffer, 0);
    if (n <= 0) return {};
    text_.append(buffer, static_cast<std::size_t>(n));
  }
}

bool EventStream::has_more() {
  char buffer[4096];
  const ssize_t n = fd_ < 0 ? 0 : recv(fd_, buffer, sizeof buffer, MSG_DONTWAIT);
  if (n > 0) text_.append(buffer, static_cast<std::size_t>(n));
  return n == 0 || text_.find("data: ") != std::string::npos;
}

HttpLoad::HttpLoad(std::string address, int clients, std::string path, Connections connections)
    : address_(std::move(address)), path_(std::move(path)), connections_(connections) {
  for (int i = 0; i < clients; ++i) threads_.emplace_back([this] { client(); });
}

// A request on the connection `fd`, which is made if there is none (-1) and closed if it does not stay open.
Answered HttpLoad::ask(int& fd) const {
  const auto begin = std::chrono::steady_clock::now();
  if (fd >= 0 && spoken(fd)) {
    close(fd);
    fd = -1;
  }
  if (fd < 0) fd = connect_to(address_);
  if (fd < 0) return fault("connect");
  const std::string request = "GET " + path_ + " HTTP/1.1\r\nHost: test\r\n\r\n";
  bool more = false;
  const bool sent =
      send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size());
  Answered answered = sent ? read_answer(fd, more) : fault("send");
  if (!more) {
    close(fd);
    fd = -1;
  }
  answered.ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  return answered;
}

void HttpLoad::client() {
  int fd = -1;
  while (!stop_) {
    const Answered answered = connections_ == Connections::each ? get(address_, path_) : ask(fd);
    ++done_;
    double longest = longest_;
    while (answered.ms > longest && !longest_.compare_exchange_weak(longest, answered.ms)) {
    }
    if (answered.ok) continue;
    ++failed_;
    const std::lock_guard<std::mutex> lock(mutex_);
    ++faults_[answered.fault];
  }
  if (fd >= 0) close(fd);
}

void HttpLoad::wait_more(std::uint64_t requests) const {
  const std::uint64_t goal = done_ + requests;
  while (done_ < goal) std::this_thread::yield();
}

void HttpLoad::stop() {
  stop_ = true;
  for (std::thread& t : threads_) t.join();
  threads_.clear();
}

std::map<std::string, int> HttpLoad::faults() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return faults_;
}

}  // namespace runmain::test
