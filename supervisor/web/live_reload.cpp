#include "web/live_reload.hpp"

namespace runmain::web {
namespace {

// Only pages that are looked at hold a connection: browsers open six to one host, and the seventh tab would
// not even get its script. One that is looked at again hears which generation serves, and so what it has
// missed.
constexpr const char* kScript = R"((function () {
  const address = new URL("/events", document.currentScript.src);
  let seen = null;
  let events = null;
  function follow() {
    if (document.visibilityState === "hidden") {
      if (events !== null) events.close();
      events = null;
    } else if (events === null) {
      events = new EventSource(address);
      events.onmessage = function (message) {
        if (seen !== null && message.data !== seen) { events.close(); location.reload(); }
        seen = message.data;
      };
    }
  }
  document.addEventListener("visibilitychange", follow);
  follow();
})();
)";

// Any page of the developer's may listen: all that it learns is a number.
constexpr const char* kAnyOrigin = "Access-Control-Allow-Origin: *\r\n";

std::string event(const std::string& stamp) { return "data: " + stamp + "\n\n"; }

}  // namespace

LiveReload::LiveReload(os::Loop& loop, os::UniqueFd listener)
    : server_(loop, std::move(listener), [this](const HttpRequest& request) { return answer(request); }) {}

void LiveReload::serves(const std::string& stamp) {
  if (stamp == stamp_) return;
  stamp_ = stamp;
  server_.push(event(stamp_));
}

HttpServer::Reply LiveReload::answer(const HttpRequest& request) const {
  HttpAnswer answer;
  answer.fields = kAnyOrigin;
  const bool head = request.method == "HEAD";
  if (request.method != "GET" && !head) {
    answer.status = 405;
    answer.fields += "Allow: GET, HEAD\r\n";
  } else if (request.path == "/live.js") {
    answer.type = "text/javascript; charset=utf-8";
    answer.body = kScript;
  } else if (request.path == "/events" && !head) {
    return {std::string("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n") +
                kAnyOrigin + "\r\nretry: 300\n\n" + event(stamp_),
            true};
  } else if (request.path != "/events") {
    answer.status = 404;
    answer.body = "there is /live.js and /events\n";
  }
  return {to_bytes(answer, head), false};
}

}  // namespace runmain::web
