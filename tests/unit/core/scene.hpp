// A machine and a clock for table tests: one event at a time, its effects as one line of text.
#pragma once

#include <csignal>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include "core/machine.hpp"
#include "core/state.hpp"

namespace runmain::core {

struct K : ChildKey {
  K(std::uint32_t service_id, std::uint32_t slot_, std::uint32_t generation_, std::uint32_t attempt_)
      : ChildKey{ServiceId{service_id}, slot_, generation_, attempt_} {}
};
using Keys = std::vector<K>;

inline ServiceSpec service(const std::string& name, std::uint32_t workers = 1) {
  ServiceSpec spec;
  spec.name = name;
  spec.command.argv = {"./" + name};
  spec.workers = workers;
  spec.backoff.jitter_percent = 0;
  return spec;
}
inline ServiceSpec watched(const std::string& name, std::uint32_t workers = 1) {
  ServiceSpec spec = service(name, workers);
  spec.watch.emplace();
  return spec;
}
inline ServiceSpec built(const std::string& name, std::uint32_t workers = 1) {
  ServiceSpec spec = watched(name, workers);
  spec.watch->build = CommandSpec{{"make"}, false};
  return spec;
}

inline std::string text_of(const Action& action) {
  std::ostringstream o;
  std::visit(
      [&o](const auto& a) {
        using A = std::decay_t<decltype(a)>;
        if constexpr (std::is_same_v<A, Spawn>) {
          static constexpr const char* kReasons[] = {"start", "change", "crash", "scale", "recycle"};
          o << "spawn " << a.key.text() << " " << kReasons[static_cast<int>(a.reason)];
        } else if constexpr (std::is_same_v<A, Kill>) {
          o << "kill " << a.key.text() << " " << a.signal << (a.group ? "" : " main");
        } else if constexpr (std::is_same_v<A, KillTree>) {
          o << "kill_tree " << a.key.text();
        } else if constexpr (std::is_same_v<A, Forget>) {
          o << "forget " << a.key.text();
        } else if constexpr (std::is_same_v<A, Probe>) {
          o << "probe " << a.key.text();
        } else if constexpr (std::is_same_v<A, StopProbe>) {
          o << "stop_probe " << a.key.text();
        } else if constexpr (std::is_same_v<A, GrantRole>) {
          o << (a.granted ? "grant " : "refuse ") << a.key.text() << (a.granted ? "" : " (" + a.why + ")");
        } else if constexpr (std::is_same_v<A, AskDrain>) {
          o << "ask_drain " << a.key.text();
        } else if constexpr (std::is_same_v<A, SetMainPid>) {
          o << "main_pid " << a.key.text() << " " << a.pid;
        } else if constexpr (std::is_same_v<A, CloseService>) {
          o << "close " << a.name;
        } else if constexpr (std::is_same_v<A, Answer>) {
          o << "answer " << a.request << (a.error.empty() ? "" : " (" + a.error + ")");
        } else if constexpr (std::is_same_v<A, WatchHealth>) {
          o << "watch " << a.key.text() << (a.closely ? " closely" : "");
        } else if constexpr (std::is_same_v<A, StopWatching>) {
          o << "unwatch " << a.key.text();
        } else if constexpr (std::is_same_v<A, Measure>) {
          o << "measure " << a.service.value;
        } else if constexpr (std::is_same_v<A, Distribute>) {
          o << "distribute " << a.service.value << ":";
          for (const std::uint32_t slot : a.slots) o << " " << slot;
        } else if constexpr (std::is_same_v<A, AwaitQueue>) {
          o << "await_queue " << a.key.text();
        } else if constexpr (std::is_same_v<A, AwaitTree>) {
          o << "await_tree " << a.key.text();
        } else if constexpr (std::is_same_v<A, Examine>) {
          o << "examine " << a.key.text();
        } else if constexpr (std::is_same_v<A, RenewBacklog>) {
          o << "renew_backlog " << a.key.text();
        } else if constexpr (std::is_same_v<A, CloseSlots>) {
          o << "close_slots " << a.service.value << ":";
          for (const std::uint32_t slot : a.slots) o << " " << slot;
        } else if constexpr (std::is_same_v<A, Upgrade>) {
          o << "upgrade " << (a.folder.empty() ? "-" : a.folder);
        } else {
          static_assert(std::is_same_v<A, Quit>);
          o << "quit " << a.status;
        }
      },
      action);
  return o.str();
}

// What the latest call caused is kept in `out`; pids are 1000 + a hash of the key.
struct Scene {
  Machine machine{1};
  Time now = Time(std::chrono::seconds(1000));
  Output out;
  std::vector<Fact> facts;  // of all calls

