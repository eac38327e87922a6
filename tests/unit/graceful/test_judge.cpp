// What is broken, and what is none of the program's fault.
#include <csignal>

#include "case.hpp"
#include "graceful/fixes.hpp"

using namespace runmain::graceful;

TEST_CASE("a program that keeps the contract has no finding and no note", "[graceful]") {
  CHECK(clean().found().empty());
  CHECK(notes_of(clean().o).empty());
}

TEST_CASE("each end of a request in a drain is named by what it breaks", "[graceful]") {
  struct Row {
    Trial trial;
    Client client;
    Outcome outcome;
    std::uint32_t before;
    const char* found;
  };
  const Row rows[] = {
      {Trial::in_flight, Client::trickled, Outcome::reset, 0, "in-flight-cut"},
      {Trial::in_flight, Client::trickled, Outcome::dropped, 0, "in-flight-cut"},
      {Trial::in_flight, Client::slow_path, Outcome::cut, 0, "in-flight-cut"},
      {Trial::slow, Client::slow_reader, Outcome::cut, 0, "in-flight-cut"},
      {Trial::load, Client::fresh, Outcome::cut, 0, "in-flight-cut"},
      {Trial::load, Client::fresh, Outcome::refused, 0, "accepted-lost"},
      {Trial::load, Client::fresh, Outcome::reset, 0, "accepted-lost"},
      {Trial::load, Client::fresh, Outcome::dropped, 0, "accepted-lost"},
      {Trial::load, Client::fresh, Outcome::timed_out, 0, "accepted-lost"},
      {Trial::silent, Client::hesitant, Outcome::closed, 0, "accepted-lost"},
      {Trial::silent, Client::hesitant, Outcome::reset, 0, "accepted-lost"},
      {Trial::load, Client::kept, Outcome::reset, 3, "kept-lost"},
      {Trial::load, Client::kept, Outcome::dropped, 3, "kept-lost"},
      {Trial::idle, Client::idle, Outcome::reset_idle, 1, "kept-lost"},
      // Nobody's fault: closed in order, or in the same moment as the request was sent.
      {Trial::load, Client::kept, Outcome::closed, 3, ""},
      {Trial::load, Client::kept, Outcome::crossed, 3, ""},
      {Trial::silent, Client::silent, Outcome::closed, 0, ""},
      {Trial::silent, Client::silent, Outcome::open, 0, ""},
      {Trial::half, Client::half, Outcome::closed, 0, ""},
  };
  for (const Row& row : rows) {
    Case c = clean();
    c.ask(row.trial, row.client, row.outcome).before = row.before;
    INFO(id_of(row.trial) << ", client " << static_cast<int>(row.client) << ", outcome "
                          << static_cast<int>(row.outcome));
    CHECK(c.found() == row.found);
  }
}

TEST_CASE("the evidence has figures and when they fell", "[graceful]") {
  Case c = clean();
  for (int i = 0; i < 3; ++i) c.ask(Trial::load, Client::kept, Outcome::reset).before = 2;
  CHECK(c.evidence() ==
        "3 of 4 requests: 3 were reset, 40 ms after the drain began, on connections that had been used "
        "before\n");
}

TEST_CASE("a worker that is not gone in time is told apart by what it may have waited for", "[graceful]") {
  const std::pair<Trial, const char*> rows[] = {
      {Trial::quiet, "sigterm-ignored"},  {Trial::idle, "keeps-connections"},
      {Trial::load, "keeps-connections"}, {Trial::silent, "waits-for-silent"},
      {Trial::half, "waits-for-half"},    {Trial::end, "sigterm-ignored"}};
  for (const auto& [trial, found] : rows) {
    Case c = clean();
    c.worker(trial).killed = true;
    INFO(id_of(trial));
    CHECK(c.found() == found);
  }
  // Who ignores SIGTERM keeps everything.
  Case all = clean();
  for (Worker& w : all.o.workers) w.killed = true;
  CHECK(all.found() == "sigterm-ignored");
}

TEST_CASE("what is lost when a worker is killed at the time-out is not told again", "[graceful]") {
  Case c = clean();
  Worker& w = c.worker(Trial::load);
  w.killed = true;
  Ask& ask = c.ask(Trial::load, Client::kept, Outcome::reset);
  ask.before = 3;
  ask.end = w.drain + c.o.stop_timeout;
  CHECK(c.found() == "keeps-connections");
}

