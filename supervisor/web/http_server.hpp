// Answers HTTP requests on a listening socket, one a connection. Hostile or slow peers are dropped with
// bounds.
//
// Invariant: nothing blocks; a connection lives at most kHttpPatience until its request is there and as long
// again until its answer is taken, a kept one until its peer goes. Thread: the loop's. Non-goal: keep-alive.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "os/linux/fd.hpp"
#include "os/loop/loop.hpp"
#include "web/http.hpp"

namespace runmain::web {

inline constexpr Duration kHttpPatience = std::chrono::seconds(5);
inline constexpr std::size_t kHttpClientsMax = 64;         // further ones wait in the backlog
inline constexpr std::size_t kHttpPendingMax = 1U << 20U;  // bytes that a kept client has not taken

class HttpServer {
 public:
  struct Reply {
    std::string bytes;
    bool keep = false;  // the connection stays for push()
  };
  using Handler = std::function<Reply(const HttpRequest&)>;
  struct Counters {
    std::uint64_t answered = 0;
    std::uint64_t not_http = 0;
    std::uint64_t timed_out = 0;
    std::uint64_t dropped = 0;  // kept clients that did not read
  };

  // `listener` is non-blocking; it is closed with this, which ends nothing for others that have it.
  HttpServer(os::Loop& loop, os::UniqueFd listener, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Sends these bytes to every kept client.
  void push(const std::string& bytes);

  // Accepts no more and gives its listener back; connections that are there still get their answer.
  void retire();

  const Counters& counters() const { return counters_; }
  std::size_t clients() const { return clients_.size(); }

 private:
  struct Client;
  void accept_some();
  void on_ready(std::uint64_t number, int events);
  void read_some(Client& client);
  void answer(Client& client);
  void write_some(Client& client);
  void on_timer();
  void arm();

  os::Loop& loop_;
  os::UniqueFd listener_;
  Handler handler_;
  Counters counters_;
  std::uint64_t last_ = 0;
  std::map<std::uint64_t, std::unique_ptr<Client>> clients_;
  std::unique_ptr<os::Poll> accepting_;  // none once retired
  Time accept_again_{};
  std::unique_ptr<os::Timer> timer_;
};

}  // namespace runmain::web
