// What the tests of this room share: the one Spawner, children with an owner, processes with other
// privileges.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "os/linux/fd.hpp"
#include "os/linux/spawn.hpp"

namespace runmain::os::test {

// The Spawner of this test program; it takes the low fds once.
Spawner& spawner();

Time now();

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};
Pipe make_pipe();

// Kills and reaps a child unless that has happened.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  Child(Child&& o) noexcept : pid_(std::exchange(o.pid_, 0)) {}
  Child& operator=(Child&&) = delete;
  ~Child();
  pid_t pid() const { return pid_; }
  int wait();  // the wait status

 private:
  pid_t pid_;
};

// fork(2); the child runs `body` and leaves by _exit with what it returns.
Child fork_child(const std::function<int()>& body);

// The same in a child that has no privileges (uid and gid 65534 when the caller is root). Returns what body
// returns, as text: a fault is easier to find in words.
std::string in_child(bool drop_privileges, const std::function<std::string()>& body);

// Starts the plan with stdout in a pipe, returns all that is printed, and reaps the child.
std::string output_of(SpawnPlan plan);

// A plan with the usual PATH.
SpawnPlan plan_for(std::vector<std::string> argv);

// Waits (at most 10 s) until the fd is readable or hung up. False at the guard's end.
bool wait_readable(int fd);
// True when every write end of the pipe is closed and nothing is left to read; never waits.
bool at_end(int pipe);

// A folder that is removed with all that is in it.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::string file(const std::string& name, const std::string& bytes, unsigned mode) const;
  std::string path(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// From here on, this process gets `error` for the system call (with this first argument, if one is given): a
// seccomp filter, for a forked child only, because it stays.
bool forbid_call(long number, int error, long first_argument = -1);

bool is_root();

// Says why a test cannot be run here.
void skip(const char* why);

// Empty when `part` is in `text`, otherwise what was looked for and where.
std::string lacks(const std::string& text, const std::string& part);

}  // namespace runmain::os::test
