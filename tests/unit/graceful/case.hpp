// Observations for the tests of the judging: a program that keeps all of the contract, to be spoiled.
#pragma once

#include <catch2/catch.hpp>
#include "graceful/judge.hpp"
#include "graceful/report.hpp"
#include "graceful/rules.hpp"

namespace runmain::graceful {

struct Case {
  Observation o;

  Seen& trial(Trial which) {
    for (Seen& seen : o.trials) {
      if (seen.trial == which) return seen;
    }
    Seen seen;
    seen.trial = which;
    seen.begin = now;
    seen.end = now += kSecond;
    seen.reloads = which >= Trial::quiet && which <= Trial::load ? 1 : 0;
    return o.trials.emplace_back(std::move(seen));
  }
  // In the middle of that trial; a drain had begun 40 ms before its end, where there is a reload.
  Ask& ask(Trial which, Client client, Outcome outcome = Outcome::answered) {
    Seen& seen = trial(which);
    Ask ask;
    ask.client = client;
    ask.outcome = outcome;
    ask.status = outcome == Outcome::answered ? 200 : 0;
    ask.begin = seen.begin + kSecond / 2;
    ask.end = ask.begin + 5 * kMillisecond;
    if (seen.reloads > 0) ask.drain = ask.end - 40 * kMillisecond;
    return seen.asks.emplace_back(ask);
  }
  // One that ended in that trial as it should.
  Worker& worker(Trial which) {
    const Seen& seen = trial(which);
    Worker w;
    w.slot = 0;
    w.generation = static_cast<std::uint32_t>(o.workers.size() + 1);
    w.pid = 100 + static_cast<pid_t>(o.workers.size());
    w.started = 1;
    w.ready = 50 * kMillisecond;
    w.proof = "notify";
    w.drain = seen.begin + 100 * kMillisecond;
    w.ended = w.drain + 60 * kMillisecond;
    w.status = 0;
    w.asked = true;
    w.trial = which;
    return o.workers.emplace_back(std::move(w));
  }
  // "in-flight-cut, kept-lost".
  std::string found() const {
    std::string text;
    for (const Finding& f : judge(o)) text += (text.empty() ? "" : ", ") + std::string(id_of(f.cause));
    return text;
  }
  std::string evidence() const {
    std::string text;
    for (const Finding& f : judge(o)) {
      for (const std::string& one : f.evidence) text += one + "\n";
    }
    return text;
  }

  Nanoseconds now = kSecond;
};

inline Case clean() {
  Case c;
  c.o.command = {"./server"};
  c.o.listen = "127.0.0.1:8000";
  c.o.stop_timeout = 10 * kSecond;
  c.o.path = "/";
  c.o.served = true;
  c.ask(Trial::start, Client::fresh);
  c.ask(Trial::plain, Client::fresh);
  for (int i = static_cast<int>(Trial::quiet); i <= static_cast<int>(Trial::end); ++i)
    c.worker(static_cast<Trial>(i));
  c.ask(Trial::idle, Client::idle);
  c.ask(Trial::idle, Client::idle, Outcome::closed).before = 1;
  c.ask(Trial::silent, Client::silent, Outcome::closed);
  c.ask(Trial::silent, Client::hesitant);
  c.ask(Trial::half, Client::half, Outcome::closed);
  c.ask(Trial::in_flight, Client::trickled);
  c.ask(Trial::slow, Client::slow_reader).body_bytes = 1U << 20U;
  c.ask(Trial::slow, Client::fresh).drain = 0;
  c.ask(Trial::load, Client::fresh);
  c.ask(Trial::load, Client::kept).before = 3;
  return c;
}

}  // namespace runmain::graceful
