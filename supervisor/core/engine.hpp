// One event's worth of deciding: handlers change the State, then every service that they touched is
// reconciled: what its state says it should have is compared with what it has, and the difference becomes
// effects.
//
// Invariant: reconcile() derives everything from the state, so a handler only has to record what happened;
// doing it twice changes nothing. Non-goal: to be kept between events.
#pragma once

#include <string>
#include <utility>

#include "core/state.hpp"
#include "core/survey.hpp"

namespace runmain::core {

// How a worker ended, judged by its service's lists of statuses.
struct End {
  bool clean = false;  // as good as status 0
  bool final = false;  // its slot is not to be started again
  std::string how;
};

class Engine {
 public:
  Engine(State& state, Output& out) : s_(state), out_(out), now_(state.now), cause_(state.events) {}

  // event handlers (machine.cpp, instance.cpp, claims.cpp, terminal.cpp, health.cpp, pool.cpp, reload.cpp,
  // shutdown.cpp, configure.cpp, adopt.cpp, requests.cpp)
  void operator()(const Configured& e);
  void operator()(const Spawned& e);
  void operator()(const Exited& e);
  void operator()(const Swept& e);
  void operator()(const Ready& e);
  void operator()(const Stopping& e);
  void operator()(const Reloading& e);
  void operator()(const StatusText& e);
  void operator()(const Watchdog& e);
  void operator()(const Extend& e);
  void operator()(const MainPid& e);
  void operator()(const Claimed& e);
  void operator()(const Changed& e);
  void operator()(const Held& e);
  void operator()(const Command& e);
  void operator()(const Signalled& e);
  void operator()(const Tick& e);
  void operator()(const HeadStarted& e);
  void operator()(const Adopted& e);
  void operator()(const AtTerminal& e);
  void operator()(const StoodStill& e);
  void operator()(const Drained& e);
  void operator()(const Requests& e);
  void operator()(const Measured& e);
  void operator()(const Frozen& e);
  void operator()(const Looked& e);
  void operator()(const Room& e);
  void operator()(const Load& e);
  void operator()(const QueueEmpty& e);
  void operator()(const ListenerShut& e);
  void operator()(const SlotClosed& e);
  void operator()(const UpgradeEnded& e);

  // Reconciles everything that was touched, and what that touches, and sees whether this is the end.
  void finish();

 private:
  // effects and facts (machine.cpp)
  void push(Action action);
  void tell(const ServiceRecord& r, FactType type, std::int64_t number = 0, std::string text = {});
  void tell(const ServiceRecord& r, const Instance& i, FactType type, std::int64_t number = 0,
            std::string text = {});
  static Fact about(const ServiceRecord& r, const Instance& i, FactType type, std::int64_t number,
                    std::string text);
  void record(Fact fact);
  void touch(std::uint32_t index);
  void touch(const ServiceRecord& r) { touch(r.id.value); }
  ServiceRecord* find(ServiceId id);
  std::pair<ServiceRecord*, Instance*> find(const ChildKey& key);
  bool up(const ServiceRecord& r) const { return core::up(s_, r); }

  // one child (instance.cpp)
  void spawn(ServiceRecord& r, std::uint32_t slot, std::uint32_t generation, SlotRun& run);
  void spawn_build(ServiceRecord& r);
  void enter(Instance& i, WorkerState phase);
  void stop(ServiceRecord& r, Instance& i, EndWhy why);
  void begin_drain(ServiceRecord& r, Instance& i, std::int32_t signal, bool group);
  void kill_tree(ServiceRecord& r, Instance& i);
  void stop_looking(Instance& i);
  bool leaves_the_drain(const ServiceRecord& r, const Instance& i, const Exited& e) const;
  void stays_behind(ServiceRecord& r, Instance& i);
  void succeed(ServiceRecord& r);
  static bool speaks_for(const Instance& i, std::int32_t pid);
  static bool is_crowded(const ServiceRecord& r, const Instance& it);
  bool leaves_by_itself(const ServiceRecord& r, const Instance& i) const;
  static void forget_holders(Instance& i, const std::vector<std::int32_t>& ended);
  void take_stop_steps(const ServiceRecord& r, Instance& i);
  void deadline_reached(ServiceRecord& r, Instance& i);
  void helper_ended(ServiceRecord& r, const Instance& i, const End& end, std::int64_t number);
  static void leave_terminal(Instance& i);
  void not_ready(ServiceRecord& r, Instance& i, const Looked& seen);
  void became_ready(ServiceRecord& r, Instance& i, const Ready& e);
  void spawn_failed(ServiceRecord& r, const ChildKey& key, bool wanted, const Spawned& e);
  void remove(ServiceRecord& r, const Instance& i);
  void on_time(ServiceRecord& r);
  void limits_reached(ServiceRecord& r, Instance& i);

