// Clients that open a new connection for each request, or keep one, and count what goes wrong, by kind. For
// integration tests and benchmarks: bounded in clients, stopped by its owner.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace runmain::test {

struct Answered {
  bool ok = false;
  std::string fault;  // "connect: Connection refused", "empty answer", "status 500"
  std::string body;
  double ms = 0;
};

// One GET on a new connection; `address` is "127.0.0.1:8000", `accept` a media type. At most 30 s.
Answered get(const std::string& address, const std::string& path, const std::string& accept = "*/*");

// A connection to "127.0.0.1:8000", or -1 and errno. A read from it lasts at most 30 s. The caller's to
// close.
int connect_to(const std::string& address);

// Server-sent events of one GET, as they come.
class EventStream {
 public:
  EventStream(const std::string& address, const std::string& path);
  ~EventStream();
  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;
  // The data of the next event; empty when the stream has ended or nothing comes for 30 s.
  std::string next();
  // Whether another event, or the end of the stream, is here already.
  bool has_more();

 private:
  int fd_ = -1;
  std::string text_;
};

// keep: one connection a client, for as long as the server leaves it open. That it is closed between two
// requests is no fault; that it is closed once a request is sent is one.
enum class Connections { each, keep };

class HttpLoad {
 public:
  HttpLoad(std::string address, int clients, std::string path = "/", Connections connections = {});
  ~HttpLoad() { stop(); }
  void stop();
  // Blocks until so many more requests have been answered.
  void wait_more(std::uint64_t requests) const;
  std::uint64_t done() const { return done_; }
  std::uint64_t failed() const { return failed_; }
  double longest_ms() const { return longest_; }
  std::map<std::string, int> faults() const;

 private:
  void client();
  Answered ask(int& fd) const;
  std::string address_;
  std::string path_;
  Connections connections_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> done_{0};
  std::atomic<std::uint64_t> failed_{0};
  std::atomic<double> longest_{0};
  mutable std::mutex mutex_;
  std::map<std::string, int> faults_;
  std::vector<std::thread> threads_;
};

}  // namespace runmain::test
