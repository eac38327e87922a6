// What the supervisor is told, over the channel and by sd_notify(3).
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string>

#include "child_runtime/child_runtime.hpp"
#include "fakes.hpp"
#include "support/catch.hpp"

using namespace fakes;

TEST_CASE("without a channel everything goes to NOTIFY_SOCKET, ready and stopping once") {
  Notify notify;
  Child child([&] {
    setenv("NOTIFY_SOCKET", notify.name().c_str(), 1);
    const bool told = runmain::ready() && runmain::ready() && runmain::status("two\nlines") &&
                      runmain::heartbeat() && runmain::extend_timeout(std::chrono::seconds(2)) &&
                      runmain::extend_timeout(std::chrono::seconds(-2)) && runmain::stopping() &&
                      runmain::stopping();
    return std::string(told ? "told" : "lost");
  });
  CHECK(notify.message() == "READY=1");
  CHECK(notify.message() == "STATUS=two lines");
  CHECK(notify.message() == "WATCHDOG=1");
  CHECK(notify.message() == "EXTEND_TIMEOUT_USEC=2000000");
  CHECK(notify.message() == "EXTEND_TIMEOUT_USEC=0");
  CHECK(notify.message() == "STOPPING=1");
  CHECK(child.finish() == "told");
  CHECK(notify.empty());
}

TEST_CASE("with a channel words go over it, and what has no line there still by NOTIFY_SOCKET") {
  Notify notify;
  Channel channel;
  Child child([&] {
    setenv("NOTIFY_SOCKET", notify.name().c_str(), 1);
    supervise(channel.name());
    runmain::serve();
    { const runmain::InFlight request; }
    const runmain::InFlight second;
    const bool told = runmain::ready() && runmain::ready() && runmain::status("a\n\"b\"") &&
                      runmain::heartbeat() && runmain::report_requests() && runmain::stopping() &&
                      runmain::stopping();
    return std::string(told ? "told" : "lost");
  });
  Peer peer = channel.accept();
  peer.line();
  CHECK(peer.send(role_line()));
  CHECK(peer.line() == R"({"v":1,"ready":true})");
  CHECK(peer.line() == "{\"v\":1,\"status\":\"a\\u000a\\\"b\\\"\"}");
  CHECK(peer.line() == R"({"v":1,"requests":{"done":1,"in_flight":1}})");
  CHECK(peer.line() == R"({"v":1,"stopping":true})");
  CHECK(peer.line() == "closed");
  CHECK(child.finish() == "told");
  CHECK(notify.message() == "WATCHDOG=1");
  CHECK(notify.empty());
}

TEST_CASE("a supervised process that reaches nobody is told so") {
  Child child([] {
    supervise("/nowhere/channel");
    const std::string nobody = std::to_string(runmain_ready());
    return nobody + " " + std::to_string(runmain_report_requests());
  });
  CHECK(child.finish() == std::to_string(-ENOTCONN) + " " + std::to_string(-ENOTCONN));
}

TEST_CASE("a NOTIFY_SOCKET that is none is an error, and ready can be said again") {
  const auto with_socket = [](const std::string& name) {
    Child child([&] {
      setenv("NOTIFY_SOCKET", name.c_str(), 1);
      return std::to_string(runmain_ready()) + " " + std::to_string(runmain_ready());
    });
    return child.finish();
  };
  const auto twice = [](int error) { return std::to_string(-error) + " " + std::to_string(-error); };
  CHECK(with_socket("relative") == twice(EINVAL));
  CHECK(with_socket("/nowhere/notify") == twice(ENOENT));
  CHECK(with_socket("@runmain-test-nobody-" + std::to_string(getpid())) == twice(ECONNREFUSED));
}

TEST_CASE("a status is cut at its limit and never in the middle of a character") {
  Notify notify;
  Child child([&] {
    setenv("NOTIFY_SOCKET", notify.name().c_str(), 1);
    std::string text(511, 'a');
    runmain::status(text + "\xe2\x82\xac tail");
    return std::string();
  });
  CHECK(notify.message() == "STATUS=" + std::string(511, 'a'));
  CHECK(child.finish().empty());
}
