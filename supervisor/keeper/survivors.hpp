// What a keeper that was killed has left behind: found by its adoption table, and proved by the processes
// themselves.
//
// Invariant: a process is taken for ours only by its pid, start time and tag together, and a table that
// cannot be read exactly proves nothing; what is left over is leftovers.hpp's. A table of a runmain that
// lives is not touched. Non-goal: to keep what dies meanwhile; that is told as a death.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "keeper/adoption.hpp"
#include "keeper/leftovers.hpp"
#include "os/linux/fd.hpp"

namespace runmain::keeper {

// Then the old head and observer are killed. Longer than a head takes to end trees and to write logs.
inline constexpr Duration kOldMax = std::chrono::seconds(10);

struct Survivors {
  struct Worker {
    ChildOnRecord record;
    os::UniqueFd pidfd;
    os::UniqueFd pipe;  // of its output, if that was captured
    Unread unread;
    os::UniqueFd mailbox;  // if it has one …
    os::UniqueFd wake;     // … and what its reader is woken by
  };
  AdoptionTable table;
  std::vector<Worker> living;
  std::vector<Worker> died;                     // workers that were to live on, and have not
  std::map<std::string, os::UniqueFd> sockets;  // by id
  std::vector<std::string> words;               // for a person
  os::ProcessName unread_of;                    // the keeper whose head has left unread output
  bool busy = false;                            // the table is of a runmain that lives: hands off
  bool any() const { return !living.empty() || !died.empty(); }
};

struct Place {
  std::string adoption;  // path of the table; empty: there is none, and nothing is looked for
  std::string config;
  std::string channel;  // path of our channel's socket, of a folder whose lock we have
};

// The path that this unix socket is bound to; empty if it has none.
std::string path_of_socket(int fd);

// The table of a keeper that is gone, of this boot and this configuration. On failure why it is not used;
// ENOENT: there is none; EBUSY: its keeper lives.
Result<AdoptionTable> read_table(const Place& place);

// Waits for the old head and observer (they still write what we would read, and have sockets that we would
// bind), takes what can be taken over, and ends all else that is left. Requires the lock. The unread output
// stays where it is until forget_unread(), so that nothing is lost if we are killed, too.
Survivors take_survivors(const Place& place);
void forget_unread(const std::string& adoption);

// Ends all that is left, and forgets the table. Returns how many trees there were; `words` says what could
// not be done. Requires the lock.
std::size_t end_survivors(const Place& place, std::vector<std::string>& words);
// Does this for who executes us: "list" prints a line "PID SERVICE" for each tree that "end" would end, "end"
// ends them and prints how many that were. Exit status: 0, or 1 if something is left that could not be ended.
int report_survivors(const Place& place, std::string_view what);

}  // namespace runmain::keeper
