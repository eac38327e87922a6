#include "keeper_world.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/archive.hpp"

namespace runmain::keeper::test {
namespace {

constexpr int kGuardMs = 20'000;
const std::string kBin = RUNMAIN_BIN_DIR "/";

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return poll(&p, 1, kGuardMs) == 1;
}

struct Name {
  sockaddr_un address{};
  socklen_t size = 0;

  explicit Name(const std::string& text) {
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, text.data(), text.size());
    size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

}  // namespace

KeeperWorld::KeeperWorld(int inherited) {
  static int worlds = 0;
  name_ = "runmain-test-keeper-" + std::to_string(getpid()) + "-" + std::to_string(++worlds);
  listener_ = listen_at(name_, SOCK_SEQPACKET);
  channel_ = listen_at(name_ + "-channel", SOCK_STREAM);
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  output_.reset(ends[0]);
  const os::UniqueFd write_end(ends[1]);
  pid_ = fork();
  REQUIRE(pid_ >= 0);
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);  // what is sent to it does not reach the test
    dup2(write_end.get(), STDOUT_FILENO);
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (int i = 0; i < inherited; ++i) (void)!dup(STDERR_FILENO);
    const std::string keeper = kBin + "runmain-keeper";
    const std::string head = kBin + "t_head";
    fcntl(channel_.get(), F_SETFD, 0);
    const std::string channel = std::to_string(channel_.get());
    execl(keeper.c_str(), keeper.c_str(), "--channel-fd", channel.c_str(), "--", head.c_str(), name_.c_str(),
          nullptr);
    _exit(127);
  }
  welcome_head();
}

