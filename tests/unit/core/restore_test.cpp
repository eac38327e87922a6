// Bytes from outside: a saved state that was flipped, cut or spliced is refused, or is a state that can be
// lived in.
#include <functional>
#include <iostream>
#include <optional>

#include "script.hpp"
#include "support/simulation.hpp"

using namespace runmain;
using namespace runmain::core;

namespace {

constexpr std::uint64_t kSeed = 20240229;
constexpr int kMutations = 400;  // of each state
constexpr int kEvents = 200;     // in each that is accepted

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed * 2 + 1) {}
  std::uint64_t pick(std::uint64_t below) {
    random_ ^= random_ << 13U;
    random_ ^= random_ >> 7U;
    random_ ^= random_ << 17U;
    return (random_ >> 16U) % below;
  }

 private:
  std::uint64_t random_;
};

// States with something of everything: two by hand, the others out of random lives.
std::vector<std::string> saved_states() {
  std::vector<std::string> states;
  states.push_back(Machine(1).save());
  Scene s;
  ServiceSpec page = watched("page");
  page.depends_on = {"web"};
  page.port = 8000;
  s.configure({built("web", 2), page, service("db")});
  s.serve({2, 0, 1, 1});
  s.handle(Watchdog{K{2, 0, 1, 1}, 5000000, false});
  s.handle(Claimed{K{2, 0, 1, 1}, 1, 77, false, "python", {}, false});
  s.handle(StatusText{K{2, 0, 1, 1}, "warm"});
  s.lives({0, kBuildSlot, 1, 1});
  s.ends({0, kBuildSlot, 1, 1}, 0);
  s.serve({0, 0, 1, 1});
  s.spawn_fails({0, 1, 1, 1}, EAGAIN);
  s.changed(0);
  s.held(0, true);
  s.changed(0);
  s.command(CommandVerb::restart, {1, 2}, 5);
  states.push_back(s.machine.save());
  s.handle(Signalled{SIGTERM});
  states.push_back(s.machine.save());
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    SimulationOptions options;
    options.services = static_cast<std::uint32_t>(seed);
    Simulation simulation(seed, options);
    for (int n = 0; n < 300; ++n) simulation.step();
    states.push_back(simulation.machine().save());
  }
  return states;
}

std::string mutated(std::string bytes, Dice& dice) {
  const std::uint64_t times = 1 + dice.pick(3);
  for (std::uint64_t n = 0; n < times && !bytes.empty(); ++n) {
    static constexpr unsigned char kBytes[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0x02};
    const std::size_t at = dice.pick(bytes.size());
    switch (dice.pick(5)) {
      case 0:
        bytes[at] = static_cast<char>(static_cast<unsigned char>(bytes[at]) ^ (1U << dice.pick(8)));
        break;
      case 1: bytes[at] = static_cast<char>(kBytes[dice.pick(std::size(kBytes))]); break;
      case 2: bytes.erase(at, 1 + dice.pick(3)); break;
      case 3:
        bytes.insert(at, 1 + dice.pick(9), static_cast<char>(kBytes[dice.pick(std::size(kBytes))]));
        break;
      default: {  // a number at the edge in the place of another
        const bool negative = dice.pick(2) != 0;
        std::string edge(9, '\xff');
        if (negative) edge.push_back('\x01');
        edge.back() = static_cast<char>(negative ? 0x01 : 0x7f);
        std::size_t end = at;
        while (end + 1 < bytes.size() && (static_cast<unsigned char>(bytes[end]) & 0x80U) != 0) ++end;
        bytes.replace(at, end - at + 1, edge);
      }
    }
  }
  return bytes;
}

