// Answers in place of a service that has no worker because its start has failed: 503 with the last lines of
// its output, to a browser as a page that reloads itself when a worker answers again.
//
// Invariant: it accepts only between open() and close(); after close() connections wait in the backlog for
// the next worker. Bounds: those of HttpServer. Thread: the loop's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "web/http_server.hpp"

namespace runmain::web {

struct Trouble {
  std::string service;
  std::string reason;              // "exited with status 1"
  std::vector<std::string> lines;  // as the service wrote them
};

// The answer to one request. HTML to who wants HTML, else plain text.
std::string trouble_answer(const Trouble& trouble, const HttpRequest& request);

class StandIn {
 public:
  // `trouble` is asked at each request.
  StandIn(os::Loop& loop, std::function<Trouble()> trouble) : loop_(loop), trouble_(std::move(trouble)) {}

  // Each a listening stream socket of the service.
  void open(std::vector<os::UniqueFd> listeners);
  void close();
  bool is_open() const { return open_; }

 private:
  os::Loop& loop_;
  std::function<Trouble()> trouble_;
  std::vector<std::unique_ptr<HttpServer>> servers_;
  bool open_ = false;
};

}  // namespace runmain::web
