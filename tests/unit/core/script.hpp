// Tables of what happens and what follows: each step is an event in words and the effects it must have.
//
//   lives K | fails K ERROR [STAGE] | exits K STATUS | lost K | swept K [SURVIVOR]
//   ready K [PROOF] | stopping K | reloading K | says K TEXT | main K PID
//   watchdog K MS | beat K | trigger K | extend K MS | claim K PID [explicit]
//   stuck K [STALL] | starved K | excused K: what Examine has found
//   changed S | unknown S | hold S | release S
//   start|stop|restart|reload|shutdown REQUEST [S...] | kill REQUEST SIGNAL [S...] | INT | TERM | HUP
//   tick MS: so much later a Tick | wait: a Tick at the next deadline | pass MS: time goes on, nothing
//   happens
//
// and three that ask: `state S`, `due` (milliseconds to the next deadline), `workers S`. K is a ChildKey's
// text, with `b` for the slot of the build step; S is a ServiceId.
#pragma once

#include <algorithm>
#include <cerrno>
#include <initializer_list>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

#include "scene.hpp"
#include "support/catch.hpp"

namespace runmain::core {

struct Step {
  const char* event;
  const char* effects;
  const char* facts = nullptr;  // the wire names of what is told; not looked at when null
};

class Script {
 public:
  Script(Scene& scene, const std::string& line) : s_(scene), in_(line) { in_ >> verb_; }

  // What the line asks for, or the effects of what it does.
  std::string run() {
    if (verb_ == "state") return name_of(s_.state(number()));
    if (verb_ == "workers") return workers(number());
    if (verb_ == "due") {
      const Time at = s_.machine.next_deadline();
      return at == kNever ? "never" : std::to_string(to_ms(at - s_.now));
    }
    s_.out.clear();
    if (verb_ == "pass") {
      s_.now += ms();
    } else if (verb_ == "tick") {
      s_.tick(ms());
    } else if (verb_ == "wait") {
      if (s_.wait() < Duration::zero()) throw std::invalid_argument("there is no deadline to wait for");
    } else if (!of_child() && !of_service() && !of_user()) {
      throw std::invalid_argument("no such step: " + verb_);
    }
    return short_keys(s_.effects());
  }

  std::string facts() const {
    std::string text;
    for (const Fact& f : s_.out.facts) text += (text.empty() ? "" : ", ") + std::string(type_name(f.type));
    return text;
  }

  static std::string short_keys(std::string text) {
    for (std::size_t at = 0; (at = text.find(":65535:", at)) != std::string::npos;)
      text.replace(at, 7, ":b:");
    return text;
  }

 private:
  std::string word() {
    std::string w;
    in_ >> w;
    return w;
  }
  std::uint32_t number() { return static_cast<std::uint32_t>(std::stoul(word())); }
  Duration ms() { return std::chrono::milliseconds(std::stoll(word())); }
  std::uint64_t usec() { return static_cast<std::uint64_t>(std::stoull(word())) * 1000; }
  ChildKey key() {
    std::uint32_t part[4] = {};
    std::istringstream in(word());
    std::string text;
    for (std::uint32_t& p : part) {
      std::getline(in, text, ':');
      p = text == "b" ? kBuildSlot : static_cast<std::uint32_t>(std::stoul(text));
    }
    return ChildKey{ServiceId{part[0]}, part[1], part[2], part[3]};
  }

  std::string workers(std::uint32_t id) const {
    std::string text;
    for (const WorkerView& w : s_.view(id).workers)
      text += (text.empty() ? "" : ", ") + w.key.text() + " " + name_of(w.state);
    return short_keys(text);
  }