  void handle(const Event& e) {
    out.clear();
    machine.handle(e, now, out);
    facts.insert(facts.end(), out.facts.begin(), out.facts.end());
  }
  static std::int32_t pid(const ChildKey& k) {
    return static_cast<std::int32_t>(1000 + k.service.value * 10000 + (k.is_build() ? 9 : k.slot) * 1000 +
                                     k.generation * 100 + k.attempt);
  }

  void configure(std::vector<ServiceSpec> services, Mode mode = Mode::dev,
                 std::vector<std::string> only = {}) {
    handle(Configured{Desired{mode, "/x/supervisor.toml", std::move(services)}, std::move(only)});
  }
  void lives(const K& k) { handle(Spawned{k, pid(k), SpawnStage::none, 0, ""}); }
  void spawn_fails(const K& k, int error, SpawnStage stage = SpawnStage::exec) {
    handle(Spawned{k, 0, stage, error, "cannot run"});
  }
  void ready(const K& k) { handle(Ready{k, Proof::notify, {}}); }
  void serve(const K& k) {
    lives(k);
    ready(k);
  }
  void exits(const K& k, int status) { handle(Exited{k, pid(k), status, true}); }
  void swept(const K& k, std::vector<std::string> survivors = {}) { handle(Swept{k, std::move(survivors)}); }
  void ends(const K& k, int status) {
    exits(k, status);
    swept(k);
  }
  void changed(std::uint32_t id) { handle(Changed{ServiceId{id}, {"a.cpp"}, 1, false}); }
  void held(std::uint32_t id, bool on) { handle(Held{ServiceId{id}, on}); }
  void command(CommandVerb verb, std::vector<std::uint32_t> ids, std::uint64_t request, int signal = 0) {
    std::vector<ServiceId> services;
    for (const std::uint32_t id : ids) services.push_back(ServiceId{id});
    handle(Command{verb, services, signal, request});
  }
  void tick(Duration later) {
    now += later;
    handle(Tick{});
  }
  // Until the next deadline; how long that was.
  Duration wait() {
    const Time at = machine.next_deadline();
    if (at == kNever) return Duration(-1);
    const Duration d = at > now ? at - now : Duration::zero();
    tick(d);
    return d;
  }

  std::string effects() const {
    std::string text;
    for (const Effect& e : out.effects) text += (text.empty() ? "" : ", ") + text_of(e.action);
    return text;
  }
  std::vector<ChildKey> spawned() const {
    std::vector<ChildKey> keys;
    for (const Effect& e : out.effects) {
      if (const auto* s = std::get_if<Spawn>(&e.action)) keys.push_back(s->key);
    }
    return keys;
  }
  template <class A>
  int count() const {
    int n = 0;
    for (const Effect& e : out.effects) n += std::holds_alternative<A>(e.action) ? 1 : 0;
    return n;
  }
  int told(FactType type) const {
    int n = 0;
    for (const Fact& f : facts) n += f.type == type ? 1 : 0;
    return n;
  }
  ServiceView view(std::uint32_t id) const {
    const Snapshot snapshot = machine.snapshot();
    for (const ServiceView& v : snapshot.services) {
      if (v.id.value == id) return v;
    }
    return {};
  }
  ServiceState state(std::uint32_t id) const { return view(id).state; }
};

// All workers of a watched service are ready, in generation 1.
inline Scene serving_watched(const ServiceSpec& spec = watched("web")) {
  Scene s;
  s.configure({spec});
  for (std::uint32_t slot = 0; slot < spec.workers; ++slot) s.serve({0, slot, 1, 1});
  return s;
}

inline bool operator==(const std::vector<ChildKey>& a, const Keys& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const ChildKey& x, const K& y) { return x == y; });
}

}  // namespace runmain::core
