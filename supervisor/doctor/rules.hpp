// The rules, one function a cause. Each looks at the evidence and adds what it finds. Pure.
#pragma once

#include <string>
#include <vector>

#include "doctor/finding.hpp"
#include "doctor/look.hpp"

namespace runmain::doctor {

using Findings = std::vector<Finding>;

// judge_start.cpp: who starts telemetry, and where.
void judge_double_init(const Look& look, Findings& found);
void judge_reloader_both(const Look& look, Findings& found);
void judge_preload_fork(const Look& look, Findings& found);
void judge_refused_after_fork(const Look& look, Findings& found);
void judge_wrong_process(const Look& look, Findings& found);
void judge_no_telemetry(const Look& look, Findings& found);
void judge_shared_instance_id(const Look& look, Findings& found);
void judge_injector(const Look& look, Findings& found);

// judge_spans.cpp: what instruments, and what the spans say.
void judge_auto_and_manual(const Look& look, Findings& found);
void judge_exporter_twice(const Look& look, Findings& found);
void judge_too_late(const Look& look, Findings& found);
void judge_nothing_instrumented(const Look& look, Findings& found);
void judge_never_activated(const Look& look, Findings& found);
void judge_never_ended(const Look& look, Findings& found);
void judge_repeated_ids(const Look& look, Findings& found);

// judge_end.cpp: how it ends.
void judge_sigterm(const Look& look, Findings& found);
void judge_lost_at_exit(const Look& look, Findings& found);
void judge_dead_collector(const Look& look, Findings& found);
// What is worth a word and nobody's mistake.
std::vector<std::string> notes_on(const Look& look);

}  // namespace runmain::doctor
