// Where a known program listens, as its flags, its environment and its row say, and how it is told otherwise.
#pragma once

#include <string>

#include "config/runner_table.hpp"
#include "config/runner_words.hpp"
#include "config/runners.hpp"

namespace runmain::config {

struct Where {
  std::string host;
  std::string port;
  std::string whole;  // "unix:…" as it is
};

Where where_of(const Argv& argv, const Row& row, const Program& program, const RunnerFacts& facts);

// Its own file of settings says where it listens, by more than a literal.
bool is_computed(const Row& row, const RunnerFacts& facts);

// "HOST:PORT", or what stands for it; empty where no port is known.
std::string address_of(const Where& where);

// How it is told to make several processes of itself, such as "--workers 4"; empty: it is not.
std::string own_workers_of(const Argv& argv, const Row& row, const Program& program,
                           const RunnerFacts& facts);

// The port is the user's: it is told to the program, in its own words, as {port}.
void tell_port(const Row& row, const Program& program, const Where& where, Runner& runner);

}  // namespace runmain::config
