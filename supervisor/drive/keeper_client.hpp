// The head's end of the protocol with the keeper (keeper/protocol.hpp).
//
// Invariant: orders go out in the order of their numbers, and only after the caller has put the Events that
// caused them into the state log; an order that the socket does not take now waits here. outbox() is what the
// keeper may not have executed. Thread: the loop's.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "core/effect.hpp"
#include "keeper/protocol.hpp"
#include "os/linux/fd.hpp"
#include "os/loop/loop.hpp"

namespace runmain::drive {

class KeeperClient {
 public:
  // `socket` is fd 3 of the head.
  explicit KeeperClient(os::UniqueFd socket) : socket_(std::move(socket)) {}

  // Says Hello and waits for the Welcome with its fds. On failure this head cannot work.
  struct Greeting {
    keeper::Welcome welcome;
    std::map<keeper::WelcomeFd, os::UniqueFd> fds;
  };
  Result<Greeting> greet();

  // Binds, or finds, a listening socket; waits for the answer. On failure the Error of bind or listen.
  struct Listener {
    keeper::Opened opened;
    os::UniqueFd fd;  // where `wanted` asks for it
  };
  Result<Listener> open_listener(const keeper::OpenListener& wanted);
  void close_listeners(std::vector<std::string> ids);

  // How the children stand to their terminals at this moment; waits for the answer. On failure nothing is
  // known.
  Result<std::vector<keeper::TerminalSeen>> look_at_terminals();
  void type(const ChildKey& key, std::string_view bytes);
  void suspend_job();

  // From now on there is an observer (keeper/observer_messages.hpp); `listeners` are ids of open sockets. To
  // be said by each head. On failure nothing was said.
  Result<void> configure_observer(std::vector<std::string> argv, std::vector<std::string> listeners,
                                  std::string_view configuration);

  // The head is at work (keeper/protocol.hpp): happenings come from now on.
  void begun();
  // From now on happenings are delivered. `lost` is called when the keeper is gone.
  void start(os::Loop& loop, std::function<void(const keeper::Happening&)> happened,
             std::function<void()> lost);

  // Delivers what has come and was not read. False: the keeper is gone, as `lost` has told.
  bool read_waiting();

  // Delivers the happenings that came while an answer was awaited. To be called before the loop sleeps:
  // nothing on the socket will wake it for them.
  void deliver_early();

  // Queues an order; `effect` is remembered until the keeper has executed it.
  void send(const core::Effect& effect, keeper::Order order);
  void acknowledge(std::uint64_t happening);
  // A line for a connection that no Event stands behind.
  void answer_channel(keeper::SendChannel line);
  // Sends what waits, as far as the socket takes it.
  void flush();

  std::vector<core::Effect> outbox() const { return {outbox_.begin(), outbox_.end()}; }
  bool idle() const { return waiting_.empty(); }

 private:
  struct Waiting {
    std::string bytes;
    os::UniqueFd fd;
  };
  Result<void> flush_blocking();
  Result<keeper::Message> receive_blocking();
  void on_ready(int events);
  void read_messages();
  void executed(std::uint64_t number);
  void queue(const keeper::Request& request, os::UniqueFd fd = {});

  os::UniqueFd socket_;
  std::unique_ptr<os::Poll> poll_;
  std::function<void(const keeper::Happening&)> happened_;
  std::function<void()> lost_;
  std::deque<keeper::Happening> early_;
  std::deque<Waiting> waiting_;
  std::deque<core::Effect> outbox_;
  std::vector<os::UniqueFd> received_fds_;
  std::uint32_t looks_ = 0;
  std::string scratch_;
  bool dead_ = false;
};

}  // namespace runmain::drive
