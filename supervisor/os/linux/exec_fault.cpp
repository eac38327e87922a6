#include "os/linux/exec_fault.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace runmain::os {

namespace {

constexpr std::size_t kHeadBytes = 4096;  // of a program: enough for "#!" and the ELF program headers
constexpr const char* kDefaultPath = "/usr/local/bin:/bin:/usr/bin";
constexpr std::size_t kPathShownMax = 200;

bool exists(const std::string& path) {
  struct stat s {};
  return ::stat(path.c_str(), &s) == 0;
}

std::string from_cwd(const SpawnPlan& plan, const std::string& path) {
  if (plan.cwd.empty() || (!path.empty() && path[0] == '/')) return path;
  return plan.cwd + "/" + path;
}

// A script with DOS line ends names an interpreter that ends in CR: that must be seen.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\r') {
      out += "\\r";
    } else {
      out += (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) ? '?' : c;
    }
  }
  return out;
}

std::string script_interpreter(std::string_view head) {
  if (head.substr(0, 2) != "#!") return {};
  std::string_view line = head.substr(2, head.find('\n') - 2);
  const std::size_t begin = line.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  line.remove_prefix(begin);
  return std::string(line.substr(0, line.find_first_of(" \t")));
}

// PT_INTERP of a 64-bit ELF file of this byte order: the dynamic loader it asks for.
std::string elf_interpreter(std::string_view head) {
  Elf64_Ehdr file{};
  if (head.size() < sizeof file) return {};
  std::memcpy(&file, head.data(), sizeof file);
  if (std::memcmp(file.e_ident, ELFMAG, SELFMAG) != 0 || file.e_ident[EI_CLASS] != ELFCLASS64) return {};
  for (std::size_t i = 0; i < file.e_phnum; ++i) {
    Elf64_Phdr part{};
    const std::size_t at = file.e_phoff + i * sizeof part;
    if (at > head.size() || head.size() - at < sizeof part) return {};
    std::memcpy(&part, head.data() + at, sizeof part);
    if (part.p_type != PT_INTERP) continue;
    if (part.p_offset > head.size() || head.size() - part.p_offset < part.p_filesz) return {};
    const std::string_view name = head.substr(part.p_offset, part.p_filesz);
    return std::string(name.substr(0, name.find('\0')));
  }
  return {};
}

// The interpreter that an existing program asks for and that is not there, or empty.
std::string missing_interpreter(const SpawnPlan& plan, const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return {};
  const auto head = pread_some(fd.get(), kHeadBytes, 0);
  if (!head) return {};
  std::string interpreter = script_interpreter(*head);
  if (interpreter.empty()) interpreter = elf_interpreter(*head);
  if (interpreter.empty() || exists(from_cwd(plan, interpreter))) return {};
  return interpreter;
}

// What to add to the words of the errno, or empty.
std::string remark(const SpawnPlan& plan, const std::vector<std::string>& candidates, int error) {
  switch (error) {
    case EACCES:
      for (const std::string& candidate : candidates) {
        struct stat s {};
        if (::stat(from_cwd(plan, candidate).c_str(), &s) != 0) continue;
        if (S_ISDIR(s.st_mode)) return "it is a folder";
        if ((s.st_mode & 0111U) == 0) return "it is not executable; chmod +x makes it so";
      }
      return {};
    case ENOEXEC: return "neither a program for this machine nor a script with a #! line";
    case ETXTBSY: return "a process has it open for writing";
    case ENOENT:
      if (plan.argv[0].find('/') == std::string::npos)
        return "not in PATH=" + printable(search_path(plan).substr(0, kPathShownMax));
      return {};
    default: return {};
  }
}

}  // namespace

std::string search_path(const SpawnPlan& plan) {
  for (const std::string& line : plan.env) {
    if (line.rfind("PATH=", 0) == 0) return line.substr(5);
  }
  return kDefaultPath;
}

std::string explain_exec(const SpawnPlan& plan, const std::vector<std::string>& candidates, int error) {
  const std::string what = "exec " + printable(plan.argv[0]) + ": ";
  if (error == ENOENT || error == EACCES || error == ELIBBAD) {
    for (const std::string& candidate : candidates) {
      const std::string missing = missing_interpreter(plan, from_cwd(plan, candidate));
      if (!missing.empty()) return what + "its interpreter " + printable(missing) + " does not exist";
    }
  }
  const std::string more = remark(plan, candidates, error);
  return what + std::strerror(error) + (more.empty() ? "" : " (" + more + ")");
}

std::string limit_name(int resource) {
  static constexpr std::array<const char*, 16> kNames = {
      "cpu",     "fsize", "data",  "stack",      "core",     "rss",  "nproc",  "nofile",
      "memlock", "as",    "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"};
  // The numbers of Linux on most architectures; the named constants differ on mips, sparc and alpha.
  static_assert(RLIMIT_NOFILE == 7 && RLIMIT_AS == 9);
  if (resource >= 0 && static_cast<std::size_t>(resource) < kNames.size()) {
    return kNames[static_cast<std::size_t>(resource)];
  }
  return "limit " + std::to_string(resource);
}

}  // namespace runmain::os
