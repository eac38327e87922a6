// How to mend each cause, in words that fit the program: its server, its language. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "graceful/finding.hpp"
#include "graceful/observation.hpp"

namespace runmain::graceful {

// What the command says of the program.
enum class Kind : std::uint8_t { other, gunicorn, uvicorn, hypercorn, python, node, shell };
Kind kind_of(const Observation& o);

// One or a few sentences.
std::string fix_of(Cause cause, const Observation& o);

}  // namespace runmain::graceful
