#include "observer_world.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/archive.hpp"

namespace runmain::keeper::test {
namespace {

constexpr int kGuardMs = 20'000;
constexpr std::size_t kMessageBytes = 64U << 10U;

void await(const os::UniqueFd& fd) {
  pollfd p{fd.get(), POLLIN, 0};
  REQUIRE(poll(&p, 1, kGuardMs) == 1);
}

}  // namespace

void Observer::say(const ObserverSays& says) const { say_bytes(to_binary(says)); }

void Observer::say_bytes(const std::string& bytes) const { REQUIRE(os::send_message(socket_.get(), bytes)); }

ObserverMessage Observer::hear() {
  await(socket_);
  auto got = os::receive_message(socket_.get(), kMessageBytes, scratch_);
  REQUIRE(got);
  ObserverMessage message;
  REQUIRE(from_binary(got->bytes, message));
  fds_ = std::move(got->fds);
  const auto* made = std::get_if<MailboxMade>(&message);
  return made != nullptr && made->key == kHeadKey ? hear() : message;  // of each head; these tests have one
}

ObserverWelcome Observer::greet() {
  say(ObserverHello{});
  return hear<ObserverWelcome>();
}

bool Observer::is_dropped() {
  await(socket_);
  auto got = os::receive_message(socket_.get(), kMessageBytes, scratch_);
  return got && got->bytes.empty();
}

Observers::Observers(KeeperWorld& world) : world_(world) {
  static int made = 0;
  name_ = "runmain-test-observer-" + std::to_string(getpid()) + "-" + std::to_string(++made);
  listener_ = listen_at(name_, SOCK_SEQPACKET);
}

void Observers::configure(const std::string& text, std::vector<std::string> listeners) {
  auto memory = os::make_memfd("test-configuration", text.size());
  REQUIRE(memory);
  REQUIRE(os::pwrite_all(memory->get(), text, 0));
  const std::vector<std::string> argv{RUNMAIN_BIN_DIR "/t_head", name_};
  world_.request(ConfigureObserver{text.size(), argv, std::move(listeners)}, {memory->get()});
}

Observer Observers::next() {
  await(listener_);
  const os::UniqueFd process(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  REQUIRE(process);
  await(process);
  std::string scratch;
  auto got = os::receive_message(process.get(), 16, scratch);
  REQUIRE(got);
  REQUIRE(got->fds.size() == 1);
  return {os::peer_of(process.get())->pid, std::move(got->fds[0])};
}

Granted claim(KeeperWorld& world, std::uint32_t slot, std::vector<std::string> listeners, bool mailbox,
              bool by_path) {
  auto connection = world.connect_channel("a line\n");
  SendChannel order;
  order.conn = connection.number;
  order.key = world.key(slot);
  order.bind = true;
  order.bytes = "the role\n";
  order.listeners = std::move(listeners);
  order.mailbox = mailbox;
  order.by_path = by_path;
  order.instance_id = "instance-" + std::to_string(slot);
  world.order(order);
  await(connection.socket);
  std::string scratch;
  auto got = os::receive_message(connection.socket.get(), 4096, scratch);
  REQUIRE(got);
  return {std::move(connection.socket), std::move(got->bytes), std::move(got->fds)};
}

}  // namespace runmain::keeper::test