// An event about what is there, or nearly.
Event some_event(const Machine& machine, Dice& dice) {
  const Snapshot snapshot = machine.snapshot();
  ChildKey key{ServiceId{static_cast<std::uint32_t>(dice.pick(4))}, static_cast<std::uint32_t>(dice.pick(3)),
               static_cast<std::uint32_t>(dice.pick(3)), static_cast<std::uint32_t>(dice.pick(3))};
  std::int32_t pid = 1;
  if (!snapshot.services.empty()) {
    const ServiceView& v = snapshot.services[dice.pick(snapshot.services.size())];
    if (!v.workers.empty()) {
      const WorkerView& w = v.workers[dice.pick(v.workers.size())];
      key = w.key;
      pid = w.pid;
    }
  }
  switch (dice.pick(24)) {
    case 0:
    case 1: return Spawned{key, 100, SpawnStage::none, 0, ""};
    case 2: return Spawned{key, 0, SpawnStage::exec, dice.pick(2) != 0 ? EAGAIN : ENOENT, "x"};
    case 3:
    case 4: return Exited{key, pid, static_cast<std::int32_t>(dice.pick(3)), dice.pick(9) != 0};
    case 5:
    case 6:
      return Swept{key, dice.pick(5) == 0 ? std::vector<std::string>{"1 x"} : std::vector<std::string>{}};
    case 7:
    case 8: return Ready{key, Proof::probe, {}};
    case 9: return Stopping{key, pid};
    case 10: return StatusText{key, "x"};
    case 11: return Watchdog{key, dice.pick(3) * 1000000, dice.pick(5) == 0};
    case 12: return Extend{key, dice.pick(1000000)};
    case 13: return MainPid{key, 4242};
    case 14:
      return Claimed{key, 1, static_cast<std::int32_t>(dice.pick(99)), dice.pick(2) != 0, "x", {}, false};
    case 15: return Changed{key.service, {"a"}, 1, false};
    case 16: return Held{key.service, dice.pick(2) != 0};
    case 17: return Command{static_cast<CommandVerb>(dice.pick(5)), {key.service}, 10, 1000 + dice.pick(99)};
    case 18: return Signalled{dice.pick(20) == 0 ? SIGTERM : SIGHUP};
    case 19:
      return Configured{Desired{Mode::dev, "/x", {service("web", 2), watched("page"), service("new")}}, {}};
    default: return Tick{};
  }
}

// What is wrong with living on from here, if anything is.
std::optional<std::string> live(Machine machine, Dice& dice) {
  Output out;
  Time now = Time(std::chrono::hours(1));
  std::uint64_t effects = machine.effect_number();
  for (int n = 0; n < kEvents; ++n) {
    now += Duration(static_cast<Duration::rep>(dice.pick(200'000'000)));
    const Event event = some_event(machine, dice);
    out.clear();
    machine.handle(event, now, out);
    for (const Effect& e : out.effects) {
      if (e.number != ++effects) return "effects are numbered with a gap";
    }
    if (!std::holds_alternative<Tick>(event)) continue;
    if (machine.next_deadline() <= now) return "I11: a deadline that is reached is still there after a Tick";
    const Duration wait = machine.next_deadline() - now;
    if (wait < kSpanMax && dice.pick(2) != 0) now += wait;
  }
  Machine next(2);
  const std::string bytes = machine.save();
  if (!next.restore(bytes)) return "what is saved is not accepted";
  if (next.save() != bytes) return "what is restored is not what was saved";
  if (next.next_deadline() != machine.next_deadline()) return "a deadline is not derived from the state";
  return std::nullopt;
}

}  // namespace

TEST_CASE("a state that was cut or goes on too long is refused, and the machine stays as it was") {
  for (const std::string& bytes : saved_states()) {
    Machine machine(3);
    const std::string before = machine.save();
    for (std::size_t size = 0; size<bytes.size(); size += bytes.size()> 2000 ? 7 : 1)
      REQUIRE_FALSE(machine.restore(std::string_view(bytes).substr(0, size)));
    REQUIRE_FALSE(machine.restore(bytes + '\0'));
    REQUIRE(machine.save() == before);
    REQUIRE(machine.restore(bytes));
    REQUIRE(machine.save() == bytes);
  }
}

