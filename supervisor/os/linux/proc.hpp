// Small looks into /proc: what state a process is in, its name, its fds, its limits.
// Invariant: every answer may be outdated when it is read; callers act on a pidfd or look again.
// Non-goal: a list of processes (process_tree.hpp).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace runmain::os {

struct ProcessState {
  char state = '?';  // as in proc(5): R, S, D, T, Z, X …
  long threads = 0;  // that are not yet gone
  std::string name;  // comm, without control characters
  std::uint64_t started =
      0;  // in ticks since the machine's start; with the pid it names a process. 0: unknown

  // A zombie whose other threads still run (its main thread has ended) is a living process.
  bool living() const { return (state != 'Z' && state != 'X' && state != 'x') || threads > 1; }
};

// From /proc/PID/stat. Empty if there is no such process; state '?' (living) when it cannot be read.
std::optional<ProcessState> process_state(pid_t pid);

// Parses the text of /proc/PID/stat, whose name may contain anything.
std::optional<ProcessState> parse_stat(std::string_view text);

// A number at the start of `text` (after blanks); empty when there is none or it does not fit.
std::optional<std::uint64_t> parse_number(std::string_view text, int base = 10);

// Calls `use` with each number N in /proc/PID/fd and what it links to ("socket:[123]"), until it returns
// true. Returns whether it did. Processes that we may not look at have no fds.
bool any_fd_of(pid_t pid, const std::function<bool(int fd, std::string_view link)>& use);

// How many calls of write(2) and its like a process has made, those of children that it has waited for
// included (syscw of /proc/PID/io). Empty when we may not know.
std::optional<std::uint64_t> write_calls(pid_t pid);

// CPU time that a process and those of its children that it has waited for have used, in nanoseconds, in
// ticks of usually 10 ms. 0 if there is no such process.
std::uint64_t cpu_time(pid_t pid);

// Whether its main thread has a child at this moment (/proc/PID/task/TID/children); true where nobody tells.
bool has_children(pid_t pid);

// Calls `use` with each pid in /proc until it returns true. Returns whether it did.
bool any_process(const std::function<bool(pid_t pid)>& use);

// The first `limit` bytes of a small file of /proc or /sys, or less; empty on failure.
std::string proc_text(const char* path, std::size_t limit);

}  // namespace runmain::os
