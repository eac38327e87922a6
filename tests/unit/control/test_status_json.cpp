// The JSON of status, events and log lines, word for word.
#include <fstream>
#include <sstream>

#include "fake_backend.hpp"
#include "support/catch.hpp"

namespace runmain::control {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Time kNow = Time(seconds(1000));

// With RUNMAIN_GOLDEN=write in the environment the files are made anew, to be looked at before they are
// committed.
void check_golden(const std::string& name, const std::string& text) {
  const std::string path = std::string(RUNMAIN_SOURCE_DIR) + "/tests/golden/control/" + name;
  const char* mode = std::getenv("RUNMAIN_GOLDEN");
  if (mode != nullptr && std::string(mode) == "write") std::ofstream(path) << text;
  std::stringstream golden;
  golden << std::ifstream(path).rdbuf();
  CHECK(text == golden.str());
}

core::WorkerView worker(std::uint32_t slot, std::int32_t pid, core::WorkerState state) {
  core::WorkerView view;
  view.key = {ServiceId{0}, slot, 3, 1};
  view.pid = pid;
  view.state = state;
  view.proof = state == core::WorkerState::ready ? core::Proof::probe : core::Proof::unproven;
  view.since = kNow - milliseconds(2500);
  return view;
}

core::Snapshot snapshot() {
  core::Snapshot all;
  all.mode = core::Mode::dev;
  core::ServiceView web = service_view(0, "web", core::ServiceState::reloading);
  web.generation = 3;
  web.restarts = 2;
  web.reloads = 1;
  web.since = kNow - seconds(60);
  web.workers = {worker(0, 101, core::WorkerState::ready), worker(1, 102, core::WorkerState::starting),
                 worker(kBuildSlot, 103, core::WorkerState::starting)};
  web.workers[0].status_text = "12 requests";
  web.workers[0].leaving = true;
  web.workers[0].unwell = 2;
  core::WorkerView draining = worker(2, 104, core::WorkerState::draining);
  draining.frozen = true;
  web.workers.insert(web.workers.begin() + 2, draining);
  web.workers.push_back(worker(kHookSlot, 105, core::WorkerState::starting));  // not shown
  web.wanted_workers = 3;
  web.serving_workers = 1;
  web.rolling_to = 4;
  web.rolled = 1;
  core::ServiceView db = service_view(1, "db", core::ServiceState::backoff, "exited with status 1");
  db.since = kNow + seconds(1);
  db.retry_at = kNow + milliseconds(1500);
  all.services = {web, db};
  return all;
}

TEST_CASE("status is what the interface says") {
  FakeBackend backend;
  backend.told[ChildKey{ServiceId{0}, 2, 3, 1}] = {1000, 3};
  backend.waiting[ServiceId{0}] = {{"127.0.0.1:8000", std::nullopt, 2, 4096},
                                   {"127.0.0.1:8001", 1, 3, 2},
                                   {"unix:/run/web.sock", std::nullopt, 3, 2},
                                   {"unix:@web", std::nullopt, 0, std::nullopt}};
  check_golden("status.json", status_json(snapshot(), backend, kNow).dump(2) + "\n");
}

TEST_CASE("a status without services is an empty list") {
  FakeBackend backend;
  core::Snapshot empty;
  empty.mode = core::Mode::prod;
  CHECK(
      to_line(status_json(empty, backend, kNow)) ==
      R"({"version":")" RUNMAIN_VERSION
      R"(","mode":"prod","shutting_down":false,"own_telemetry_lost":{"spans":0,"logs_and_metrics":0},"services":[]})");
}

TEST_CASE("a retry that is overdue is in 0 ms") {
  FakeBackend backend;
  core::ServiceView db = service_view(1, "db", core::ServiceState::backoff);
  db.retry_at = kNow - seconds(5);
  CHECK(service_json(db, {}, backend, kNow)["retry_in_ms"] == 0);
  db.retry_at = kNever;
  CHECK(service_json(db, {}, backend, kNow)["retry_in_ms"].is_null());
}

TEST_CASE("a queue is full when it has one more than the backlog, as the kernel counts") {
  CHECK_FALSE(QueueView{"a", std::nullopt, 2, 2}.full());
  CHECK(QueueView{"a", std::nullopt, 3, 2}.full());
  CHECK(QueueView{"a", std::nullopt, 1, 0}.full());
  CHECK_FALSE(QueueView{"a", std::nullopt, 9, std::nullopt}.full());  // nobody knows
}

TEST_CASE("every type of event is what the interface says") {
  std::string text;
  for (int type = 0; type <= static_cast<int>(core::kLastFactType); ++type) {
    FactLine line;
    line.seq = static_cast<std::uint64_t>(type) + 1;
    line.time_ns = 1'700'000'000'123'456'789 + type;
    line.fact.type = static_cast<core::FactType>(type);
    line.fact.cause = 40;
    line.fact.time = kNow;
    line.fact.slot = 1;
    line.fact.generation = 3;
    line.fact.pid = 4242;
    line.fact.number = 7;
    line.fact.text = "words";
    const std::string name = core::type_name(line.fact.type);
    const bool of_service = name.starts_with("service.") || name.starts_with("child.") ||
                            name.starts_with("reload.") || name.starts_with("slot.") ||
                            name.starts_with("listener.");
    if (of_service) {
      line.fact.service = ServiceId{0};
      line.service = "web";
    }
    text += to_line(event_json(line)) + "\n";
  }
  check_golden("events.jsonl", text);
}

TEST_CASE("a log line is what the interface says") {
  LogLine line = log_line_of("hello \"world\"\t\x1b[1m");
  line.slot = 0;
  line.time_ns = 1'700'000'000'000'000'001;
  LogLine build = log_line_of("cc -c main.c");
  build.from_build = true;
  build.continues = true;
  check_golden("log.jsonl", to_line(log_json(line, true)) + "\n" + to_line(log_json(build, true)) + "\n");
}

TEST_CASE("a monotonic time becomes a wall time by both clocks") {
  CHECK(wall_of(kNow - seconds(2), kNow, 10'000'000'000) == 8'000'000'000);
}

}  // namespace
}  // namespace runmain::control