TEST_CASE("how a worker ends is judged: status, crash, what it leaves, and SIGTERM itself is a note",
          "[graceful]") {
  Case status = clean();
  status.worker(Trial::quiet).status = 1 << 8;
  CHECK(status.found() == "exit-status");
  CHECK(status.evidence().find("exited with status 1 after it was asked to end") != std::string::npos);
  Case crash = clean();
  crash.worker(Trial::load).asked = false;
  CHECK(crash.found() == "crashes");
  Case left = clean();
  left.worker(Trial::quiet).left = {"pid 12 (sleep)"};
  CHECK(left.found() == "child-left");
  Case raised = clean();
  raised.worker(Trial::quiet).status = SIGTERM;
  CHECK(raised.found().empty());
  CHECK(notes_of(raised.o).size() == 1);
  // A shell that dies of it leaves its server behind, which drains.
  raised.o.workers.back().left = {"pid 12 (python3)"};
  CHECK(raised.found().empty());
}

TEST_CASE("ready is too early where the first answer is late or an error", "[graceful]") {
  Case late = clean();
  late.trial(Trial::start).asks.front().end += 3 * kSecond;
  CHECK(late.found() == "ready-too-early");
  Case error = clean();
  Ask bad = error.trial(Trial::start).asks.front();
  bad.status = 503;
  error.trial(Trial::start).asks.insert(error.trial(Trial::start).asks.begin(), bad);
  CHECK(error.found() == "ready-too-early");
  // A slow program is slow.
  Case slow = clean();
  for (const Trial trial : {Trial::start, Trial::plain}) slow.trial(trial).asks.front().end += 3 * kSecond;
  CHECK(slow.found().empty());
}

TEST_CASE("a program that never answers on the socket is told why where that is known", "[graceful]") {
  Case c;
  c.o.command = {"gunicorn", "app:app"};
  c.o.listen = "127.0.0.1:8000";
  c.trial(Trial::start);
  CHECK(c.found().empty());
  c.o.own_addresses = {"127.0.0.1:9000"};
  CHECK(c.found() == "own-socket");
  CHECK(judge(c.o).front().fix.find("fd://{fd}") != std::string::npos);
  c.o.own_addresses.clear();
  c.o.says_in_use = true;
  CHECK(c.found() == "own-socket");
  // A second listener of a program that answers is its own affair.
  Case metrics = clean();
  metrics.o.own_addresses = {"127.0.0.1:9000"};
  CHECK(metrics.found().empty());
}

TEST_CASE("errors, other workers, the socket and slow clients have causes of their own", "[graceful]") {
  Case error = clean();
  error.ask(Trial::load, Client::kept).status = 503;
  CHECK(error.found() == "refuses-draining");
  Case always = clean();
  for (Seen& seen : always.o.trials) {
    for (Ask& ask : seen.asks) ask.status = ask.status == 200 ? 500 : 0;
  }
  CHECK(always.found() == "plain-fails");
  Case idle = clean();
  idle.o.idle_slots = {1};
  CHECK(idle.found() == "worker-idle");
  Case shut = clean();
  shut.o.listener_shut = {Trial::quiet};
  shut.ask(Trial::load, Client::fresh, Outcome::reset);
  shut.worker(Trial::quiet).asked = false;
  CHECK(shut.found() == "listener-shut");
  Case unlinked = clean();
  unlinked.o.unlinked = true;
  CHECK(unlinked.found() == "socket-unlinked");
  Case held = clean();
  Ask& ask = held.ask(Trial::slow, Client::fresh);
  ask.drain = 0;
  ask.end = ask.begin + 2 * kSecond;
  CHECK(held.found() == "holds-others-up");
  ask.drain = ask.begin + 3 * kSecond / 2;  // only the drain helped it
  CHECK(held.found() == "holds-others-up");
  ask.drain = ask.begin + kSecond / 2;
  CHECK(held.found().empty());
  Case failed = clean();
  failed.trial(Trial::idle).reload_fault = "not ready in time";
  CHECK(failed.found() == "reload-fails");
}

TEST_CASE("every cause has words, and every kind of program a way to mend it", "[graceful]") {
  for (const char* program : {"gunicorn", "uvicorn", "hypercorn", "python3", "node", "sh", "./server"}) {
    Observation o;
    o.command = {program};
    for (std::size_t i = 0; i < kCauses; ++i) {
      const auto cause = static_cast<Cause>(i);
      INFO(program << " " << id_of(cause));
      CHECK_FALSE(std::string(title_of(cause)).empty());
      CHECK_FALSE(std::string(contract_of(cause)).empty());
      CHECK(fix_of(cause, o).size() > 40);
    }
  }
}

TEST_CASE("the report has each trial with its figures", "[graceful]") {
  Case c = clean();
  c.ask(Trial::load, Client::kept, Outcome::reset).before = 1;
  const auto json = to_json(c.o, judge(c.o));
  CHECK(json["trials"].size() == kTrials);
  const auto load = json["trials"][8];
  CHECK(load["trial"] == "load");
  CHECK(load["outcomes"]["reset"] == 1);
  CHECK(load["requests"] == 3);
  CHECK(load["drain_ms"]["most"] == 60);
  CHECK(json["findings"][0]["cause"] == "kept-lost");
}
