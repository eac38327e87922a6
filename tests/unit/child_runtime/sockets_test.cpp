// LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES as sd_listen_fds(3) has them.
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "child_runtime/child_runtime.hpp"
#include "fakes.hpp"
#include "support/catch.hpp"

using namespace fakes;

namespace {

// Puts fds at 3, 4, … without close-on-exec, as they are after an exec.
void place(const std::vector<int>& fds) {
  std::vector<int> high;
  for (const int fd : fds) high.push_back(fcntl(fd, F_DUPFD, 100));
  for (std::size_t i = 0; i < high.size(); ++i) {
    dup2(high[i], static_cast<int>(i) + 3);
    close(high[i]);
  }
}

void announce(const std::string& fds, const char* names = nullptr) {
  setenv("LISTEN_FDS", fds.c_str(), 1);
  setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
  if (names != nullptr) setenv("LISTEN_FDNAMES", names, 1);
}

// "3=http 4=admin (reason)"
std::string taken() {
  std::string text;
  for (const runmain::Listener& l : runmain::listeners()) {
    text += (text.empty() ? "" : " ") + std::to_string(l.fd) + "=" + l.name;
  }
  return runmain::reason().empty() ? text : text + " (" + runmain::reason() + ")";
}

std::string taken_of(const std::vector<int>& fds, const std::string& count, const char* names = nullptr) {
  Child child([&] {
    place(fds);
    announce(count, names);
    return taken();
  });
  return child.finish();
}

}  // namespace

TEST_CASE("sockets are passed from fd 3 on, with their names, and become close-on-exec") {
  const Fd a = listen_tcp();
  const Fd b = listen_tcp();
  Child child([&] {
    place({a.get(), b.get()});
    announce("2", "http:admin");
    const std::string text = taken();
    const bool closes = (fcntl(3, F_GETFD) & fcntl(4, F_GETFD) & FD_CLOEXEC) != 0;
    return text + (closes ? " cloexec " : " kept ") +
           std::to_string(runmain::listener("admin").value_or(-1)) + " " +
           std::to_string(runmain_listener(nullptr)) + (runmain::listener("none") ? " none" : "");
  });
  CHECK(child.finish() == "3=http 4=admin cloexec 4 3");
}

TEST_CASE("sockets that were meant for another process are left alone") {
  const Fd a = listen_tcp();
  Child child([&] {
    place({a.get()});
    announce("1");
    setenv("LISTEN_PID", std::to_string(getppid()).c_str(), 1);
    const std::string text = taken();
    return text + ((fcntl(3, F_GETFD) & FD_CLOEXEC) == 0 ? "untouched" : "changed");
  });
  CHECK(child.finish() == "untouched");
}

TEST_CASE("a forked child takes no sockets of its parent's environment") {
  const Fd a = listen_tcp();
  Child child([&] {
    place({a.get()});
    announce("1", "http");
    Child forked([] { return std::to_string(runmain::listeners().size()); });
    return forked.finish() + " then " + taken();
  });
  CHECK(child.finish() == "0 then 3=http");
}

TEST_CASE("sockets without a name are called unknown") {
  const Fd a = listen_tcp();
  CHECK(taken_of({a.get(), a.get()}, "2") == "3=unknown 4=unknown");
  CHECK(taken_of({a.get(), a.get(), a.get()}, "3", "x::y") == "3=x 4=unknown 5=y");
  CHECK(taken_of({a.get(), a.get()}, "2", "x") == "3=x 4=unknown");
  CHECK(taken_of({a.get()}, "1", std::string(300, 'n').c_str()) == "3=unknown");
}

TEST_CASE("a count that is no number in range gives no sockets and is told") {
  const Fd a = listen_tcp();
  for (const std::string count : {"", "x", "-1", " 1", "1x", "65", "99999999999999999999"}) {
    INFO(count);
    CHECK(taken_of({a.get()}, count) == " (LISTEN_FDS=" + count + " is no number from 0 to 64: ignored)");
  }
  CHECK(taken_of({a.get()}, "0").empty());
}

TEST_CASE("as many sockets as a process may have are taken") {
  const Fd a = listen_tcp();
  Child child([&] {
    place(std::vector<int>(64, a.get()));
    announce("64");
    return std::to_string(runmain::listeners().size());
  });
  CHECK(child.finish() == "64");
}

TEST_CASE("what is closed or no socket is left out, and the others keep their names") {
  const Fd a = listen_tcp();
  const Fd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
  CHECK(taken_of({file.get(), a.get()}, "2", "file:http") ==
        "4=http (fd 3, given as \"file\", is no socket: left out)");
  Child child([&] {
    place({a.get()});
    close(4);
    announce("2", "http:gone");
    return taken();
  });
  CHECK(child.finish() == "3=http (fd 4, given as \"gone\", is no socket: left out)");
}

TEST_CASE("each kind of socket is described by its address") {
  Child child([] {
    const Fd tcp = listen_tcp();
    const Fd udp(socket(AF_INET6, SOCK_DGRAM, 0));
    const Fd local(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    const std::string text = "runmain-test-kind-" + std::to_string(getpid());
    std::memcpy(name.sun_path + 1, text.data(), text.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
    if (bind(local.get(), reinterpret_cast<sockaddr*>(&name), size) != 0) return std::string("bind");
    place({tcp.get(), udp.get(), local.get()});
    announce("3");
    const auto found = runmain::listeners();
    if (found.size() != 3) return std::string("not all");
    const bool tcp_right =
        found[0].address == "127.0.0.1:" + std::to_string(port_of(3)) && found[0].kind == "tcp";
    const bool unix_right = found[2].address == "unix:@" + text && found[2].kind == "unix";
    return std::string(tcp_right ? "tcp " : "") + found[1].address + "/" + found[1].kind +
           (unix_right ? " unix" : "");
  });
  CHECK(child.finish() == "tcp udp:[::]:0/udp unix");
}
