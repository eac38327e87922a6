// How to mend each cause, in words that fit the program: its framework, its server, its language. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "doctor/evidence.hpp"
#include "doctor/finding.hpp"

namespace runmain::doctor {

struct Kind {
  enum class Framework : std::uint8_t { none, flask, fastapi, django, node };
  enum class Server : std::uint8_t { none, werkzeug, uvicorn, gunicorn, runserver, node, other };
  Framework framework = Framework::none;
  Server server = Server::none;
  bool instrument_command = false;  // opentelemetry-instrument, or Node's register
};
Kind kind_of(const Evidence& evidence);

// How its user would end it: "SIGINT" for a server of development, which lives in a terminal, else "SIGTERM".
std::string stop_signal_of(const Evidence& evidence);

// One or two sentences.
std::string fix_of(const Finding& finding, const Evidence& evidence);

}  // namespace runmain::doctor
