#include "os/linux/cpus.hpp"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

#include "os/linux/fd.hpp"

namespace runmain::os {
namespace {

constexpr std::size_t kFileMax = 1U << 20U;  // bytes; mountinfo of a machine with many mounts
constexpr std::size_t kDepthMax = 64;        // cgroups above each other
constexpr int kCpusMax = 1 << 16;            // CPUs that an affinity mask is made for

std::vector<std::string> split(std::string_view text, char between) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(between), text.size());
    if (end > 0) parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::string text_of(const std::string& path) {
  auto text = read_file(path, kFileMax);
  return text ? std::move(*text) : std::string();
}

std::optional<std::int64_t> number_of(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (fault != std::errc() || (end != text.data() + text.size() && *end != '\n')) return std::nullopt;
  return number;
}

// A quota of -1 ("max") is none.
std::uint32_t in_cpus(std::optional<std::int64_t> quota, std::optional<std::int64_t> period) {
  if (!quota || !period || *quota <= 0 || *period <= 0) return 0;
  const std::int64_t cpus = (*quota - 1) / *period + 1;
  return static_cast<std::uint32_t>(std::min<std::int64_t>(cpus, kCpusMax));
}

std::uint32_t quota_of(const std::string& folder, bool v2) {
  if (!v2)
    return in_cpus(number_of(text_of(folder + "/cpu.cfs_quota_us")),
                   number_of(text_of(folder + "/cpu.cfs_period_us")));
  const auto words = split(text_of(folder + "/cpu.max"), ' ');
  return words.size() == 2 ? in_cpus(number_of(words[0]), number_of(words[1])) : 0;
}

struct Mount {
  std::string root;   // the cgroup that is seen at …
  std::string point;  // … this folder
};

// Spaces and their like are \040 in mountinfo; proc(5).
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    int code = 0;
    const std::string_view digits = text.substr(std::min(i + 1, text.size()), 3);
    const auto [end, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 8);
    if (text[i] == '\\' && digits.size() == 3 && fault == std::errc() && end == digits.data() + 3) {
      out += static_cast<char>(code);
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool has_part(std::string_view list, std::string_view wanted) {
  const auto parts = split(list, ',');
  return std::find(parts.begin(), parts.end(), wanted) != parts.end();
}

// "36 35 98:0 /ROOT /POINT OPTIONS … - TYPE SOURCE OPTIONS"
std::optional<Mount> mount_of(const std::string& mountinfo, bool v2) {
  for (const std::string& line : split(mountinfo, '\n')) {
    const auto words = split(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4) continue;
    const bool fits = v2 ? dash[1] == "cgroup2" : dash[1] == "cgroup" && has_part(dash[3], "cpu");
    if (fits) return Mount{unescaped(words[3]), unescaped(words[4])};
  }
  return std::nullopt;
}

// "0::/a/b" (v2), "4:cpu,cpuacct:/a/b" (v1).
std::optional<std::string> cgroup_of(const std::string& cgroups, bool v2) {
  for (const std::string& line : split(cgroups, '\n')) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (v2 ? controllers.empty() : has_part(controllers, "cpu")) return line.substr(second + 1);
  }
  return std::nullopt;
}

// The way of the cgroup below its mount point; empty where it is above, or somewhere else: then the mount
// point itself is the nearest that can be seen.
std::string below(const std::string& cgroup, const std::string& root) {
  std::string path = cgroup;
  if (root != "/") {
    if (path.compare(0, root.size(), root) != 0) return {};
    path.erase(0, root.size());
  }
  while (!path.empty() && path.back() == '/') path.pop_back();
  const bool inside = path.empty() || path[0] == '/';
  return inside && (path + "/").find("/../") == std::string::npos ? path : std::string();
}

std::uint32_t smaller(std::uint32_t a, std::uint32_t b) { return a == 0 || (b != 0 && b < a) ? b : a; }

std::uint32_t quota_in(const std::string& root, bool v2) {
  const auto cgroup = cgroup_of(text_of(root + "/proc/self/cgroup"), v2);
  const auto mount = mount_of(text_of(root + "/proc/self/mountinfo"), v2);
  if (!cgroup || !mount) return 0;
  std::string path = below(*cgroup, mount->root);
  std::uint32_t least = 0;
  for (std::size_t depth = 0; depth < kDepthMax; ++depth) {
    least = smaller(least, quota_of(root + mount->point + path, v2));
    if (path.empty()) break;
    path.resize(path.rfind('/'));
  }
  return least;
}

// The mask grows until the kernel's fits; 0: it cannot be known.
std::uint32_t affinity_cpus() {
  for (int cpus = 1024; cpus <= kCpusMax; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(cpus));
    if (set == nullptr) return 0;
    const std::size_t size = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
    const bool known = sched_getaffinity(0, size, set) == 0;
    const int count = known ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (known) return static_cast<std::uint32_t>(count);
  }
  return 0;
}

}  // namespace

std::uint32_t quota_cpus(const std::string& root) {
  return smaller(quota_in(root, true), quota_in(root, false));
}

std::uint32_t usable_cpus() { return std::max(1U, smaller(affinity_cpus(), quota_cpus())); }

}  // namespace runmain::os