TEST_CASE("a state that was tampered with is refused, or can be lived in") {
  Dice dice(kSeed);
  int accepted = 0;
  int refused = 0;
  for (const std::string& bytes : saved_states()) {
    for (int n = 0; n < kMutations; ++n) {
      const std::string bad = mutated(bytes, dice);
      Machine machine(4);
      if (!machine.restore(bad)) {
        ++refused;
        continue;
      }
      ++accepted;
      const auto wrong = live(machine, dice);
      INFO("state " << bytes.size() << " bytes, mutation " << n << ": " << wrong.value_or(""));
      REQUIRE_FALSE(wrong);
    }
  }
  std::cout << "tampered states: seed " << kSeed << ", " << accepted << " accepted, " << refused
            << " refused\n";
  CHECK(accepted > 100);
  CHECK(refused > 100);
}

TEST_CASE("a state that could lead astray is not valid, field by field") {
  struct Row {
    const char* what;
    std::function<void(State&)> change;
  };
  static constexpr Time kBefore = Time(Duration(-1));
  const Row rows[] = {
      {"a clock before zero", [](State& s) { s.now = kBefore; }},
      {"an id that is no index", [](State& s) { s.services[0].id.value = 7; }},
      {"fewer slots than workers", [](State& s) { s.services[0].slots.pop_back(); }},
      {"more slots than there can be", [](State& s) { s.services[0].slots.resize(kWorkersMax + 1); }},
      {"a run state that is none", [](State& s) { s.services[0].run = static_cast<RunState>(9); }},
      {"a reload of what has failed",
       [](State& s) {
         s.services[0].run = RunState::failed;
         s.services[0].roll = Roll::build;
       }},
      {"a window that ended before zero", [](State& s) { s.services[0].window_end = kBefore; }},
      {"a reload since before zero", [](State& s) { s.services[0].reload_since = kBefore; }},
      {"a retry before zero", [](State& s) { s.services[0].slots[0].next.retry_at = kBefore; }},
      {"more crashes than are counted",
       [](State& s) { s.services[0].slots[0].current.crashes = kCountMax + 1; }},
      {"a child of another service", [](State& s) { s.services[0].instances[0].key.service.value = 1; }},
      {"a child in no slot", [](State& s) { s.services[0].instances[0].key.slot = kBuildSlot + 1; }},
      {"a phase that no child has",
       [](State& s) { s.services[0].instances[0].phase = WorkerState::backoff; }},
      {"a deadline of a ready child", [](State& s) { s.services[0].instances[0].deadline = s.now; }},
      {"a watchdog of a swept child",
       [](State& s) {
         s.services[0].instances[0].phase = WorkerState::sweeping;
         s.services[0].instances[0].watchdog_at = s.now;
       }},
      {"ready since before zero", [](State& s) { s.services[0].instances[0].ready_at = kBefore; }},
      {"too many claims", [](State& s) { s.services[0].instances[0].claims.resize(kClaimsMax + 1); }},
      {"too long a status",
       [](State& s) { s.services[0].instances[0].status_text.resize(kStatusTextMax + 1); }},
      {"a request for a service that is none",
       [](State& s) {
         s.requests.push_back({1, CommandVerb::stop, {9}, {}});
       }},
      {"a request out of order",
       [](State& s) {
         s.requests.push_back({1, CommandVerb::stop, {1, 0}, {}});
       }},
      {"too many requests", [](State& s) { s.requests.resize(kRequestsMax + 1); }},
      {"too long a history", [](State& s) { s.services[0].history.resize(kHistoryMax + 1); }},
      {"a history that begins behind its end", [](State& s) { s.services[0].history_at = kHistoryMax; }},
  };
  State good;
  Output out;
  const Time now = Time(std::chrono::hours(1));
  step(good, Configured{Desired{Mode::dev, "/x", {service("web", 2), service("db")}}, {}}, now, out);
  step(good, Spawned{K{0, 0, 1, 1}, 5, SpawnStage::none, 0, ""}, now, out);
  step(good, Ready{K{0, 0, 1, 1}, Proof::notify, {}}, now, out);
  REQUIRE(valid(good));
  for (const Row& row : rows) {
    INFO(row.what);
    State bad = good;
    row.change(bad);
    CHECK_FALSE(valid(bad));
  }
}