  bool of_child() {
    static const std::map<std::string, Proof> kProofs{
        {"", Proof::notify},           {"notify", Proof::notify},  {"claim", Proof::claim},
        {"epoll", Proof::epoll},       {"probe", Proof::probe},    {"elapsed", Proof::elapsed},
        {"unproven", Proof::unproven}, {"listens", Proof::listens}};
    static const std::map<std::string, int> kErrors{{"ENOENT", ENOENT}, {"EACCES", EACCES},
                                                    {"EAGAIN", EAGAIN}, {"ENOMEM", ENOMEM},
                                                    {"EMFILE", EMFILE}, {"ETXTBSY", ETXTBSY}};
    static const std::map<std::string, SpawnStage> kStages{
        {"resources", SpawnStage::resources}, {"fork", SpawnStage::fork}, {"session", SpawnStage::session},
        {"limits", SpawnStage::limits},       {"user", SpawnStage::user}, {"cwd", SpawnStage::cwd},
        {"exec", SpawnStage::exec},           {"", SpawnStage::exec}};
    const ChildKey k = is_of_child() ? key() : ChildKey{};
    if (verb_ == "lives") return take(Spawned{k, Scene::pid(k), SpawnStage::none, 0, ""});
    if (verb_ == "fails") {
      const int error = kErrors.at(word());
      return take(Spawned{k, 0, kStages.at(word()), error, "cannot run"});
    }
    if (verb_ == "exits") return take(Exited{k, Scene::pid(k), static_cast<std::int32_t>(number()), true});
    if (verb_ == "lost") return take(Exited{k, Scene::pid(k), 0, false});
    if (verb_ == "swept") {
      const std::string survivor = word();
      return take(Swept{k, survivor.empty() ? std::vector<std::string>{} : std::vector{survivor}});
    }
    if (verb_ == "ready") return take(Ready{k, kProofs.at(word()), {}});
    if (verb_ == "stopping") return take(Stopping{k, Scene::pid(k)});
    if (verb_ == "reloading") return take(Reloading{k});
    if (verb_ == "says") return take(StatusText{k, word()});
    if (verb_ == "main") return take(MainPid{k, static_cast<std::int32_t>(number())});
    if (verb_ == "watchdog") return take(Watchdog{k, usec(), false});
    if (verb_ == "beat") return take(Watchdog{k, 0, false});
    if (verb_ == "trigger") return take(Watchdog{k, 0, true});
    if (verb_ == "extend") return take(Extend{k, usec()});
    if (verb_ == "excused") return take(examined(k, true, Stall::stopped));
    if (verb_ == "starved") return take(examined(k, false, Stall::starved));
    if (verb_ == "stuck") {
      const std::string stall = word();
      return take(examined(k, false, stall.empty() ? Stall::waiting : stall_of(stall)));
    }
    if (verb_ == "claim") {
      const auto pid = static_cast<std::int32_t>(number());
      // "claim KEY 502 explicit", "claim KEY 502 after 501": that one has ended.
      const std::string how = word();
      std::vector<std::int32_t> ended;
      if (how == "after") ended.push_back(static_cast<std::int32_t>(number()));
      return take(Claimed{k, 7, pid, how == "explicit", "python", ended, false});
    }
    return false;
  }
  static Stall stall_of(const std::string& name) {
    auto stall = Stall::unknown;
    while (name_of(stall) != name) stall = static_cast<Stall>(static_cast<int>(stall) + 1);
    return stall;
  }
  static Looked examined(const ChildKey& key, bool well, Stall stall) {
    return {key, well, stall, "seen from outside", false, true, std::chrono::milliseconds(1)};
  }
  bool is_of_child() const {
    static constexpr const char* kVerbs[] = {
        "lives", "fails",    "exits", "lost",    "swept",  "ready", "stopping", "reloading", "says",
        "main",  "watchdog", "beat",  "trigger", "extend", "claim", "excused",  "starved",   "stuck"};
    return std::find(std::begin(kVerbs), std::end(kVerbs), verb_) != std::end(kVerbs);
  }

  bool of_service() {
    if (verb_ == "changed") return take(Changed{ServiceId{number()}, {"a.cpp"}, 1, false});
    if (verb_ == "unknown") return take(Changed{ServiceId{number()}, {}, 0, true});
    if (verb_ == "hold") return take(Held{ServiceId{number()}, true});
    if (verb_ == "release") return take(Held{ServiceId{number()}, false});
    return false;
  }

  bool of_user() {
    static const std::map<std::string, CommandVerb> kVerbs{
        {"start", CommandVerb::start},   {"stop", CommandVerb::stop},   {"restart", CommandVerb::restart},
        {"reload", CommandVerb::reload}, {"kill", CommandVerb::signal}, {"shutdown", CommandVerb::shutdown}};
    if (verb_ == "INT") return take(Signalled{SIGINT});
    if (verb_ == "TERM") return take(Signalled{SIGTERM});
    if (verb_ == "HUP") return take(Signalled{SIGHUP});
    const auto verb = kVerbs.find(verb_);
    if (verb == kVerbs.end()) return false;
    Command command{verb->second, {}, 0, number()};
    if (verb_ == "kill") command.signal = static_cast<std::int32_t>(number());
    for (std::string w = word(); !w.empty(); w = word())
      command.services.push_back(ServiceId{static_cast<std::uint32_t>(std::stoul(w))});
    return take(command);
  }

  bool take(const Event& event) {
    s_.handle(event);
    return true;
  }

  Scene& s_;
  std::istringstream in_;
  std::string verb_;
};

// Takes the steps in their order and checks each.
inline void play(Scene& scene, std::initializer_list<Step> steps) {
  int n = 0;
  for (const Step& step : steps) {
    Script script(scene, step.event);
    const std::string line = "step " + std::to_string(++n) + ", " + step.event + ": ";
    CHECK(line + script.run() == line + step.effects);
    if (step.facts != nullptr) CHECK(line + script.facts() == line + step.facts);
  }
}

}  // namespace runmain::core
