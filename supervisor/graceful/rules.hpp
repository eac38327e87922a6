// The rules, one function a cause, and what several of them ask. Each adds what it finds. Pure.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "graceful/finding.hpp"
#include "graceful/observation.hpp"

namespace runmain::graceful {

using Findings = std::vector<Finding>;

inline constexpr Nanoseconds kMillisecond = 1'000'000;
inline constexpr Nanoseconds kSecond = 1'000 * kMillisecond;

// judge_workers.cpp: how workers start and end.
void judge_own_socket(const Observation& o, Findings& found);
void judge_ready(const Observation& o, Findings& found);
void judge_idle_worker(const Observation& o, Findings& found);
void judge_crashes(const Observation& o, Findings& found);
void judge_reloads(const Observation& o, Findings& found);
void judge_socket(const Observation& o, Findings& found);
void judge_sigterm(const Observation& o, Findings& found);
void judge_exit_status(const Observation& o, Findings& found);
void judge_left(const Observation& o, Findings& found);
void judge_waits(const Observation& o, Findings& found);

// judge_clients.cpp: what clients saw.
void judge_plain(const Observation& o, Findings& found);
void judge_in_flight(const Observation& o, Findings& found);
void judge_accepted(const Observation& o, Findings& found);
void judge_refusals(const Observation& o, Findings& found);
void judge_kept(const Observation& o, Findings& found);
void judge_held_up(const Observation& o, Findings& found);

bool has(const Findings& found, Cause cause);
void add(Findings& found, Cause cause, std::vector<std::string> evidence);

// Of all trials, or of one.
using Wanted = std::function<bool(const Ask&)>;
std::vector<const Ask*> asks_of(const Observation& o, const Wanted& wanted);
std::vector<const Ask*> asks_of(const Observation& o, Trial trial, const Wanted& wanted);

// It was sent, or tried, and no answer came of it.
bool is_lost(const Ask& ask);
// Killed at the end of the time-out, in this trial.
bool timed_out(const Observation& o, Trial trial);
// It died of SIGTERM itself: nothing handles it, or it is raised again after the drain.
bool died_of_sigterm(const Worker& worker);

// "3 were reset, 1 was closed without an answer".
std::string outcomes_text(const std::vector<const Ask*>& asks);
// ", 4 to 40 ms after the drain began"; empty where none of them was in a drain.
std::string after_drain_text(const std::vector<const Ask*>& asks);
std::string time_text(Nanoseconds time);  // "40 ms", "2.1 s"
std::string counted(std::size_t n, const std::string& what);
std::string worker_text(const Worker& worker);  // "worker 0 of generation 2 (pid 12)"

}  // namespace runmain::graceful
