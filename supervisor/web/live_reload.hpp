// Pages that reload when a new generation serves: a script to put into a page, and the server-sent events
// (HTML Living Standard, 9.2) that it listens to.
//
//   GET /live.js   the script; it connects to where it came from
//   GET /events    "data: GENERATION" at once and whenever another one serves
//
// A page that reconnects sees by the number whether it missed a reload. Nothing secret is told. Thread: the
// loop's.
#pragma once

#include <cstdint>
#include <string>

#include "web/http_server.hpp"

namespace runmain::web {

class LiveReload {
 public:
  // `listener` is a loopback socket, non-blocking.
  LiveReload(os::Loop& loop, os::UniqueFd listener);

  // Another generation serves. `stamp` is different for each and the same for two heads of one runmain.
  void serves(const std::string& stamp);

 private:
  HttpServer::Reply answer(const HttpRequest& request) const;

  std::string stamp_ = "0";
  HttpServer server_;
};

}  // namespace runmain::web