  // one service (service.cpp)
  Survey look(const ServiceRecord& r) { return survey(r, s_.slot_marks); }
  void reconcile(ServiceRecord& r);
  void advance(ServiceRecord& r);
  void stop_unwanted(ServiceRecord& r);
  bool wants(const ServiceRecord& r, const Instance& i, const Survey& seen);
  static bool is_about_somebody(const ServiceRecord& r, const Instance& helper);
  void fill(ServiceRecord& r);
  void worker_died(ServiceRecord& r, Instance& i, const End& end);
  void begin_anew(const ServiceRecord& r, const Instance& i, SlotRun& run, const std::string& how);
  bool lived_well(const ServiceRecord& r, const Instance& i) const;
  void crashed(ServiceRecord& r, Instance& i, const std::string& how);
  Duration count_death(const ServiceRecord& r, SlotRun& run, bool healthy);
  void slot_failed(ServiceRecord& r, std::uint32_t slot, std::string why);
  void slot_done(ServiceRecord& r, std::uint32_t slot);
  void end_if_done(ServiceRecord& r);
  void fail(ServiceRecord& r, std::string reason);
  void revive(ServiceRecord& r, Reason reason);
  void go_up(ServiceRecord& r);
  void go_down(ServiceRecord& r, bool by_user);
  void restart(ServiceRecord& r);
  void idle(ServiceRecord& r);
  void publish(ServiceRecord& r);
  void announce(ServiceRecord& r, ServiceState before);
  void retally(ServiceRecord& r, std::uint32_t bits);
  void refresh_reason(ServiceRecord& r);

  // reload (reload.cpp)
  bool is_loop(ServiceRecord& r, const Changed& e);
  void open_window(ServiceRecord& r);
  void close_window(ServiceRecord& r);
  void window_ended(ServiceRecord& r);
  void gather(ServiceRecord& r, std::uint32_t count);
  bool start_under_way(const ServiceRecord& r) const;
  void respond(ServiceRecord& r);
  void act(ServiceRecord& r);
  void request_reload(ServiceRecord& r, Reason reason);
  void take_due(ServiceRecord& r);
  void begin_reload(ServiceRecord& r);
  void launch(ServiceRecord& r);
  void commit(ServiceRecord& r);
  void abort_next(ServiceRecord& r, const std::string& why);
  void reload_failed(ServiceRecord& r, const std::string& why);
  void reload_finished(ServiceRecord& r);
  void build_ended(ServiceRecord& r, bool ok, std::int64_t number, const std::string& how);
  void tell_failure(ServiceRecord& r, Fact fact);

  // gradual rolls (roll.cpp)
  void begin_roll(ServiceRecord& r);
  void advance_roll(ServiceRecord& r);
  void begin_hold(ServiceRecord& r, std::uint32_t turned);
  void interrupt_hold(ServiceRecord& r);
  bool holds(ServiceRecord& r);
  static bool in_doubt(const ServiceRecord& r, const Instance& i);
  static std::string when_in_roll(const ServiceRecord& r);
  void look_calmly(ServiceRecord& r);
  void open_slots(ServiceRecord& r, std::uint32_t count);
  void tell_step(const ServiceRecord& r, std::uint32_t slots, std::string text);
  void end_roll(ServiceRecord& r);
  bool knows_room(ServiceRecord& r);
  bool has_room_for_batch(ServiceRecord& r);
  void forget_room(ServiceRecord& r);

  // the pool: size, recycling, whose turn new connections are (pool.cpp)
  void set_workers(ServiceRecord& r, std::uint32_t count, const char* by);
  void begin_slots(ServiceRecord& r, std::uint32_t before);
  void set_limits(ServiceRecord& r, Instance& i);
  void recycle(ServiceRecord& r);
  void recycle_when_due(ServiceRecord& r, Instance& i, std::string why);
  void distribute(ServiceRecord& r);
  bool retires(const ServiceRecord& r, const Instance& i);
  static bool goes_away(const ServiceRecord& r, std::uint32_t slot);
  void close_slots(ServiceRecord& r);

