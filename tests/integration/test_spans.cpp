// Spans of real workers through keeper, observer and collector: what has ended arrives, once, whoever dies.
#include <csignal>
#include <random>
#include <thread>

#include "support/catch.hpp"
#include "support/span_counters.hpp"
#include "support/span_sink.hpp"
#include "support/supervised.hpp"

using namespace runmain::test;
using namespace std::chrono_literals;

namespace {

constexpr unsigned kWriters = 8;

std::string toml(const SpanSink& sink, const std::string& counters, const std::string& more = {}) {
  return "[telemetry]\nendpoint = \"" + sink.endpoint() +
         "\"\n[service.web]\ncommand = [\"@BIN@/t_spans\", \"" + counters + "\", \"8\", \"2000\"" + more +
         "]\nlisten = \"127.0.0.1:0\"\nrestart = { initial = \"1ms\", max = \"1ms\" }\n";
}

// Rounds of a test: more by hand, as the figure wants them.
int rounds(int in_ci) {
  const char* text = std::getenv("RUNMAIN_TEST_ROUNDS");
  return text != nullptr ? std::atoi(text) : in_ci;
}

template <class F>
bool until(F&& holds, std::chrono::milliseconds guard = kGuard) {
  const auto end = std::chrono::steady_clock::now() + guard;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

// Every worker's threads: all that they counted came, without a gap. Empty, or the first fault.
// `but_last`: of those that are gone.
std::string fault(const spans::Counters& counters, const SpanSink& sink, bool but_last = false) {
  const auto streams = sink.streams();
  const std::uint32_t rows = std::min<std::uint32_t>(counters.used - (but_last ? 1 : 0), spans::kRows);
  for (std::uint32_t r = 0; r < rows; ++r) {
    for (unsigned t = 0; t < kWriters; ++t) {
      const std::uint64_t ended = counters.rows[r].ended[t];
      const std::string where = std::string(counters.rows[r].instance) + " thread " + std::to_string(t);
      const auto found = streams.find({counters.rows[r].instance, t});
      if (found == streams.end()) {
        if (ended > 0) return where + ": nothing came of " + std::to_string(ended);
        continue;
      }
      const SpanSink::Stream& s = found->second;
      if (s.highest < ended)
        return where + ": " + std::to_string(s.highest) + " of " + std::to_string(ended) + " came";
      if (s.spans != s.highest)
        return where + ": " + std::to_string(s.highest - s.spans) + " of " + std::to_string(s.highest) +
               " are missing";
      // One that was killed between the end and its count.
      if (s.highest > ended + 1) return where + ": more came than ended";
    }
  }
  return {};
}

std::uint64_t came_again(const SpanSink& sink) {
  std::uint64_t again = 0;
  for (const auto& [key, stream] : sink.streams()) again += stream.again;
  return again;
}

}  // namespace

TEST_CASE("what had ended in a worker that is killed arrives once") {
  Folder counters_folder;
  const std::string file = counters_folder.file("counters");
  spans::Counters* counters = spans::map_counters(file.c_str());
  REQUIRE(counters != nullptr);
  SpanSink sink;
  const std::uint32_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  {
    Supervised up(toml(sink, file));
    up.start();
    REQUIRE(up.wait_ready());
    for (int round = 0; round < rounds(10); ++round) {
      const std::uint32_t used = counters->used;
      REQUIRE(until([&] { return counters->rows[used - 1].ended[0] > 20; }));
      const std::uint64_t any_moment = counters->rows[used - 1].ended[0] + random() % 60;
      REQUIRE(until([&] { return counters->rows[used - 1].ended[0] >= any_moment; }));
      for (const pid_t pid : up.pids("web")) kill(pid, SIGKILL);
      REQUIRE(until([&] { return counters->used > used; }));
    }
    CHECK(up.stop() == 0);
  }
  CHECK(fault(*counters, sink) == "");
  CHECK(came_again(sink) == 0);
  CHECK(sink.bad() == 0);
}

TEST_CASE("what had ended in a worker that aborts, crashes or leaves without a word arrives once") {
  for (const char* how : {"exit", "abort", "segv"}) {
    INFO(how);
    Folder counters_folder;
    const std::string file = counters_folder.file("counters");
    spans::Counters* counters = spans::map_counters(file.c_str());
    REQUIRE(counters != nullptr);
    SpanSink sink;
    {
      Supervised up(toml(sink, file, std::string(", \"") + how + "\", \"40\""));
      up.start();
      const auto deaths = static_cast<std::uint32_t>(rounds(4));
      REQUIRE(until([&] { return counters->used > deaths; }, kGuard * (1 + deaths / 50)));
      up.stop();
    }
    CHECK(fault(*counters, sink) == "");
    CHECK(came_again(sink) == 0);
  }
}

TEST_CASE("killing the observer loses nothing, and sends nothing twice but what was on its way") {
  Folder counters_folder;
  const std::string file = counters_folder.file("counters");
  spans::Counters* counters = spans::map_counters(file.c_str());
  REQUIRE(counters != nullptr);
  SpanSink sink;
  const std::uint32_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  std::uint64_t resent = 0;
  {
    Supervised up(toml(sink, file));
    up.start();
    REQUIRE(up.wait_ready());
    for (int round = 0; round < rounds(6); ++round) {
      const std::uint32_t last = counters->used - 1;
      // Each observer gets on before it is killed, in however many rounds: a mailbox holds but seconds.
      const std::uint64_t before = counters->rows[last].ended[0];
      REQUIRE(until([&] {
        const auto streams = sink.streams();
        const auto found = streams.find({counters->rows[last].instance, 0});
        return before == 0 || (found != streams.end() && found->second.highest >= before);
      }));
      const std::uint64_t any_moment = counters->rows[last].ended[0] + 40 + random() % 240;
      REQUIRE(until([&] { return counters->rows[last].ended[0] >= any_moment; }));
      const pid_t observer = observer_of(up.keeper_pid());
      if (observer > 0) kill(observer, SIGKILL);
      REQUIRE(until([&] {
        const pid_t next = observer_of(up.keeper_pid());
        return next > 0 && next != observer;
      }));
      if (round % 2 != 0) continue;
      const std::uint32_t used = counters->used;
      for (const pid_t pid : up.pids("web")) kill(pid, SIGKILL);
      REQUIRE(until([&] { return counters->used > used; }));
    }
    // The last observer is through with what the one before it had on its way.
    for (const pid_t pid : up.pids("web")) kill(pid, SIGKILL);
    const bool all_came = until([&] {
      return fault(*counters, sink, true).empty() && counters->rows[counters->used - 1].ended[0] > 0;
    });
    INFO(fault(*counters, sink, true) << ", " << up.cli({"status"}).out);
    REQUIRE(all_came);
    const Ran status = up.cli({"status", "--json"});
    const Json json = Json::parse(status.out, nullptr, false);
    REQUIRE(json.is_object());
    for (const Json& ledger : json.value("telemetry", Json::object()).value("ledgers", Json::array()))
      resent += ledger.value("resent", 0);
    CHECK(up.stop() == 0);
  }
  CHECK(fault(*counters, sink) == "");
  INFO(came_again(sink) << " came again, " << resent << " counted as resent");
  CHECK(came_again(sink) <= resent);
}

TEST_CASE("a collector that refuses, says 429 or is silent costs no span") {
  Folder counters_folder;
  const std::string file = counters_folder.file("counters");
  spans::Counters* counters = spans::map_counters(file.c_str());
  REQUIRE(counters != nullptr);
  SpanSink sink;
  {
    std::string text = toml(sink, file);
    text.insert(text.find('\n') + 1, "timeout = \"300ms\"\n");  // of [telemetry]: for the silent one
    Supervised up(text);
    up.start();
    REQUIRE(up.wait_ready());
    for (const auto mode : {SpanSink::Mode::refused, SpanSink::Mode::too_many, SpanSink::Mode::silent}) {
      const std::uint32_t used = counters->used;
      REQUIRE(until([&] { return counters->rows[used - 1].ended[0] > 20; }));
      sink.set_mode(mode);
      for (const pid_t pid : up.pids("web")) kill(pid, SIGKILL);
      REQUIRE(until([&] { return counters->used > used && counters->rows[used].ended[0] > 20; }));
      sink.set_mode(SpanSink::Mode::ok);
    }
    // It has found out that the collector is back.
    REQUIRE(until([&] {
      return sink.streams().count({counters->rows[counters->used - 1].instance, 0}) > 0;
    }));
    up.stop();
  }
  CHECK(fault(*counters, sink) == "");
}

TEST_CASE("spans that no collector took wait on disk for the next start") {
  Folder counters_folder;
  const std::string file = counters_folder.file("counters");
  spans::Counters* counters = spans::map_counters(file.c_str());
  REQUIRE(counters != nullptr);
  SpanSink sink;
  sink.set_mode(SpanSink::Mode::refused);
  Supervised up(toml(sink, file));
  up.start();
  REQUIRE(up.wait_ready());
  REQUIRE(until([&] { return counters->rows[0].ended[0] > 20; }));
  CHECK(up.stop() == 0);
  CHECK(sink.streams().empty());
  sink.set_mode(SpanSink::Mode::ok);
  up.start();
  REQUIRE(up.wait_ready());
  REQUIRE(until([&] { return sink.streams().count({counters->rows[0].instance, 0}) > 0; }));
  CHECK(up.stop() == 0);
  CHECK(fault(*counters, sink) == "");
}

TEST_CASE(
    "killing the keeper loses no span of a worker that is taken over, and repeats but what was on its way") {
  Folder counters_folder;
  const std::string file = counters_folder.file("counters");
  spans::Counters* counters = spans::map_counters(file.c_str());
  REQUIRE(counters != nullptr);
  SpanSink sink;
  {
    Supervised up("[runmain]\nmode = \"prod\"\n" + toml(sink, file) + "on_keeper_death = \"keep\"\n");
    up.start();
    REQUIRE(up.wait_ready());
    const auto workers = up.pids("web");
    REQUIRE(workers.size() == 1);
    for (int round = 0; round < rounds(4); ++round) {
      const std::uint64_t before = counters->rows[0].ended[0];
      REQUIRE(until([&] { return counters->rows[0].ended[0] > before + 50; }));
      up.signal(SIGKILL);
      REQUIRE(up.wait_exit() == 128 + SIGKILL);
      const std::uint64_t then = counters->rows[0].ended[0];
      REQUIRE(until([&] { return counters->rows[0].ended[0] > then + 50; }));  // nobody reads these yet
      up.start();
      REQUIRE(up.wait_ready());
      CHECK(up.pids("web") == workers);
    }
    CHECK(up.stop() == 0);
    INFO(up.output());
    CHECK_FALSE(alive(workers[0]));
  }
  CHECK(counters->used == 1);
  CHECK(fault(*counters, sink) == "");
  // A request that the old observer had sent and had no answer to at its end; two signals' worth of the
  // largest.
  CHECK(came_again(sink) <= static_cast<std::uint64_t>(rounds(4)) * 2 * 8192);
  CHECK(sink.bad() == 0);
}
