// From evidence to findings.
//
// Invariant: pure; the same evidence gives the same findings, ordered by cause and pid, each (cause, pid)
// once. What is legal is no finding: two exporters of one provider to two addresses, a span id that is in two
// traces, two providers for two purposes, spans by hand instead of an instrumentation. Where a process has no
// probe, the spans and /proc speak alone and the finding is less sure.
#pragma once

#include <string>
#include <vector>

#include "doctor/evidence.hpp"
#include "doctor/finding.hpp"

namespace runmain::doctor {

std::vector<Finding> judge(const Evidence& evidence);

// What a person may want to know and is no fault: sentences.
std::vector<std::string> notes_of(const Evidence& evidence);

// What a process is to the program: "serves", "worker", "reloader", "supervisor of workers", "master",
// "parent", "resource tracker", "launcher", "helper", or "started" where nothing ever served.
std::string role_of(const Evidence& evidence, pid_t pid);

}  // namespace runmain::doctor
