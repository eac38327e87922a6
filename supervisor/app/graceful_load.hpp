// Clients side by side, in one loop of poll(2), while a reload goes on beside.
//
// Invariant: bounded in clients and in asks; owners are looked up only for those whose worker matters.
// Thread: one.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <vector>

#include "app/graceful_client.hpp"
#include "app/graceful_watch.hpp"
#include "base/time.hpp"
#include "graceful/observation.hpp"

namespace runmain::app {

inline constexpr std::size_t kGracefulClientsMax = 128;

class GracefulLoad {
 public:
  GracefulLoad(const GracefulTarget& target, GracefulWatch& watch);

  void add(const GracefulPlan& plan, std::size_t count = 1);
  // Until `enough` says so (asked each few milliseconds), at the latest at the deadline. False: not by then.
  bool run(Time deadline, const std::function<bool()>& enough);
  // Those that ask again and again stop, those that wait for a drain go on; until all are answered.
  void finish(Time deadline);
  void close();

  // Trickled requests are as far as they get before a drain.
  bool all_prepared() const;
  bool all_over() const;
  // Main processes of workers that have accepted one of these connections, as far as that is known.
  std::vector<pid_t> owners() const;
  // All that was asked so far.
  const std::vector<graceful::Ask>& asks() const { return asks_; }
  std::uint64_t left_out() const { return left_out_; }

 private:
  void find_owners();
  void gather();

  const GracefulTarget& target_;
  GracefulWatch& watch_;
  std::vector<std::unique_ptr<GracefulClient>> clients_;
  std::vector<graceful::Ask> asks_;
  std::vector<pid_t> owners_;
  graceful::Nanoseconds since_;  // drains of before are nothing to these clients
  std::uint64_t left_out_ = 0;
};

// The main process of the worker that has accepted this connection; 0: nobody has, or it is not known.
pid_t acceptor_of(int fd, const std::vector<graceful::Worker>& workers);

}  // namespace runmain::app
