// What a service with `adopt = true` is started with, so that a program that binds by itself gets the
// service's sockets: the library that ld.so(8) loads first (child_runtime/adopt), and what that one must
// know.
//
// Invariant: whether a program can be adopted is a decision over values; who cannot is refused before it is
// started, with the reason and what to do instead. What a user has set in LD_PRELOAD stays, in front of ours.
// Non-goal: what a wrapper starts (`sh -c`, `npm run`): only the command's own program is seen. Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "os/linux/program_file.hpp"

namespace runmain::drive {

// The library: beside the supervisor's executable, in a build as in an installation.
struct AdoptLibrary {
  std::string path;              // empty: it is not there
  bool others_can_read = false;  // a service with another user may have it, too
};
AdoptLibrary adopt_library_in(const std::string& folder);
// Of this process.
AdoptLibrary find_adopt_library();

// Who shall be adopted.
struct Adoptee {
  os::ProgramFile program;
  std::string preload;  // LD_PRELOAD as the user has it
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  bool other_user = false;  // than runmain's
};

// Why it cannot be, and what else can be done: "cannot adopt: ./server is a static program (…): use listen
// with {fd}, or port". Nothing: it can, or nobody can say before it runs.
std::optional<std::string> why_not_adopted(const Adoptee& who, const AdoptLibrary& library);

// LD_PRELOAD with our library last.
std::string with_adopt_library(std::string_view value, const std::string& library);
// LD_PRELOAD without any runmain's: of the one in which we run.
std::string own_preload(std::string_view value);

// What a start is made of, as far as it matters here.
struct AdoptStart {
  std::string program;  // argv[0]
  std::string cwd;
  std::vector<std::string> bound;  // the addresses of the sockets, in the order of the fds
  std::uint32_t uid = 0;           // as it runs
  std::uint32_t gid = 0;
  bool other_user = false;
};

// Adds to an environment ("NAME=value") what the library needs, but for the cookies, which the keeper knows.
// On failure what why_not_adopted() says, and the environment is as it was. Reads the program's file.
std::optional<std::string> put_adoption_in(std::vector<std::string>& environment, const AdoptStart& start,
                                           const AdoptLibrary& library);

// The port of the first TCP socket; 0: there is none.
std::uint16_t port_of_first(const std::vector<std::string>& bound);

// RUNMAIN_ADOPT: the addresses as they are bound, in the order of the fds.
std::string adopt_addresses(const std::vector<std::string>& bound);

}  // namespace runmain::drive
