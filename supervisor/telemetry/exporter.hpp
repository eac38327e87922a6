// All destinations, three signals each: an Outbox in a folder of its own, and who sends what it gives.
//
// Invariant: a destination that a new configuration does not name any more goes on sending until it is empty.
// What an answer means is in the ledgers before answered() is called. Thread: the loop's. Non-goals: when
// things are saved, and spills of destinations that no configuration names.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "os/loop/loop.hpp"
#include "telemetry/http_sender.hpp"
#include "telemetry/observer_config.hpp"
#include "telemetry/observer_fact.hpp"
#include "telemetry/outages.hpp"
#include "telemetry/outbox.hpp"

namespace runmain::telemetry {

inline constexpr std::size_t kDestinationsMax = 64;  // those that only finish included

// How far an outbox was filled, as the next observer has to know.
struct SavedOutbox {
  std::string destination;  // its folder's name
  std::uint8_t signal = 0;
  std::uint64_t last_number = 0;
  std::vector<std::uint64_t> done;                              // Outbox::done_early()
  std::vector<std::pair<ChildKey, std::uint64_t>> in_memory{};  // Outbox::waits_in_memory()
  template <class A>
  void fields(A& a) {
    a("destination", destination);
    a("signal", signal);
    a("last_number", last_number);
    a("done", done);
    a("in_memory", in_memory);
  }
};

struct OutboxStatus {
  std::string name;  // of the destination
  Signal signal = Signal::traces;
  bool failing = false;
  bool leaving = false;            // no configuration names it any more
  std::uint64_t queued_items = 0;  // on disk
  std::uint64_t memory_items = 0;  // and what the disk did not take
  std::uint64_t spilled_bytes = 0;
  std::string fault;  // why it takes nothing
};

class Exporter {
 public:
  struct Calls {
    std::function<void(ObserverFact)> tell;
    std::function<void()> answered;  // the ledgers have changed; may call send()
    Dies dies;
  };
  // All outlive this.
  Exporter(os::Loop& loop, Ledgers& ledgers, ObserverCounters& counters, Calls calls);
  ~Exporter();

  // What an observer before this one has saved. Before the first configure().
  void restore(std::vector<SavedOutbox> saved);
  std::vector<SavedOutbox> saved() const;

  // What it opens for the first time has to be saved before anything is added. A service that is not named
  // any more keeps its route while `lives` says so, until forget().
  void configure(const ObserverConfig& config, const OutboxLimits& limits,
                 const std::function<bool(ServiceId)>& lives);
  void forget(ServiceId service);

  // Where a service's items go; nothing where they go nowhere.
  struct Route;
  Route* route_of(ServiceId service) const;
  // A route may be none: then, and where the signal goes nowhere, the items are dropped.
  void add(Route* route, const ChildKey& worker, const Item& item);
  void flush();
  // What saved() was told of since then outlives us: Outbox::note_saved().
  void note_saved();
  // At our end: what is not on disk is lost, counted and told. Nothing is sent any more. Returns whether
  // there was some.
  bool give_up_memory();

  // Sends what there is. Only when all that was added is flushed and saved. Returns whether that has changed
  // a ledger.
  bool send(Time now);
  Time next_deadline() const;
  // Lets go of destinations that have finished.
  void tidy();

  bool empty() const;
  // Nobody takes what is left, or has not answered for a while.
  bool stuck(Time now) const;
  std::vector<OutboxStatus> status() const;

 private:
  struct Out;
  using Facts = Outbox::Facts;

  Route* known_route(const ObserverDestination& destination) const;
  Route& add_route(const ObserverDestination& destination, const std::string& parent,
                   const OutboxLimits& limits);
  void fill(Route& route, const OutboxLimits& limits, const std::string& fault);
  void take_up_left(const ObserverConfig& config, const OutboxLimits& limits);
  void open(Out& out, const Endpoint& endpoint, const std::string& folder, const OutboxLimits& limits);
  void on_answer(Out& out, std::uint64_t id, const Answer& answer);
  static SavedOutbox saved_of(const Out& out);
  static std::uint64_t items_in_memory(const Out& out);
  void count_lost_memory(Out& out, const std::vector<std::pair<ChildKey, std::uint64_t>>& lost);
  void take(Out& out, const Facts& facts);
  void count(const DestinationFact& fact);
  void tell(Out& out, const DestinationFact& fact);
  void tell_faults(const Route& route);
  void tell_disk(Route& route);
  void tell_dropped(Out& out, const DestinationFact& fact);

  os::Loop& loop_;
  Ledgers& ledgers_;
  ObserverCounters& counters_;
  Calls calls_;
  std::uint64_t run_ = 0;                                              // of runmain
  std::map<std::pair<std::string, std::uint8_t>, SavedOutbox> saved_;  // of those that are not open
  std::map<std::string, std::unique_ptr<Route>> routes_;               // by folder's name
  std::map<ServiceId, Route*> of_service_;
  std::map<ServiceId, Route*> of_leaving_service_;
  Outages outages_;
  bool full_told_ = false;
  bool took_up_ = false;
};

}  // namespace runmain::telemetry
