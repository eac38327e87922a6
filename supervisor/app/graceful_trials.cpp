// The trials with a reload, and the end. What each is for: docs/check-graceful.md.
#include <algorithm>

#include "app/graceful_run.hpp"
#include "os/loop/loop.hpp"

namespace runmain::app {
namespace {

using graceful::Client;
using graceful::Nanoseconds;
using graceful::Seen;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Nanoseconds kMillisecond = 1'000'000;
constexpr Duration kSettle = milliseconds(400);  // until connections are accepted, and their owners known
constexpr Duration kBesideSlow = milliseconds(1500);
constexpr Duration kTrickledMax = seconds(5);  // until all but the end of each has been sent
constexpr std::size_t kIdle = 12;
constexpr std::size_t kSilent = 4;
constexpr std::size_t kHesitant = 4;  // for each delay
constexpr std::size_t kHalf = 4;
constexpr std::size_t kTrickled = 6;
constexpr std::size_t kSlowReaders = 4;
constexpr std::size_t kFreshUnderLoad = 4;
constexpr std::size_t kKeptUnderLoad = 16;

Time in(Duration limit) { return os::Loop::now() + limit; }

GracefulPlan plan_of(Client client, const std::string& path, Duration limit) {
  GracefulPlan plan;
  plan.client = client;
  plan.path = path;
  plan.limit = limit.count();
  return plan;
}

}  // namespace

void GracefulRun::quiet() {
  Seen& seen = begin(Trial::quiet, "a reload without connections");
  watch_.arm();
  GracefulLoad nobody(target_, watch_);
  reload(seen, nobody);
  watch_.collect_order();
  close(seen, nobody);
}

void GracefulRun::idle() {
  Seen& seen = begin(Trial::idle, "a reload with idle kept connections");
  GracefulLoad load(target_, watch_);
  load.add(plan_of(Client::idle, request_.path, seconds(10)), kIdle);
  (void)load.run(in(kSettle), [this] { return !goes_on(); });
  reload(seen, load);
  close(seen, load);
}

void GracefulRun::silent() {
  Seen& seen = begin(Trial::silent, "a reload with silent connections");
  GracefulLoad load(target_, watch_);
  load.add(plan_of(Client::silent, request_.path, seconds(10)), kSilent);
  for (const int delay_ms : {10, 50, 100, 200}) {
    GracefulPlan late = plan_of(Client::hesitant, request_.path, seconds(10));
    late.delay = delay_ms * kMillisecond;
    load.add(late, kHesitant);
  }
  (void)load.run(in(kSettle), [this] { return !goes_on(); });
  reload(seen, load);
  settle_clients(load);
  close(seen, load);
}

void GracefulRun::half() {
  Seen& seen = begin(Trial::half, "a reload with half-sent requests");
  GracefulLoad load(target_, watch_);
  load.add(plan_of(Client::half, request_.path, seconds(10)), kHalf);
  (void)load.run(in(kSettle), [this] { return !goes_on(); });
  reload(seen, load);
  close(seen, load);
}

void GracefulRun::in_flight() {
  Seen& seen = begin(Trial::in_flight, "a reload with requests in flight");
  GracefulLoad load(target_, watch_);
  GracefulPlan trickled = plan_of(Client::trickled, request_.path, seconds(10));
  trickled.delay = 300 * kMillisecond;
  load.add(trickled, kTrickled);
  if (!request_.slow.empty())
    load.add(plan_of(Client::slow_path, request_.slow, request_.stop_timeout + seconds(30)), 4);
  (void)load.run(in(kTrickledMax), [&] { return !goes_on() || load.all_prepared(); });
  reload(seen, load);
  settle_clients(load);
  close(seen, load);
}

void GracefulRun::slow() {
  Seen& seen = begin(Trial::slow, "a reload with slow clients");
  GracefulLoad load(target_, watch_);
  load.add(plan_of(Client::slow_reader, request_.path, seconds(120)), kSlowReaders);
  GracefulPlan trickled = plan_of(Client::trickled, request_.path, seconds(10));
  trickled.delay = 300 * kMillisecond;
  load.add(trickled, kSlowReaders);
  GracefulPlan beside = plan_of(Client::fresh, request_.path, seconds(10));
  beside.interval = 50 * kMillisecond;
  beside.delay = 200 * kMillisecond;
  beside.times = static_cast<std::uint32_t>((kBesideSlow.count() - beside.delay) / beside.interval);
  load.add(beside, 2);
  (void)load.run(in(kBesideSlow + kSettle), [this] { return !goes_on(); });
  (void)load.run(in(kTrickledMax), [&] { return !goes_on() || load.all_prepared(); });
  reload(seen, load);
  settle_clients(load);
  close(seen, load);
}

void GracefulRun::load() {
  Seen& seen = begin(Trial::load, "reloads under load");
  GracefulLoad load(target_, watch_);
  GracefulPlan fresh = plan_of(Client::fresh, request_.path, seconds(10));
  fresh.interval = 20 * kMillisecond;
  GracefulPlan kept = plan_of(Client::kept, request_.path, seconds(10));
  kept.interval = 50 * kMillisecond;
  for (std::size_t i = 0; i < kKeptUnderLoad; ++i) {
    // Each at a time of its own.
    kept.delay = static_cast<Nanoseconds>(1 + i * 3) * kMillisecond;
    load.add(kept);
    fresh.delay = static_cast<Nanoseconds>(1 + i * 5) * kMillisecond;
    if (i < kFreshUnderLoad) load.add(fresh);
  }
  (void)load.run(in(kSettle), [this] { return !goes_on(); });
  for (std::size_t i = 0; i < request_.reloads && goes_on() && seen.reload_fault.empty(); ++i)
    reload(seen, load);
  settle_clients(load);
  close(seen, load);
}

void GracefulRun::end() {
  Seen& seen = begin(Trial::end, "the end");
  instance_.stop(request_.stop_timeout + seconds(5));
  seen.end = os::Loop::now().time_since_epoch().count();
}

}  // namespace runmain::app
