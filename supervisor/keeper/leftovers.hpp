// What a run before has left and nobody takes over: found, asked to end, and ended.
//
// Invariant: a process is ours by a tag of our own table, and then its whole tree is; or, by itself alone, by
// the environment that it was executed with, where it has our user and the lock says that no other runmain
// has this channel. An environment proves nothing of anybody else: whoever starts a process chooses it, and
// may give the process another runmain's tag. A signal goes to a pidfd, or by the tree killer. Non-goal:
// processes of other users of which no table tells.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "keeper/adoption.hpp"
#include "os/linux/fd.hpp"

namespace runmain::keeper {

// Tags that may have been given after the table was written.
inline constexpr std::uint64_t kTagsAhead = 8192;
inline constexpr Duration kAskedMax = std::chrono::seconds(10);  // from SIGTERM to SIGKILL
inline constexpr Duration kLeftoversMax = std::chrono::seconds(5);

struct Leftovers {
  // A tree with the tag, of which a process lives.
  struct Tree {
    pid_t pid = 0;      // of one of its processes; the main one if that lives
    std::string name;   // of its service, else of the process
    bool asks = false;  // its main process is a worker, and has not been asked to end yet
    os::ProcessName first;
  };
  // Ours by its environment.
  struct Loose {
    pid_t pid = 0;
    std::string name;
    std::uint64_t tag = 0;
    os::UniqueFd pidfd;
  };
  std::map<std::uint64_t, Tree> trees;  // by tag
  std::set<std::uint64_t> tags;         // that the table names, whether or not somebody was seen
  std::vector<Loose> loose;
  std::string channel;
  bool empty() const { return trees.empty() && loose.empty(); }
  // Trees; of loose processes those that share a tag count as one.
  std::size_t count() const;
};

// With a table of ours: what carries its tags, but for those `taken`. Without one: who was told of `channel`
// (empty: nobody).
Leftovers find_leftovers(const AdoptionTable* table, const std::string& channel,
                         const std::set<std::uint64_t>& taken);
// Asks who serves to end, waits kAskedMax at most, kills all that is left. Who cannot be ended is named in
// `words`. Returns how many trees did not end when they were asked to.
std::size_t end_leftovers(Leftovers& left, std::vector<std::string>& words);
// The files of unix sockets that nobody has any more, if they are still the table's.
void remove_socket_files(const AdoptionTable& table);

}  // namespace runmain::keeper