KeeperWorld::~KeeperWorld() {
  // The answer to the second order says that the first was read: then nothing is lost with the head.
  const Numbered quit{++number_, QuitKeeper{0}};
  const Numbered last{++number_, RefuseSpawn{ChildKey{ServiceId{9}, 1, 1, 1}, 1, 1, "quit"}};
  for (const Numbered& order : {quit, last})
    (void)os::send_message(socket_.get(), to_binary(Request(order)), {});
  for (bool read = false; !read && readable(socket_.get());) {
    auto got = os::receive_message(socket_.get(), kMessageMax, scratch_);
    read = !got || got->bytes.empty() || got->bytes.find("quit") != std::string::npos;
  }
  if (head_ > 0) kill(head_, SIGKILL);
  // Its end of the pipe closes when it and all children are gone.
  char bytes[4096];
  while (readable(output_.get()) && read(output_.get(), bytes, sizeof bytes) > 0) {
  }
  if (has_exited()) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void KeeperWorld::quit(std::int32_t status) {
  order(QuitKeeper{status});
  told();
  kill(std::exchange(head_, 0), SIGKILL);
}

bool KeeperWorld::has_exited() {
  if (status_ < 0 && waitpid(pid_, &status_, WNOHANG) != pid_) status_ = -1;
  return status_ >= 0;
}

int KeeperWorld::exit_status() {
  // Its end of the pipe closes when it and all of its processes are gone.
  char bytes[4096];
  while (readable(output_.get()) && read(output_.get(), bytes, sizeof bytes) > 0) {
  }
  if (status_ < 0) REQUIRE(waitpid(pid_, &status_, 0) == pid_);
  REQUIRE(WIFEXITED(status_));
  return WEXITSTATUS(status_);
}

void KeeperWorld::welcome_head() {
  REQUIRE(readable(listener_.get()));
  const os::UniqueFd head(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  REQUIRE(head);
  REQUIRE(readable(head.get()));
  auto got = os::receive_message(head.get(), 16, scratch_);
  REQUIRE(got);
  REQUIRE(got->fds.size() == 1);
  head_ = os::peer_of(head.get())->pid;
  socket_ = std::move(got->fds[0]);
  request(Hello{});
  for (welcome_ = {}, welcome_.more = true; welcome_.more;) {
    Message message = receive();
    if (auto* early = std::get_if<Happening>(&message)) early_.push_back(*early);
    if (auto* welcome = std::get_if<Welcome>(&message)) {
      std::vector<ChildEntry> before = std::move(welcome_.children);
      welcome_ = std::move(*welcome);
      welcome_.children.insert(welcome_.children.begin(), before.begin(), before.end());
    }
  }
  request(Begun{});
}

Welcome KeeperWorld::take_over() {
  socket_.reset();
  early_.clear();
  kill(head_, SIGKILL);
  welcome_head();
  return welcome_;
}

void KeeperWorld::request(const Request& request, const std::vector<int>& fds) {
  REQUIRE(os::send_message(socket_.get(), to_binary(request), fds));
}

KeeperWorld::Connection KeeperWorld::connect_channel(const std::string& line) {
  Connection made{os::UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), 0};
  const Name name(name_ + "-channel");
  REQUIRE(connect(made.socket.get(), name.get(), name.size) == 0);
  REQUIRE(os::write_all(made.socket.get(), line));
  made.number = wait<Line>().conn;
  return made;
}

Message KeeperWorld::receive() {
  REQUIRE(readable(socket_.get()));
  auto got = os::receive_message(socket_.get(), kMessageMax, scratch_);
  REQUIRE(got);
  Message message;
  REQUIRE(from_binary(got->bytes, message));
  received_ = std::move(got->fds);
  return message;
}

What KeeperWorld::next() {
  while (early_.empty()) {
    Message message = receive();
    if (auto* happening = std::get_if<Happening>(&message)) early_.push_back(std::move(*happening));
  }
  const Happening happening = std::move(early_.front());
  early_.pop_front();
  if (acknowledges) request(Acknowledge{happening.number});
  return happening.what;
}

std::vector<What> KeeperWorld::told() {
  const ChildKey last{ServiceId{9}, 0, 1, static_cast<std::uint32_t>(number_)};
  order(RefuseSpawn{last, 1, 1, "the last one"});
  std::vector<What> all;
  for (;;) {
    all.push_back(next());
    const auto* started = std::get_if<Started>(&all.back());
    if (started == nullptr || started->key != last) continue;
    all.pop_back();
    return all;
  }
}

Opened KeeperWorld::open(const std::string& id, bool per_slot, std::uint8_t kind, const std::string& path) {
  OpenListener wanted;
  wanted.id = id;
  wanted.kind = kind;
  if (path.empty()) wanted.host = "127.0.0.1";
  wanted.path = path;
  wanted.per_slot = per_slot;
  request(wanted);
  return await_opened();
}

Opened KeeperWorld::await_opened() {
  for (;;) {
    Message message = receive();
    if (auto* early = std::get_if<Happening>(&message)) early_.push_back(std::move(*early));
    if (auto* opened = std::get_if<Opened>(&message)) return *opened;
  }
}

os::UniqueFd KeeperWorld::socket_of(const std::string& id) {
  OpenListener wanted;
  wanted.id = id;
  wanted.host = "127.0.0.1";
  wanted.want_fd = true;
  request(wanted);
  REQUIRE(await_opened().error == 0);
  REQUIRE(received_.size() == 1);
  return std::move(received_[0]);
}

Started KeeperWorld::spawn(std::uint32_t slot, std::vector<std::string> argv,
                           std::vector<std::string> listeners, bool print) {
  if (attempts_.size() <= slot) attempts_.resize(slot + 1);
  ++attempts_[slot];
  SpawnChild order;
  order.key = key(slot);
  order.service = "web";
  argv.front().insert(0, kBin);
  order.argv = std::move(argv);
  order.env = {"PATH=/usr/bin:/bin"};
  order.cwd = "/";
  order.listeners = std::move(listeners);
  order.capture = !print;
  this->order(order);
  for (;;) {
    const auto started = wait<Started>();
    if (started.key != key(slot)) continue;
    INFO(started.detail);
    REQUIRE(started.error == 0);
    return started;
  }
}

void KeeperWorld::kill_child(std::uint32_t slot) {
  order(KillChild{key(slot), SIGKILL, false});
  while (wait<Died>().key != key(slot)) {
  }
}

std::string KeeperWorld::printed(const std::string& text) {
  std::string all;
  while (all.find(text) == std::string::npos || all.back() != '\n') {
    char bytes[4096];
    REQUIRE(readable(output_.get()));
    const ssize_t n = read(output_.get(), bytes, sizeof bytes);
    REQUIRE(n > 0);
    all.append(bytes, static_cast<std::size_t>(n));
  }
  return all;
}

os::UniqueFd listen_at(const std::string& text, int type) {
  os::UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  const Name name(text);
  REQUIRE(bind(fd.get(), name.get(), name.size) == 0);
  REQUIRE(listen(fd.get(), 16) == 0);
  return fd;
}

os::UniqueFd ask(std::uint16_t port) {
  os::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const std::string request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) fd.reset();
  if (fd && send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) fd.reset();
  return fd;
}

bool is_answered(const os::UniqueFd& client) {
  char bytes[512];
  return client && readable(client.get()) && recv(client.get(), bytes, sizeof bytes, 0) > 0;
}

std::uint16_t port_of(const Opened& opened) {
  return static_cast<std::uint16_t>(std::stoi(opened.bound.substr(opened.bound.rfind(':') + 1)));
}

}  // namespace runmain::keeper::test
