#include "os/linux/proc.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>

#include "os/linux/fd.hpp"

namespace runmain::os {

namespace {

constexpr std::size_t kChunkBytes = 64U << 10U;

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using Dir = std::unique_ptr<DIR, CloseDir>;

// Calls `use` with each entry of the folder that is a number.
template <class Use>
bool any_number_in(const char* path, const Use& use) {
  const Dir dir(::opendir(path));
  if (!dir) return false;
  while (const dirent* entry = ::readdir(dir.get())) {
    const auto number = parse_number(entry->d_name);
    if (number && use(static_cast<int>(*number), ::dirfd(dir.get()), entry->d_name)) return true;
  }
  return false;
}

// Field `index` (from 0) of `text`, whose fields are parted by single blanks.
std::string_view field(std::string_view text, int index) {
  for (; index > 0; --index) {
    const std::size_t blank = text.find(' ');
    if (blank == std::string_view::npos) return {};
    text.remove_prefix(blank + 1);
  }
  return text.substr(0, text.find(' '));
}

}  // namespace

std::optional<std::uint64_t> parse_number(std::string_view text, int base) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return std::nullopt;
  text.remove_prefix(begin);
  std::uint64_t value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (fault != std::errc{}) return std::nullopt;
  return value;
}

std::string proc_text(const char* path, std::size_t limit) {
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return {};
  // Not pread_some: some files of /proc can only be read from their start on.
  std::string out;
  for (std::size_t size = 0; size < limit;) {
    const std::size_t chunk = std::min(limit - size, kChunkBytes);
    out.resize(size + chunk);
    const ssize_t n = ::read(fd.get(), out.data() + size, chunk);
    if (n > 0) size += static_cast<std::size_t>(n);
    out.resize(size);
    if (n == 0 || (n < 0 && errno != EINTR)) break;
  }
  return out;
}

std::optional<ProcessState> parse_stat(std::string_view text) {
  // "PID (NAME) STATE …": the name ends at the last bracket.
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return std::nullopt;
  if (text.size() < close + 3) return std::nullopt;
  ProcessState out;
  for (const char c : text.substr(open + 1, close - open - 1)) {
    out.name += (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) ? '?' : c;
  }
  const std::string_view rest = text.substr(close + 2);  // from field 3, the state, on
  out.state = rest[0];
  out.threads = static_cast<long>(parse_number(field(rest, 17)).value_or(0));  // field 20, num_threads
  out.started = parse_number(field(rest, 19)).value_or(0);                     // field 22, starttime
  return out;
}

std::optional<ProcessState> process_state(pid_t pid) {
  std::array<char, 32> path{"/proc/"};
  char* end = std::to_chars(path.data() + 6, path.data() + 20, pid).ptr;
  std::char_traits<char>::copy(end, "/stat", 6);
  const UniqueFd fd(::open(path.data(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT || errno == ESRCH) return std::nullopt;
    return ProcessState{};
  }
  std::array<char, 1024> buffer;
  const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
  if (n <= 0) {
    if (n < 0 && errno != ESRCH) return ProcessState{};
    return std::nullopt;
  }
  return parse_stat(std::string_view(buffer.data(), static_cast<std::size_t>(n)));
}

bool any_fd_of(pid_t pid, const std::function<bool(int fd, std::string_view link)>& use) {
  const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
  return any_number_in(folder.c_str(), [&use](int fd, int dir, const char* name) {
    std::array<char, 256> link;
    const ssize_t n = ::readlinkat(dir, name, link.data(), link.size());
    return n > 0 && use(fd, std::string_view(link.data(), static_cast<std::size_t>(n)));
  });
}

std::optional<std::uint64_t> write_calls(pid_t pid) {
  constexpr std::string_view kLine = "syscw:";
  const std::string text = proc_text(("/proc/" + std::to_string(pid) + "/io").c_str(), 512);
  const std::size_t at = text.find(kLine);
  if (at == std::string::npos) return std::nullopt;
  return parse_number(std::string_view(text).substr(at + kLine.size()));
}

std::uint64_t cpu_time(pid_t pid) {
  static const auto ticks = static_cast<std::uint64_t>(std::max(1L, ::sysconf(_SC_CLK_TCK)));
  const std::string text = proc_text(("/proc/" + std::to_string(pid) + "/stat").c_str(), 1024);
  const std::size_t close = text.rfind(')');
  if (close == std::string::npos || close + 2 > text.size()) return 0;
  const std::string_view rest = std::string_view(text).substr(close + 2);  // from field 3 on
  std::uint64_t used = 0;
  for (const int index : {11, 12, 13, 14}) used += parse_number(field(rest, index)).value_or(0);
  return used * (1'000'000'000 / ticks);
}

bool has_children(pid_t pid) {
  const std::string number = std::to_string(pid);
  const UniqueFd fd(
      ::open(("/proc/" + number + "/task/" + number + "/children").c_str(), O_RDONLY | O_CLOEXEC));
  char first = 0;
  return !fd || ::read(fd.get(), &first, 1) != 0;
}

bool any_process(const std::function<bool(pid_t pid)>& use) {
  return any_number_in("/proc", [&use](int pid, int, const char*) { return use(pid); });
}

}  // namespace runmain::os
