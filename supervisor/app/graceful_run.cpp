#include "app/graceful_run.hpp"

#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <set>
#include <thread>

#include "os/linux/listening.hpp"
#include "os/linux/process_tree.hpp"
#include "os/loop/loop.hpp"

namespace runmain::app {
namespace {

using control::Json;
using graceful::Client;
using graceful::Nanoseconds;
using graceful::Outcome;
using graceful::Seen;
using graceful::Worker;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kAnswerMax = seconds(10);
constexpr Duration kStatusMax = seconds(5);
constexpr Duration kBootMax = seconds(30);  // of a worker in a reload
constexpr Duration kPlain = milliseconds(1500);
constexpr Duration kPulse = milliseconds(150);  // for which all workers but one are stopped
constexpr int kPulses = 6;
constexpr int kPulseGapMs = 150;
constexpr Duration kFirstGoodMax = seconds(10);  // from ready to a good answer
constexpr std::size_t kFirstAsks = 200;

Time in(Duration limit) { return os::Loop::now() + limit; }
Nanoseconds now_ns() { return os::Loop::now().time_since_epoch().count(); }
void pause_ms(int ms) { (void)poll(nullptr, 0, ms); }

bool all_gone(const std::vector<Worker>& workers, std::size_t first, std::size_t last) {
  for (std::size_t i = first; i < std::min(last, workers.size()); ++i) {
    if (workers[i].ended == 0) return false;
  }
  return true;
}

Result<Json> ask_status(const std::string& runtime) {
  auto client = control::Client::connect(runtime + "/control", in(kStatusMax));
  if (!client) return client.error();
  auto answer = client->call("status", Json::object(), in(kStatusMax));
  if (!answer) return answer.error();
  return answer->value;
}

}  // namespace

GracefulRun::GracefulRun(GracefulRequest request) : request_(std::move(request)) {
  seen_.command = request_.command;
  seen_.stop_timeout = request_.stop_timeout.count();
  seen_.path = request_.path;
}

Result<void> GracefulRun::run() {
  if (auto started = start(); !started) return started.error();
  if (auto serves = wait_for_service(); !serves) {
    instance_.stop(seconds(2));
    return serves.error();
  }
  using Step = void (GracefulRun::*)();
  for (const Step step :
       {&GracefulRun::plain, &GracefulRun::quiet, &GracefulRun::idle, &GracefulRun::silent,
        &GracefulRun::half, &GracefulRun::in_flight, &GracefulRun::slow, &GracefulRun::load}) {
    if (!goes_on()) break;
    (this->*step)();
    look_at_socket();
  }
  if (is_interrupted()) {
    instance_.stop(seconds(2));
    return Error{"interrupted", {}, {}, EINTR};
  }
  end();
  return {};
}

bool GracefulRun::goes_on() { return !is_interrupted() && instance_.lives(); }

Result<void> GracefulRun::start() {
  std::vector<std::string> args{"--workers",      request_.workers,
                                "--listen",       request_.listen,
                                "--stop-timeout", std::to_string(to_ms(request_.stop_timeout)) + "ms"};
  args.insert(args.end(), request_.serve.begin(), request_.serve.end());
  args.emplace_back("--");
  args.insert(args.end(), request_.command.begin(), request_.command.end());
  return instance_.start(request_.runmain, args);
}

// Until the first worker is ready, and then until the first good answer, and all others are ready, too.
Result<void> GracefulRun::wait_for_service() {
  Seen& seen = begin(Trial::start, "it starts");
  const Time deadline = in(request_.patience);
  while (!watch_.follow(instance_.runtime())) {
    if (!instance_.lives() || is_interrupted() || os::Loop::now() >= deadline) return never_served();
    pause_ms(10);
  }
  const auto is_ready = [](const std::vector<Worker>& workers) {
    return std::any_of(workers.begin(), workers.end(), [](const Worker& w) { return w.ready != 0; });
  };
  while (!watch_.wait_until(in(milliseconds(100)), is_ready)) {
    if (!instance_.lives() || is_interrupted() || os::Loop::now() >= deadline) return never_served();
  }
  const auto status = ask_status(instance_.runtime());
  if (!status) return status.error();
  const Json services = status->value("services", Json::array());
  if (services.empty()) return Error{"nothing runs", {}, {}, ECHILD};
  const Json& service = services.front();
  const Json listen = service.value("listen", Json::array());
  if (listen.empty() || !listen.front().is_string())
    return Error{"it has no socket of runmain", {}, "--listen", EINVAL};
  seen_.listen = listen.front().get<std::string>();
  auto target = target_of(seen_.listen);
  if (!target) return target.error();
  target_ = *target;
  if (!ask_until_good(seen)) return never_served();
  const auto all = static_cast<std::size_t>(control::number_of(service, "wanted_workers", 1));
  const auto are_ready = [all](const std::vector<Worker>& workers) {
    return static_cast<std::size_t>(std::count_if(workers.begin(), workers.end(), [](const Worker& w) {
             return w.ready != 0 && w.ended == 0;
           })) >= all;
  };
  while (!watch_.wait_until(in(milliseconds(100)), are_ready)) {
    if (!instance_.lives() || is_interrupted() || os::Loop::now() >= deadline) break;
  }
  seen.end = now_ns();
  seen_.served = true;
  look_at_socket();
  return {};
}

bool GracefulRun::ask_until_good(Seen& seen) {
  const Time deadline = in(std::min<Duration>(kFirstGoodMax, request_.patience));
  bool good = false;
  while (!good && seen.asks.size() < kFirstAsks && os::Loop::now() < deadline && goes_on()) {
    GracefulLoad load(target_, watch_);
    GracefulPlan plan;
    plan.path = request_.path;
    plan.times = 1;
    plan.limit = Duration(deadline - os::Loop::now()).count();
    load.add(plan);
    (void)load.run(deadline, [&] { return load.all_over() || is_interrupted(); });
    load.close();
    for (const graceful::Ask& ask : load.asks()) {
      seen.asks.push_back(ask);
      good = good || (ask.outcome == Outcome::answered && ask.status < 500);
    }
    if (!good) pause_ms(20);
  }
  return good;
}

Result<void> GracefulRun::never_served() {
  if (is_interrupted()) return Error{"interrupted", {}, {}, EINTR};
  look_for_own_listeners();
  seen_.says_in_use = instance_.says_in_use();
  if (seen_.trials.back().asks.empty() && !instance_.lives())
    return Error{"`runmain serve` ended before it served", {}, "its last lines are shown", ECHILD};
  const std::string why = watch_.last_failure();
  return Error{request_.command.front() + " never served" + (why.empty() ? "" : ": " + why),
               {},
               "does it take longer? --timeout 2m; which path is well? --request /path",
               ETIMEDOUT};
}

Seen& GracefulRun::begin(Trial trial, const std::string& what) {
  watch_.set_trial(trial);
  if (request_.progress) request_.progress(what);
  Seen seen;
  seen.trial = trial;
  seen.begin = now_ns();
  seen_.trials.push_back(std::move(seen));
  return seen_.trials.back();
}

void GracefulRun::close(Seen& seen, GracefulLoad& load) {
  load.close();
  seen.asks.insert(seen.asks.end(), load.asks().begin(), load.asks().end());
  for (graceful::Ask& ask : seen.asks) {
    if (ask.drain < seen.begin) ask.drain = 0;  // one of a trial before
  }
  seen_.asks_left_out += load.left_out();
  seen.end = now_ns();
}

void GracefulRun::reload(Seen& seen, GracefulLoad& load) {
  const std::size_t before = watch_.workers().size();
  std::atomic<bool> done{false};
  std::string fault;
  const auto each = std::max<std::size_t>(1, before);
  const Time deadline =
      in(kBootMax + (request_.stop_timeout + seconds(2)) * static_cast<int>(std::min<std::size_t>(each, 4)));
  std::thread asking([&] {
    auto client = control::Client::connect(instance_.runtime() + "/control", in(kStatusMax));
    if (!client) {
      fault = client.error().text();
    } else if (auto answer = client->call("reload", Json{{"wait", true}}, deadline); !answer) {
      fault = answer.error().text();
    } else if (!answer->ok) {
      fault = answer->error.text();
    }
    done = true;
  });
  ++seen.reloads;
  (void)load.run(deadline, [&] { return done || !goes_on(); });
  const Time gone = in(request_.stop_timeout + seconds(3));
  (void)load.run(gone, [&] { return !goes_on() || all_gone(watch_.workers(), 0, before); });
  if (!goes_on()) instance_.stop(seconds(1));  // so that nobody waits for an answer
  asking.join();
  if (seen.reload_fault.empty() && !is_interrupted()) seen.reload_fault = fault;
}

void GracefulRun::settle_clients(GracefulLoad& load) { load.finish(in(kAnswerMax)); }

void GracefulRun::plain() {
  Seen& seen = begin(Trial::plain, "requests without a reload");
  GracefulLoad load(target_, watch_);
  GracefulPlan fresh;
  fresh.path = request_.path;
  fresh.interval = 20'000'000;
  fresh.limit = kAnswerMax.count();
  load.add(fresh, 4);
  (void)load.run(in(kPlain), [this] { return !goes_on(); });
  settle_clients(load);
  close(seen, load);
  GracefulLoad kept(target_, watch_);
  look_for_idle_workers(kept);
  kept.close();
  seen.end = now_ns();
  look_for_own_listeners();
}

// A worker that got none of many connections may only have been slower: it is asked while the others stand
// still.
void GracefulRun::look_for_idle_workers(GracefulLoad& load) {
  GracefulPlan idle;
  idle.client = Client::idle;
  idle.path = request_.path;
  idle.limit = kAnswerMax.count();
  const auto serving = watch_.workers();
  load.add(idle, 16);
  (void)load.run(in(milliseconds(300)), [this] { return !goes_on(); });
  const auto owners = load.owners();
  for (const Worker& worker : serving) {
    if (worker.ended != 0 || std::find(owners.begin(), owners.end(), worker.pid) != owners.end()) continue;
    bool answers = false;
    for (int i = 0; i < kPulses && !answers && goes_on(); ++i) {
      answers = answers_alone(worker, serving);
      pause_ms(kPulseGapMs);
    }
    if (!answers) seen_.idle_slots.push_back(worker.slot);
  }
}

// For a moment only: in production a worker that a signal has stopped is ended after 500 ms.
bool GracefulRun::answers_alone(const Worker& worker, const std::vector<Worker>& all) {
  std::vector<pid_t> stopped;
  for (const Worker& other : all) {
    if (other.pid == worker.pid || other.ended != 0) continue;
    const std::uint64_t tag = os::tag_of(other.pid);
    if (tag == 0) continue;
    stopped_.push_back(other.pid);
    for (const pid_t pid : os::tagged_processes(tag)) {
      if (kill(pid, SIGSTOP) == 0) stopped.push_back(pid);
    }
  }
  GracefulPlan plan;
  plan.path = request_.path;
  plan.limit = kAnswerMax.count();
  plan.times = 1;
  GracefulLoad alone(target_, watch_);
  alone.add(plan, 4);
  const auto is_answered = [&] {
    return std::any_of(alone.asks().begin(), alone.asks().end(),
                       [](const graceful::Ask& a) { return a.outcome == Outcome::answered; });
  };
  const bool answers = alone.run(in(kPulse), is_answered);
  for (const pid_t pid : stopped) kill(pid, SIGCONT);
  alone.close();
  return answers;
}

void GracefulRun::look_for_own_listeners() {
  std::set<std::string> own;
  for (const Worker& worker : watch_.workers()) {
    if (worker.ended != 0) continue;
    const std::uint64_t tag = os::tag_of(worker.pid);
    if (tag == 0) continue;
    for (const os::Listening& one : os::listening_sockets(os::tagged_processes(tag))) {
      if (one.address != seen_.listen) own.insert(one.address);
    }
  }
  seen_.own_addresses.assign(own.begin(), own.end());
}

void GracefulRun::look_at_socket() {
  const std::string prefix = "unix:/";
  if (!seen_.listen.starts_with(prefix)) return;
  struct stat file {};
  const std::uint64_t inode = stat(seen_.listen.c_str() + prefix.size() - 1, &file) == 0 ? file.st_ino : 0;
  if (socket_inode_ == 0) socket_inode_ = inode;
  if (inode == 0 || inode != socket_inode_) seen_.unlinked = true;
}

graceful::Observation GracefulRun::observation() {
  seen_.workers = watch_.workers();
  for (Worker& worker : seen_.workers) {
    // Had we no CPU, a worker that we had stopped was taken for hung: not its fault.
    if (worker.trial != Trial::plain ||
        std::find(stopped_.begin(), stopped_.end(), worker.pid) == stopped_.end())
      continue;
    worker.asked = true;
    worker.status = -1;
  }
  seen_.listener_shut = watch_.shut();
  return seen_;
}

}  // namespace runmain::app
