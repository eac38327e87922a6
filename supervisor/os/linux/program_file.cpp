#include "os/linux/program_file.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

#include "os/linux/fd.hpp"

namespace runmain::os {
namespace {

constexpr std::size_t kHeadBytes = 4096;         // "#!" and the program headers
constexpr std::size_t kSectionsMax = 512;        // headers of sections that are looked at
constexpr std::size_t kNamesMax = 1U << 20U;     // bytes of a table of names
constexpr int kInterpretersMax = 5;              // scripts of scripts; the kernel follows four
constexpr std::size_t kProgramHeadersMax = 128;  // of which real programs have 15

std::string from_folder(const std::string& cwd, std::string path) {
  while (path.size() > 2 && path.compare(0, 2, "./") == 0) path.erase(0, 2);
  return path.empty() || path[0] == '/' || cwd.empty() ? path : cwd + "/" + path;
}

bool is_executable_file(const std::string& path) {
  struct stat s {};
  return ::stat(path.c_str(), &s) == 0 && S_ISREG(s.st_mode) && (s.st_mode & 0111U) != 0;
}

std::string find_program(const std::string& name, std::string_view path, const std::string& cwd) {
  if (name.find('/') != std::string::npos) return from_folder(cwd, name);
  while (!name.empty()) {
    const std::size_t colon = path.find(':');
    const std::string folder(path.substr(0, colon));
    const std::string candidate = from_folder(cwd, (folder.empty() ? "." : folder) + "/" + name);
    if (is_executable_file(candidate)) return candidate;
    if (colon == std::string_view::npos) break;
    path.remove_prefix(colon + 1);
  }
  return {};
}

std::vector<std::string> words_of_first_line(std::string_view head) {
  std::string_view line = head.substr(2, head.find('\n') - 2);
  std::vector<std::string> words;
  while (!line.empty()) {
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) break;
    line.remove_prefix(begin);
    const std::size_t end = std::min(line.find_first_of(" \t\r"), line.size());
    words.emplace_back(line.substr(0, end));
    line.remove_prefix(end);
  }
  return words;
}

// "#!/usr/bin/env -S NAME=value python3 -u": python3.
std::string interpreter_of_script(std::string_view head) {
  const std::vector<std::string> words = words_of_first_line(head);
  if (words.empty()) return {};
  const bool by_env = words[0].size() >= 4 && words[0].compare(words[0].size() - 4, 4, "/env") == 0;
  if (!by_env) return words[0];
  const auto name = std::find_if(words.begin() + 1, words.end(), [](const std::string& word) {
    return word[0] != '-' && word.find('=') == std::string::npos;
  });
  return name == words.end() ? words[0] : *name;
}

template <class T>
bool read_at(std::string_view bytes, std::size_t at, T& out) {
  if (at > bytes.size() || bytes.size() - at < sizeof out) return false;
  std::memcpy(&out, bytes.data() + at, sizeof out);
  return true;
}

bool has_interpreter(std::string_view head, const Elf64_Ehdr& file) {
  for (std::size_t i = 0; i < std::min<std::size_t>(file.e_phnum, kProgramHeadersMax); ++i) {
    Elf64_Phdr part{};
    if (!read_at(head, file.e_phoff + i * sizeof part, part)) return false;
    if (part.p_type == PT_INTERP) return true;
  }
  return false;
}

std::string read_section(int fd, const Elf64_Shdr& section) {
  auto bytes = pread_some(fd, std::min<std::size_t>(section.sh_size, kNamesMax), section.sh_offset);
  return bytes ? *bytes : std::string();
}

// What only the names of the sections and of the libraries tell.
void look_at_sections(int fd, const Elf64_Ehdr& file, ProgramFile& out) {
  const std::size_t count = std::min<std::size_t>(file.e_shnum, kSectionsMax);
  const auto headers = pread_some(fd, count * sizeof(Elf64_Shdr), file.e_shoff);
  Elf64_Shdr names{};
  if (!headers || !read_at(*headers, file.e_shstrndx * sizeof names, names)) return;
  const std::string table = read_section(fd, names);
  for (std::size_t i = 0; i < count; ++i) {
    Elf64_Shdr section{};
    if (!read_at(*headers, i * sizeof section, section) || section.sh_name >= table.size()) continue;
    const std::string_view name = table.c_str() + section.sh_name;
    if (name == ".note.go.buildid" || name == ".go.buildinfo") out.go = true;
    if (name != ".dynstr") continue;
    const std::string libraries = read_section(fd, section);
    out.sanitized = libraries.find("libasan.so") != std::string::npos ||
                    libraries.find("libhwasan.so") != std::string::npos;
  }
}

// Of the machine that we are on ourselves.
bool is_of_this_machine(const Elf64_Ehdr& file) {
  const UniqueFd self(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  Elf64_Ehdr own{};
  const auto head = self ? pread_some(self.get(), sizeof own, 0) : Result<std::string>(std::string());
  if (!head || !read_at(*head, 0, own)) return true;
  return own.e_machine == file.e_machine && own.e_ident[EI_CLASS] == file.e_ident[EI_CLASS];
}

void look_at_rights(int fd, ProgramFile& out) {
  struct stat s {};
  if (::fstat(fd, &s) != 0) return;
  out.setuid = (s.st_mode & S_ISUID) != 0;
  out.setgid = (s.st_mode & S_ISGID) != 0 && (s.st_mode & S_IXGRP) != 0;
  out.uid = s.st_uid;
  out.gid = s.st_gid;
  out.capable = ::fgetxattr(fd, "security.capability", nullptr, 0) > 0;
}

void look_at_elf(int fd, std::string_view head, ProgramFile& out) {
  Elf64_Ehdr file{};
  if (!read_at(head, 0, file) || std::memcmp(file.e_ident, ELFMAG, SELFMAG) != 0) return;
  out.known = true;
  out.wide = file.e_ident[EI_CLASS] == ELFCLASS64;
  out.fits = is_of_this_machine(file);
  look_at_rights(fd, out);
  if (!out.wide || !out.fits) return;
  out.dynamic = has_interpreter(head, file);
  look_at_sections(fd, file, out);
}

}  // namespace

ProgramFile look_at_program(const std::string& name, const std::string& path, const std::string& cwd) {
  ProgramFile out;
  std::string wanted = name;
  for (int i = 0; i < kInterpretersMax; ++i) {
    const std::string found = find_program(wanted, path, cwd);
    const UniqueFd fd(found.empty() ? -1
                                    : ::open(found.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd) return out;
    const auto head = pread_some(fd.get(), kHeadBytes, 0);
    if (!head) return out;
    out.path = found;
    if (head->compare(0, 2, "#!") != 0) {
      look_at_elf(fd.get(), *head, out);
      return out;
    }
    wanted = interpreter_of_script(*head);
    if (wanted.empty()) return out;
  }
  return out;
}

}  // namespace runmain::os
