// What can be seen of a program before it is started: the file that the kernel would execute for a command,
// and what kind of program it is. Invariant: reads files only, bounded (kHeadBytes, kSectionsMax, kNamesMax);
// what cannot be read is not known and says nothing. Non-goals: whether it can be started (exec_fault.hpp),
// and what it starts itself: of `sh -c "./server"` this is the shell. Thread: any.
#pragma once

#include <cstdint>
#include <string>

namespace runmain::os {

struct ProgramFile {
  std::string path;        // after the search in PATH and the interpreters of scripts; empty: there is none
  bool known = false;      // it is an ELF file that could be read; else the rest says nothing
  bool fits = true;        // of the class and machine of this process
  bool wide = true;        // 64 bits
  bool dynamic = false;    // PT_INTERP: a dynamic loader prepares it, which loads what LD_PRELOAD says
  bool go = false;         // made by Go's linker
  bool sanitized = false;  // needs the shared library of AddressSanitizer, which must be the first of all
  // The kernel gives it other rights than those of who executes it: set-user-ID, set-group-ID, capabilities.
  bool setuid = false;
  bool setgid = false;
  bool capable = false;
  std::uint32_t uid = 0;  // the owner's
  std::uint32_t gid = 0;
};

// `name` as execvp(3) finds it with this PATH, relative to `cwd`; the interpreter of a script ("#!", also by
// `env NAME`) in place of the script. elf(5), execve(2), credentials(7).
ProgramFile look_at_program(const std::string& name, const std::string& path, const std::string& cwd);

}  // namespace runmain::os
