// The handle: dispatch of events, save and restore; and the engine's ways out: effects and facts.
#include "core/machine.hpp"

#include <algorithm>
#include <string_view>

#include "base/named_archive.hpp"
#include "core/engine.hpp"

namespace runmain::core {
namespace {

// FNV-1a, 64 bit, eight bytes at a time: it only has to tell states apart.
std::uint64_t hash(std::string_view bytes) {
  std::uint64_t h = 0xcbf29ce484222325ULL ^ bytes.size();
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word = 0;
    for (unsigned i = 0; i < 8; ++i)
      word |= std::uint64_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
    h = (h ^ word) * 0x9e3779b97f4a7c15ULL;
    h ^= h >> 32U;
  }
  for (; at < bytes.size(); ++at) h = (h ^ static_cast<unsigned char>(bytes[at])) * 0x100000001b3ULL;
  return h ^ (h >> 29U);
}

}  // namespace

Machine::Machine(std::uint64_t seed) : state_(std::make_unique<State>()) { state_->random = seed; }
Machine::Machine(const Machine& other) : state_(std::make_unique<State>(*other.state_)) {}
Machine& Machine::operator=(const Machine& other) {
  if (this != &other) state_ = std::make_unique<State>(*other.state_);
  return *this;
}
Machine::Machine(Machine&&) noexcept = default;
Machine& Machine::operator=(Machine&&) noexcept = default;
Machine::~Machine() = default;

void Machine::handle(const Event& event, Time now, Output& out) { step(*state_, event, now, out); }
Time Machine::next_deadline() const { return state_->quit ? kNever : state_->deadlines.min(); }
Snapshot Machine::snapshot() const { return view(*state_); }
bool Machine::suspects(ServiceId service) const {
  return service.value < state_->services.size() && state_->services[service.value].loop.suspects();
}
const ServiceSpec* Machine::spec_of(const ChildKey& key) const {
  if (key.service.value >= state_->services.size()) return nullptr;
  const ServiceRecord& r = state_->services[key.service.value];
  return key.is_worker() ? &r.spec_of(key.generation) : &r.spec;
}
std::vector<std::int32_t> Machine::holders_of(const ChildKey& key) const {
  const Instance* instance = instance_of(key);
  return instance == nullptr ? std::vector<std::int32_t>{} : instance->claims;
}
bool Machine::is_ready(const ChildKey& key) const {
  const Instance* instance = instance_of(key);
  return instance != nullptr && instance->phase == WorkerState::ready;
}
const Instance* Machine::instance_of(const ChildKey& key) const {
  if (key.service.value >= state_->services.size()) return nullptr;
  const auto& instances = state_->services[key.service.value].instances;
  const auto found =
      std::find_if(instances.begin(), instances.end(), [&](const Instance& i) { return i.key == key; });
  return found == instances.end() ? nullptr : &*found;
}
std::uint64_t Machine::event_number() const { return state_->events; }
std::uint64_t Machine::effect_number() const { return state_->effects; }

std::string Machine::save() const { return to_named(*state_); }

bool Machine::restore(std::string_view bytes) {
  auto state = std::make_unique<State>();
  if (!from_named(bytes, *state) || !valid(*state)) return false;
  rebuild(*state);
  state_ = std::move(state);
  return true;
}

std::uint64_t Machine::digest() const { return hash(to_binary(*state_)); }

void step(State& state, const Event& event, Time now, Output& out) {
  state.now = std::max(state.now, now);
  ++state.events;
  Engine engine(state, out);
  if (!state.quit || std::holds_alternative<Command>(event)) std::visit(engine, event);
  engine.finish();
}

void Engine::finish() {
  for (std::size_t at = 0; at < s_.work.size(); ++at) {
    ServiceRecord& r = s_.services[s_.work[at]];
    r.queued = false;
    reconcile(r);
  }
  s_.work.clear();
  if (!s_.quit) check_end();
}

void Engine::push(Action action) { out_.effects.push_back(Effect{++s_.effects, cause_, std::move(action)}); }

void Engine::record(Fact fact) {
  if (fact.cause == 0) {
    fact.cause = cause_;
    fact.time = now_;
  }
  if (fact.text.size() > kFactTextMax) fact.text.resize(kFactTextMax);
  if (ServiceRecord* r = find(fact.service)) {
    if (r->history.size() < kHistoryMax) {
      r->history.push_back(fact);
    } else {
      r->history[r->history_at] = fact;
      r->history_at = (r->history_at + 1) % kHistoryMax;
    }
  }
  out_.facts.push_back(std::move(fact));
}

void Engine::tell(const ServiceRecord& r, FactType type, std::int64_t number, std::string text) {
  Fact fact;
  fact.type = type;
  fact.service = r.id;
  fact.generation = r.current;
  fact.number = number;
  fact.text = std::move(text);
  record(std::move(fact));
}

void Engine::tell(const ServiceRecord& r, const Instance& i, FactType type, std::int64_t number,
                  std::string text) {
  record(about(r, i, type, number, std::move(text)));
}

Fact Engine::about(const ServiceRecord& r, const Instance& i, FactType type, std::int64_t number,
                   std::string text) {
  Fact fact;
  fact.type = type;
  fact.service = r.id;
  fact.slot = i.key.slot;
  fact.generation = i.key.generation;
  fact.pid = i.pid;
  fact.number = number;
  fact.text = std::move(text);
  return fact;
}

void Engine::touch(std::uint32_t index) {
  ServiceRecord& r = s_.services[index];
  if (r.queued) return;
  r.queued = true;
  s_.work.push_back(index);
}

ServiceRecord* Engine::find(ServiceId id) {
  return id.value < s_.services.size() ? &s_.services[id.value] : nullptr;
}

std::pair<ServiceRecord*, Instance*> Engine::find(const ChildKey& key) {
  ServiceRecord* r = find(key.service);
  if (r == nullptr) return {nullptr, nullptr};
  for (Instance& i : r->instances) {
    if (i.key == key) return {r, &i};
  }
  return {r, nullptr};
}

void Engine::operator()(const Tick&) {
  std::vector<std::uint32_t> reached;
  s_.deadlines.reached(now_, reached);
  for (const std::uint32_t index : reached) on_time(s_.services[index]);
}

void Engine::operator()(const HeadStarted& e) {
  Fact fact;
  fact.type = FactType::head_started;
  fact.number = e.takeovers;
  record(std::move(fact));
}

}  // namespace runmain::core
