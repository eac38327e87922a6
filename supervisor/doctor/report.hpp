// What the doctor found, as JSON: for programs, and for `runmain doctor`, which makes text of it. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "doctor/evidence.hpp"
#include "doctor/finding.hpp"

namespace runmain::doctor {

// One object: v, command, served, processes, providers, collectors, findings, notes (docs/doctor.md).
nlohmann::ordered_json to_json(const Evidence& evidence, const std::vector<Finding>& findings);

}  // namespace runmain::doctor