  // health (health.cpp)
  // How a worker hangs, and for how long.
  struct Hang {
    EndWhy why = EndWhy::hung;
    Stall stall = Stall::unknown;
    std::int64_t for_ms = 0;
    std::string how;
  };
  void hung(ServiceRecord& r, Instance& i, Hang hang);
  static bool may_hook(const ServiceRecord& r);
  void end_by_hook(ServiceRecord& r, Instance& i);
  void end_hung(ServiceRecord& r, Instance& i);
  void doubt(ServiceRecord& r, Instance& i, Doubt what);
  static void believe(Instance& i, Doubt what);
  void examined(ServiceRecord& r, const ChildKey& key, const Looked& seen);
  void beat_missed(ServiceRecord& r, Instance& i, const Looked& seen);
  void start_is_late(ServiceRecord& r, Instance& i, const Looked& seen);
  void answered_unwell(ServiceRecord& r, Instance& i, const std::string& text);
  static void recovered(Instance& i);
  void look_by_command(ServiceRecord& r);
  void spawn_helper(ServiceRecord& r, std::uint32_t slot, const Instance& about);
  void look_after(ServiceRecord& r, Instance& i);
  void watch(const ServiceRecord& r, Instance& i, bool closely);
  void looked(ServiceRecord& r, Instance& i, const Looked& e, Time at);

  // readiness (readiness.cpp)
  static bool is_ready_by_command(const ServiceRecord& r, const Instance& i);
  void probe_by_command(ServiceRecord& r);
  void probe_ended(ServiceRecord& r, const Instance& probe, const End& end);

  // dependencies (dependencies.cpp)
  bool satisfied(const ServiceRecord& r) const;
  bool needs_met(const ServiceRecord& r) const;
  std::string waiting_reason(const ServiceRecord& r) const;
  bool may_stop(const ServiceRecord& r) const;
  void wake_dependents(const ServiceRecord& r);
  void wake_needs(const ServiceRecord& r);
  std::vector<std::uint32_t> closure(std::vector<std::uint32_t> from,
                                     std::vector<std::uint32_t> ServiceRecord::*edges);

  // requests (requests.cpp)
  void answer(std::uint64_t request, std::string error);
  void upgrade(const std::string& folder, std::uint64_t request);
  void add_request(const Command& e, std::vector<std::uint32_t> services);
  void resolve(const ServiceRecord& r);
  std::optional<std::string> outcome(CommandVerb verb, const ServiceRecord& r) const;
  void fail_requests(const ServiceRecord& r, CommandVerb verb, const std::string& error);
  void settle_request(std::size_t index, std::uint32_t service, const std::string& error);
  void send_signal(const Command& e, const std::vector<std::uint32_t>& services);
  std::string too_many_canaries(const Command& e, const std::vector<std::uint32_t>& services) const;
  void carry_out(const Command& e, const std::vector<std::uint32_t>& services);

  // the end (shutdown.cpp)
  static bool may_have(const ServiceRecord& r, std::uint32_t workers);
  void grow_pools(bool grow);
  void pass_on(std::int32_t signal);
  void shut_down(std::int32_t signal);
  void force(std::int32_t signal);
  void check_end();
  void quit(std::int32_t status);
  std::string left_alive() const;

  // configuration (configure.cpp, adopt.cpp)
  std::vector<std::uint32_t> take_names(const Desired& desired);
  std::vector<std::uint32_t> selected(const Desired& desired, const std::vector<std::string>& only,
                                      const std::vector<std::uint32_t>& ids);
  void take_spec(ServiceRecord& r, const ServiceSpec& spec, bool start);
  static void keep_spec(ServiceRecord& r);
  void drop_service(ServiceRecord& r);
  void resize(ServiceRecord& r);
  void name_ids(const Adopted& e);
  void adopt_child(ServiceRecord& r, const Adopted::Child& child, bool serves);
  void adopt_service(ServiceRecord& r, const std::vector<const Adopted::Child*>& children);

  State& s_;
  Output& out_;
  const Time now_;
  const std::uint64_t cause_;
};

const char* name_of(Reason reason);

// At most `max` bytes, not ending inside a UTF-8 sequence.
std::string cut(const std::string& text, std::size_t max);

// "2 to 8 workers, as its configuration says": how many a service may have.
std::string bounds_text(const ServiceSpec& spec);

// "exited with status 1", "killed by SIGKILL": a wait status (wait(2)) in words.
std::string describe_exit(std::int32_t status, bool known);

// The same with what the service's lists make of it.
End judge(const ServiceSpec& spec, const Exited& e);

}  // namespace runmain::core
