// The processes of the program that is looked at, found by the tag of its tree, and what /proc says of them.
//
// Invariant: who was once seen stays in the list, with the words of its last program (exec changes them).
// What may not be read is absent. Thread: one; owner_of_port() any. Non-goal: processes of other users.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "doctor/evidence.hpp"

namespace runmain::app {

class DoctorProcesses {
 public:
  // Of these trees.
  explicit DoctorProcesses(std::vector<std::uint64_t> tags) : tags_(std::move(tags)) {}

  // Looks at all that live now.
  void look();
  const std::vector<pid_t>& living() const { return living_; }
  const std::vector<doctor::Process>& seen() const { return seen_; }
  // It accepted one of our requests.
  void count_request(pid_t pid);

  // Which process of the tree has the TCP socket whose own port on loopback this is; 0: none that we may see.
  static pid_t owner_of_port(std::uint64_t tag, std::uint16_t port);
  // Which one has the socket with this inode.
  static pid_t owner_of_inode(const std::vector<pid_t>& pids, std::uint64_t inode);
  // Instrumentation by eBPF that runs on this machine: "beyla (pid 12)".
  static std::vector<std::string> ebpf();

 private:
  doctor::Process& entry(pid_t pid);
  static void read(doctor::Process& process);

  std::vector<std::uint64_t> tags_;
  std::vector<pid_t> living_;
  std::vector<doctor::Process> seen_;
};

}  // namespace runmain::app
