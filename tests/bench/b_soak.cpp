// A hundred thousand spans a second from 4 workers for some minutes: nothing dropped, the observer's memory
// flat, a reload as fast as without telemetry. With more than the machine can take (32 workers of 8 threads,
// a million a second): what is lost is counted to the last one, and `runmain status` answers.
//   b_soak [SECONDS] [SPANS_A_SECOND] [WORKERS] [THREADS] [PAUSE_MS]
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "spans_world.hpp"

using namespace runmain::bench;
using namespace std::chrono_literals;
using runmain::test::Json;
using runmain::test::SpanSink;

namespace {

double cpu_seconds(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(in, text);
  std::size_t at = text.rfind(')');
  if (at == std::string::npos) return 0;
  char state = 0;
  long long skip = 0;
  unsigned long user = 0;
  unsigned long system = 0;
  if (std::sscanf(text.c_str() + at + 2, "%c %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld %lu %lu",
                  &state, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &user,
                  &system) != 13)
    return 0;
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// What the observer says of the service's spans: `runmain status`, asked until nothing is on its way any
// more.
struct Told {
  std::uint64_t ended = 0;
  std::uint64_t exported = 0;
  std::uint64_t dropped = 0;
  std::string reasons;
  std::string faults;  // what else is not as it should be
  bool at_rest = false;
};

Told told(const Json& status) {
  Told sum;
  std::map<std::string, std::uint64_t> reasons;
  int imbalanced = 0;
  sum.at_rest = status.contains("telemetry");
  for (const Json& ledger : status.value("/telemetry/ledgers"_json_pointer, Json::array())) {
    if (ledger.at("service") != "web") continue;
    sum.ended += ledger.at("ended").get<std::uint64_t>();
    sum.exported += ledger.at("exported").get<std::uint64_t>();
    for (const auto& [reason, spans] : ledger.at("dropped").items()) {
      reasons[reason] += spans.get<std::uint64_t>();
      sum.dropped += spans.get<std::uint64_t>();
    }
    imbalanced += ledger.at("imbalance").get<std::string>().empty() ? 0 : 1;
    sum.at_rest = sum.at_rest && ledger.at("waiting") == 0;
  }
  for (const auto& [reason, spans] : reasons) sum.reasons += " " + reason + " " + std::to_string(spans);
  sum.at_rest = sum.at_rest && sum.ended == sum.exported + sum.dropped;
  if (!sum.at_rest) sum.faults += ", not at rest";
  if (imbalanced > 0) sum.faults += ", " + std::to_string(imbalanced) + " ledgers do not balance";
  for (const char* what : {"mailboxes_lost", "mailboxes_cut", "mailboxes_not_made", "lanes_aside"}) {
    const auto n = status.value(Json::json_pointer(std::string("/telemetry/counters/") + what), 0);
    if (n > 0) sum.faults += ", " + std::string(what) + " " + std::to_string(n);
  }
  return sum;
}

// As a person asks; null if it is no answer.
Json ask(SpansWorld& world) {
  const runmain::test::Ran ran = world.up().cli({"status", "--json"});
  return ran.status == 0 ? Json::parse(ran.out, nullptr, false) : Json();
}

Told told_at_rest(SpansWorld& world) {
  Told sum;
  for (const auto begin = Clock::now(); ms_since(begin) < 180'000;) {
    const Json status = ask(world);
    const std::uint64_t before = sum.ended;
    if (status.is_object()) {
      sum = told(status);
      if (sum.at_rest && sum.ended == before) return sum;  // else a mailbox may not be read yet
    }
    std::this_thread::sleep_for(200ms);
  }
  return sum;
}

std::vector<double> reloads(SpansWorld& world, int count, std::chrono::milliseconds pause) {
  std::vector<double> times;
  for (int i = 0; i < count; ++i) {
    std::this_thread::sleep_for(pause);
    times.push_back(world.reload_ms());
  }
  return times;
}

}  // namespace

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 300;
  const int rate = argc > 2 ? std::atoi(argv[2]) : 100'000;
  const int workers = argc > 3 ? std::max(1, std::atoi(argv[3])) : 4;
  const int threads = argc > 4 ? std::clamp(std::atoi(argv[4]), 1, static_cast<int>(spans::kThreads)) : 1;
  const int pause = argc > 5 ? std::atoi(argv[5]) : 0;  // of each thread: t_spans.cpp
  const auto make = [&](const std::string& endpoint) {
    auto world = std::make_unique<SpansWorld>(endpoint, workers, threads, rate / workers / threads, pause);
    return world->begin() ? std::move(world) : nullptr;
  };
  // Before and after, as the machine has its moods.
  std::vector<double> without;
  const auto reload_without = [&] {
    const auto world = make("");
    if (!world) return false;
    for (const double ms : reloads(*world, 15, 1s)) without.push_back(ms);
    world->up().stop();
    return true;
  };
  if (!reload_without()) return 1;
  SpanSink sink;
  const auto traced = make(sink.endpoint());
  if (!traced) return 1;
  SpansWorld& world = *traced;
  const auto begin = Clock::now();
  std::vector<double> with;
  std::vector<double> asked;
  int unanswered = 0;
  std::vector<double> memory;
  std::vector<double> own;
  const pid_t observer = runmain::test::observer_of(world.up().keeper_pid());
  while (ms_since(begin) < seconds * 1000.0) {
    for (const double ms : reloads(world, 1, std::chrono::milliseconds(seconds * 1000 / 30)))
      with.push_back(ms);
    const auto question = Clock::now();
    if (const Json status = ask(world); status.is_object() && status.contains("telemetry"))
      asked.push_back(ms_since(question));
    else
      ++unanswered;
    memory.push_back(private_mib(observer));
    own.push_back(anonymous_mib(observer));
  }
  const double took = ms_since(begin) / 1000;
  const double cpu = cpu_seconds(observer) / took;
  const bool same = runmain::test::observer_of(world.up().keeper_pid()) == observer;
  world.up().cli({"stop", "web"});
  const Told ledger = told_at_rest(world);
  const double behind = ms_since(begin) / 1000 - took;
  own.push_back(anonymous_mib(observer));
  world.up().stop();
  std::uint64_t came = 0;
  std::uint64_t again = 0;
  for (const auto& [key, stream] : sink.streams()) {
    came += stream.spans;
    again += stream.again;
  }
  const std::uint64_t ended = world.ended();
  (void)reload_without();  // it says why, and what was measured before counts all the same
  row("spans a second from " + std::to_string(workers) + " workers of " + std::to_string(threads) +
          " threads, for " + number(took, " s", 0),
      number(static_cast<double>(ended) / took, "", 0), number(rate, "", 0));
  row("ended, received, missing, twice",
      std::to_string(ended) + ", " + std::to_string(came) + ", " + std::to_string(ended - came) + ", " +
          std::to_string(again),
      "0 missing, 0 twice");
  row("as counted by the observer: ended, exported, dropped; at rest " + number(behind, " s", 1) + " later",
      std::to_string(ledger.ended) + ", " + std::to_string(ledger.exported) + ", " +
          std::to_string(ledger.dropped) + (ledger.dropped > 0 ? " (" + ledger.reasons.substr(1) + ")" : "") +
          ledger.faults,
      std::to_string(ended) + ", " + std::to_string(came) + ", " + std::to_string(ended - came));
  const auto moments = [](const std::vector<double>& mib) {
    return number(mib[mib.size() / 10], " MiB") + ", " + number(mib[mib.size() / 2], " MiB") + ", " +
           number(mib.back(), " MiB");
  };
  row("the observer's own memory after a tenth, half, all of it",
      moments(own) + (same ? "" : ", another process"), "flat");
  row("the same with mailboxes that only it has mapped: each lane of a worker that has just died is 4 MiB",
      moments(memory), "");
  row("the observer's CPU", number(100 * cpu, " %", 0), "");
  row("`runmain status` meanwhile, median (p99), of " + std::to_string(asked.size()) + "; without an answer",
      number(percentile(asked, 50), " ms", 0) + " (" + number(percentile(asked, 99), " ms", 0) + "); " +
          std::to_string(unanswered),
      "0 without");
  row("save to serving, median (p99), beside telemetry off",
      number(percentile(with, 50), " ms") + " (" + number(percentile(with, 99), " ms") + "), " +
          number(percentile(without, 50), " ms") + " (" + number(percentile(without, 99), " ms") +
          "), ratio " + number(percentile(with, 50) / percentile(without, 50)),
      "ratio at most 1.1");
  return 0;
}
