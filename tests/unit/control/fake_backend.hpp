// A backend made of plain data, and a server on a real socket with raw peers, all in one thread.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/instance.hpp"
#include "control/server.hpp"

namespace runmain::control {

struct Commanded {
  core::CommandVerb verb{};
  std::vector<ServiceId> services;
  int signal = 0;
  std::uint32_t number = 0;
};

class FakeBackend : public Backend {
 public:
  core::Snapshot state;
  std::vector<Commanded> commanded;
  std::vector<LogLine> lines;
  std::vector<ServiceId> asked_for;  // by the latest recent()
  std::vector<std::string> addresses{"127.0.0.1:8000"};
  Queues waiting;
  std::optional<Error> apply_fault;
  std::function<void(std::uint64_t)> on_command;  // before command() returns

  core::Snapshot snapshot() override { return state; }
  std::vector<std::string> listening(ServiceId) override { return addresses; }
  Queues queues() override { return waiting; }
  std::string instance_id(ChildKey key) override { return "instance-" + std::to_string(key.slot); }
  Identity identity() override { return {4242, "/srv/supervisor.toml"}; }
  std::string doctor = "never told";
  void set_doctor(const std::vector<ServiceId>&, const std::string& folder) override { doctor = folder; }
  std::map<ChildKey, RequestsTold> told;
  std::optional<ChildKey> words_of;  // by the latest last_words()
  std::optional<RequestsTold> requests(ChildKey key) override {
    const auto found = told.find(key);
    return found == told.end() ? std::nullopt : std::optional(found->second);
  }
  std::vector<LogLine> last_words(ChildKey key, std::size_t count) override {
    words_of = key;
    return recent({key.service}, count);
  }
  std::string upgrade_folder;
  std::uint64_t upgrade(const std::string& folder) override {
    upgrade_folder = folder;
    return command(core::CommandVerb::upgrade, {}, 0, 0);
  }
  std::uint64_t command(core::CommandVerb verb, std::vector<ServiceId> services, int signal,
                        std::uint32_t number) override {
    commanded.push_back({verb, std::move(services), signal, number});
    if (on_command) on_command(commanded.size());
    return commanded.size();
  }
  std::vector<LogLine> recent(const std::vector<ServiceId>& services, std::size_t count) override {
    asked_for = services;
    const std::size_t skip = lines.size() > count ? lines.size() - count : 0;
    return {lines.begin() + static_cast<std::ptrdiff_t>(skip), lines.end()};
  }
  Json explain(ServiceId service, const std::string& path) override {
    const bool reloads = path.ends_with(".py");
    return {{"reloads", reloads}, {"verdict", reloads ? "watched" : "ignored"}, {"id", service.value}};
  }
  Result<void> apply() override { return apply_fault ? Result<void>(*apply_fault) : Result<void>(); }
};

inline core::ServiceView service_view(std::uint32_t id, const std::string& name, core::ServiceState state,
                                      const std::string& reason = {}) {
  core::ServiceView view;
  view.id = ServiceId{id};
  view.name = name;
  view.state = state;
  view.reason = reason;
  view.generation = 1;
  return view;
}

inline LogLine log_line_of(const std::string& text, std::uint32_t service = 0) {
  LogLine line;
  line.service = ServiceId{service};
  line.service_name = "web";
  line.generation = 1;
  line.text = text;
  return line;
}

// A folder that is gone with its content at the end.
class Folder {
 public:
  Folder() {
    char name[] = "/tmp/runmain-test-XXXXXX";
    if (mkdtemp(name) == nullptr) std::abort();
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline os::UniqueFd connect_to(const std::string& path) {
  os::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fd.reset();
  return fd;
}

struct World {
  Folder folder;
  std::string path = folder.path() + "/control";
  os::UniqueFd listener = std::move(*listen_at(path, 0600));
  os::Loop loop;
  FakeBackend backend;
  Server server;

  explicit World(const Limits& limits = {}) : server(loop, listener.get(), backend, limits) {
    backend.state.services = {service_view(0, "web", core::ServiceState::ready),
                              service_view(1, "db", core::ServiceState::ready)};
  }

  // Turns the loop until `done`; false after the guard.
  bool until(const std::function<bool()>& done, std::chrono::seconds guard = std::chrono::seconds(20)) {
    const Time end = os::Loop::now() + guard;
    while (!done()) {
      if (os::Loop::now() >= end) return false;
      loop.turn(std::chrono::milliseconds(20));
    }
    return true;
  }
};

// A client that is as slow, silent or rude as the test wants.
class Peer {
 public:
  explicit Peer(World& world) : world_(world), fd_(connect_to(world.path)) {}

  int fd() const { return fd_.get(); }
  void close() { fd_.reset(); }

  // Sends as the server reads. False if the server has hung up.
  bool send(const std::string& bytes) {
    std::size_t sent = 0;
    const bool done = world_.until([&] {
      const ssize_t n =
          ::send(fd_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno != EAGAIN) broken_ = true;
      if (n > 0) sent += static_cast<std::size_t>(n);
      return broken_ || sent == bytes.size();
    });
    return done && !broken_;
  }
  bool ask(const std::string& verb, const std::string& args = "{}", int id = 1) {
    return send(R"({"v":1,"id":)" + std::to_string(id) + R"(,"verb":")" + verb + R"(","args":)" + args +
                "}\n");
  }
  // The next line as JSON, null if the server has hung up.
  Json line() {
    std::size_t end = 0;
    const bool got = world_.until([&] {
      read_some();
      end = in_.find('\n');
      return end != std::string::npos || eof_;
    });
    if (!got || end == std::string::npos) return nullptr;
    const std::string text = in_.substr(0, end);
    in_.erase(0, end + 1);
    return Json::parse(text, nullptr, false);
  }
  // True once the server has hung up.
  bool hung_up() {
    return world_.until([&] {
      read_some();
      return eof_;
    });
  }
  bool has_line() {
    read_some();
    return in_.find('\n') != std::string::npos;
  }

 private:
  void read_some() {
    char buffer[65536];
    const ssize_t n = recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0) in_.append(buffer, static_cast<std::size_t>(n));
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) eof_ = true;
  }

  World& world_;
  os::UniqueFd fd_;
  std::string in_;
  bool eof_ = false;
  bool broken_ = false;
};

}  // namespace runmain::control
