#include "drive/adopt.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>

#include "child_runtime/protocol.h"
#include "drive/bootstrap.hpp"
#include "os/linux/proc.hpp"

namespace runmain::drive {
namespace {

constexpr std::string_view kLibrary = "librunmain_adopt.so";
constexpr std::string_view kSeparators = ": \t\n";  // of LD_PRELOAD, ld.so(8)

bool is_ours(std::string_view library) {
  const std::size_t slash = library.rfind('/');
  return (slash == std::string_view::npos ? library : library.substr(slash + 1)) == kLibrary;
}

// As the library has it (child_runtime/adopt/adopt.c): it does nothing beside one of these.
bool names_sanitizer(const std::string& preload) {
  constexpr std::array<std::string_view, 6> kNames{"libasan", "libtsan", "libubsan",
                                                   "liblsan", "libmsan", "libclang_rt."};
  return std::any_of(kNames.begin(), kNames.end(),
                     [&](std::string_view name) { return preload.find(name) != std::string::npos; });
}

bool gets_rights(const Adoptee& who) {
  const os::ProgramFile& p = who.program;
  return (p.setuid && p.uid != who.uid) || (p.setgid && p.gid != who.gid) || (p.capable && who.uid != 0);
}

// What the program is that keeps it from being adopted; empty: nothing that can be seen.
std::string fault_of(const Adoptee& who) {
  const os::ProgramFile& p = who.program;
  if (!p.known) return {};
  if (!p.wide) return "is a 32-bit program (it cannot load runmain's library)";
  if (!p.fits) return "is a program for another machine (it cannot load runmain's library)";
  if (p.go) return "is a Go program (it makes its own system calls)";
  if (!p.dynamic) return "is a static program (it makes its own system calls)";
  if (gets_rights(who))
    return "gets rights of its own by its file (the kernel lets nothing be loaded into it)";
  if (p.sanitized) return "is built with AddressSanitizer (whose library must be the first that is loaded)";
  return {};
}

}  // namespace

AdoptLibrary adopt_library_in(const std::string& folder) {
  AdoptLibrary found;
  std::string path = folder + "/" + std::string(kLibrary);
  if (access(path.c_str(), R_OK) != 0) return found;
  found.others_can_read = anyone_can_read(path);
  found.path = std::move(path);
  return found;
}

AdoptLibrary find_adopt_library() {
  char self[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self);
  if (n <= 0) return {};
  const std::string_view path(self, static_cast<std::size_t>(n));
  return adopt_library_in(std::string(path.substr(0, path.rfind('/'))));
}

std::optional<std::string> why_not_adopted(const Adoptee& who, const AdoptLibrary& library) {
  const std::string begin = "cannot adopt: ";
  if (library.path.empty()) return begin + "runmain's " + std::string(kLibrary) + " is not installed";
  if (library.path.find_first_of(kSeparators) != std::string::npos)
    return begin + library.path + " has a blank or a colon in its path, which LD_PRELOAD cannot name";
  if (who.other_user && !library.others_can_read)
    return begin + "the user of this service cannot read " + library.path;
  const std::string instead = ": use listen with {fd}, or port";
  if (names_sanitizer(who.preload)) return begin + "LD_PRELOAD names a sanitizer" + instead;
  const std::string fault = fault_of(who);
  if (fault.empty()) return std::nullopt;
  return begin + who.program.path + " " + fault + instead;
}

std::string with_adopt_library(std::string_view value, const std::string& library) {
  const std::string users = own_preload(value);
  return users.empty() ? library : users + ":" + library;
}

std::string own_preload(std::string_view value) {
  std::string out(value);
  for (std::size_t at = 0; at < out.size();) {
    const std::size_t end = std::min(out.find_first_of(kSeparators, at), out.size());
    if (!is_ours(std::string_view(out).substr(at, end - at))) {
      at = end + 1;
      continue;
    }
    // With the separator before it, or after it where it is the first.
    const std::size_t from = at == 0 ? 0 : at - 1;
    out.erase(from, at == 0 ? end + 1 : end - from);
    at = from == 0 ? 0 : from + 1;
  }
  return out;
}

std::string adopt_addresses(const std::vector<std::string>& bound) {
  std::string text;
  for (const std::string& address : bound) {
    const bool unusable =
        address.find(',') != std::string::npos;  // the path of a unix socket; it keeps its place
    text += (text.empty() ? "" : ",") + (unusable ? std::string("-") : address);
  }
  return text;
}

std::uint16_t port_of_first(const std::vector<std::string>& bound) {
  for (const std::string& address : bound) {
    if (address.rfind("unix:", 0) == 0 || address.rfind("udp:", 0) == 0) continue;
    const auto port = os::parse_number(address.substr(address.rfind(':') + 1));
    if (port && *port <= 0xffff) return static_cast<std::uint16_t>(*port);
  }
  return 0;
}

std::optional<std::string> put_adoption_in(std::vector<std::string>& environment, const AdoptStart& start,
                                           const AdoptLibrary& library) {
  const auto value_of = [&](std::string_view begin) {
    const auto line = std::find_if(environment.begin(), environment.end(),
                                   [&](const std::string& each) { return each.starts_with(begin); });
    return line == environment.end() ? std::string() : line->substr(begin.size());
  };
  Adoptee who;
  who.program = os::look_at_program(start.program, value_of("PATH="), start.cwd);
  who.preload = value_of("LD_PRELOAD=");
  who.uid = start.uid;
  who.gid = start.gid;
  who.other_user = start.other_user;
  if (auto why = why_not_adopted(who, library)) return why;
  const std::string preload = "LD_PRELOAD=" + with_adopt_library(who.preload, library.path);
  std::erase_if(environment, [](const std::string& line) { return line.starts_with("LD_PRELOAD="); });
  environment.push_back(preload);
  environment.push_back(RUNMAIN_ENV_ADOPT "=" + adopt_addresses(start.bound));
  return std::nullopt;
}

}  // namespace runmain::drive
