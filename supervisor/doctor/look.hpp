// Questions about the evidence that several rules ask. Pure.
#pragma once

#include <sys/types.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "doctor/evidence.hpp"
#include "doctor/finding.hpp"

namespace runmain::doctor {

// Of parents and forks that are followed: a record may say anything.
inline constexpr int kGenerationsMax = 64;

class Look {
 public:
  explicit Look(const Evidence& evidence);

  const Evidence& all() const { return e_; }
  const Process* process(pid_t pid) const;
  bool has_probe(pid_t pid) const;
  // Pids that accepted a request of ours, in the order in which they were seen.
  const std::vector<pid_t>& serving() const { return serving_; }
  bool serves(pid_t pid) const;
  bool is_ancestor(pid_t of, pid_t ancestor) const;
  bool is_tracker(pid_t pid) const;  // Python's resource tracker, which multiprocessing starts

  // Who was its parent at a fork; 0: it was not forked, or nobody knows.
  pid_t forked_from(pid_t pid) const;
  const Forked* fork_of(pid_t pid) const;
  // It made a provider and set it, or tried to, itself: what it inherited does not count.
  bool initialises(pid_t pid) const;
  // A provider that is set, made by itself or inherited at forks.
  bool has_provider(pid_t pid) const;
  bool exports_by_otlp(pid_t pid, std::uint64_t provider) const;
  // Spans of it that came to the receiver.
  std::vector<const WireSpan*> wire_of(pid_t pid) const;
  bool has_wire(pid_t pid) const { return !wire_of(pid).empty(); }
  const ProviderMade* provider(pid_t pid, std::uint64_t id) const;
  // The stack where a provider was made, or set if that is not known.
  Stack stack_of_start(pid_t pid) const;
  // Whether this span began while one of our requests was at work in the process.
  bool during_request(pid_t pid, Nanoseconds time) const;

  // "pid 4711 (serves, flask run)".
  std::string name(pid_t pid) const;

 private:
  const Evidence& e_;
  std::vector<pid_t> serving_;
};

// A word of a command that is this one, "NAME=…", or a path that ends in it.
bool has_argument(const std::vector<std::string>& argv, const std::string& name);

// The stack's first frame that is the program's own, for a sentence; empty if there is none.
std::string place_of(const Stack& stack);
// The same of the second stack's first frame that the first one does not share: where both go different ways.
// Empty where no frame is the program's own.
std::string place_apart(const Stack& first, const Stack& second);
// What a person is shown of a stack: the program's own frames, else what stands for it, else the innermost
// ones.
Stack shown_frames(const Stack& stack);
bool is_library_frame(const std::string& frame);
std::string quoted(const std::string& text);
// "1 span", "3 spans".
std::string counted(std::size_t n, const std::string& what);
// "4711 and 4712", "1, 2 and 3"; at most 6.
std::string list_of(const std::set<pid_t>& pids);

}  // namespace runmain::doctor
