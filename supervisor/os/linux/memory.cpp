#include "os/linux/memory.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <string_view>

#include "os/linux/proc.hpp"

namespace runmain::os {

namespace {

constexpr std::size_t kFileMax = 64U << 10U;
constexpr std::size_t kMountsMax = 1U << 20U;
constexpr std::uint64_t kNoLimit = 1ULL << 62U;  // v1 says a number near 2^63 for "none"

// The number behind `key` at the beginning of a line.
std::optional<std::uint64_t> value_of(std::string_view text, std::string_view key) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.size(), text.find('\n', at));
    std::string_view line = text.substr(at, end - at);
    if (line.substr(0, key.size()) == key) {
      line.remove_prefix(key.size());
      if (!line.empty() && (line[0] == ' ' || line[0] == ':' || line[0] == '\t')) {
        return parse_number(line.substr(1));
      }
    }
    at = end + 1;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> number_in(const std::string& path) {
  return parse_number(proc_text(path.c_str(), 256));  // "max" is none
}

bool is_folder(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
}

// Where a hierarchy is mounted: a line of mountinfo, "36 35 98:0 /ROOT /POINT options - TYPE source OPTIONS".
struct Mount {
  std::string root;
  std::string point;
};

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const std::size_t end = std::min(line.size(), line.find(' '));
    if (end > 0) words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(line.size(), end + 1));
  }
  return words;
}

bool has_option(std::string_view options, std::string_view wanted) {
  while (!options.empty()) {
    const std::size_t end = std::min(options.size(), options.find(','));
    if (options.substr(0, end) == wanted) return true;
    options.remove_prefix(std::min(options.size(), end + 1));
  }
  return false;
}

std::optional<Mount> mount_of(std::string_view mounts, bool v2) {
  for (std::size_t at = 0; at < mounts.size();) {
    const std::size_t end = std::min(mounts.size(), mounts.find('\n', at));
    const auto words = words_of(mounts.substr(at, end - at));
    at = end + 1;
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4) continue;
    const bool right = v2 ? dash[1] == "cgroup2" : dash[1] == "cgroup" && has_option(dash[3], "memory");
    if (right) return Mount{std::string(words[3]), std::string(words[4])};
  }
  return std::nullopt;
}

// The path of our group in its hierarchy: a line "0::/PATH", or "4:memory:/PATH".
std::optional<std::string> own_path(std::string_view groups, bool v2) {
  for (std::size_t at = 0; at < groups.size();) {
    const std::size_t end = std::min(groups.size(), groups.find('\n', at));
    const std::string_view line = groups.substr(at, end - at);
    at = end + 1;
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (v2 ? line.substr(0, second + 1) == "0::" : has_option(controllers, "memory")) {
      return std::string(line.substr(second + 1));
    }
  }
  return std::nullopt;
}

// The folders of our group and of those above it, ours first. In a container the path may be one of the host,
// of which only a part is mounted.
std::vector<std::string> group_folders(const std::string& proc, bool v2) {
  const auto mount = mount_of(proc_text((proc + "/self/mountinfo").c_str(), kMountsMax), v2);
  auto path = own_path(proc_text((proc + "/self/cgroup").c_str(), kFileMax), v2);
  if (!mount || !path) return {};
  if (mount->root != "/" && path->compare(0, mount->root.size(), mount->root) == 0) {
    path->erase(0, mount->root.size());
  }
  if (*path == "/" || !is_folder(mount->point + *path)) path->clear();
  std::vector<std::string> folders;
  while (folders.size() < kGroupDepthMax) {
    folders.push_back(mount->point + *path);
    if (path->empty()) break;
    path->erase(path->rfind('/') == std::string::npos ? 0 : path->rfind('/'));
  }
  return folders;
}

// What a group's limit leaves. Its inactive file pages can be taken back at any time.
std::optional<std::uint64_t> left_in(const std::string& folder, bool v2) {
  const auto limit = number_in(folder + (v2 ? "/memory.max" : "/memory.limit_in_bytes"));
  const auto used = number_in(folder + (v2 ? "/memory.current" : "/memory.usage_in_bytes"));
  if (!limit || !used || *limit >= kNoLimit) return std::nullopt;
  const std::string stat = proc_text((folder + "/memory.stat").c_str(), kFileMax);
  const std::uint64_t pages = value_of(stat, v2 ? "inactive_file" : "total_inactive_file").value_or(0);
  const std::uint64_t held = *used - std::min(*used, pages);
  return *limit - std::min(*limit, held);
}

std::optional<std::uint64_t> oom_kills_in(const std::string& file) {
  return value_of(proc_text(file.c_str(), kFileMax), "oom_kill");
}

std::uint64_t rss_of(const std::string& folder) {
  static const auto page = static_cast<std::uint64_t>(std::max(1L, ::sysconf(_SC_PAGESIZE)));
  const std::string text = proc_text((folder + "/statm").c_str(), 256);
  const std::size_t blank = text.find(' ');
  if (blank == std::string::npos) return 0;
  return parse_number(std::string_view(text).substr(blank)).value_or(0) * page;
}

}  // namespace

std::optional<std::uint64_t> available_memory(const std::string& proc) {
  std::optional<std::uint64_t> least;
  const auto at_most = [&least](std::optional<std::uint64_t> bytes) {
    if (bytes) least = std::min(least.value_or(*bytes), *bytes);
  };
  const auto free = value_of(proc_text((proc + "/meminfo").c_str(), kFileMax), "MemAvailable");
  if (free) at_most(*free * 1024);
  for (const bool v2 : {true, false}) {
    for (const std::string& folder : group_folders(proc, v2)) at_most(left_in(folder, v2));
  }
  return least;
}

std::string OomCounter::find() const {
  for (const bool v2 : {true, false}) {
    for (const std::string& folder : group_folders(proc_, v2)) {
      std::string file = folder + (v2 ? "/memory.events" : "/memory.oom_control");
      if (oom_kills_in(file)) return file;
    }
  }
  return proc_ + "/vmstat";
}

bool OomCounter::count() {
  const auto now = file_.empty() ? std::nullopt : oom_kills_in(file_);
  if (!now) return false;
  if (all_ && in_file_ && *now > *in_file_) *all_ += *now - *in_file_;
  if (!all_) all_ = *now;
  in_file_ = *now;
  return true;
}

std::optional<std::uint64_t> OomCounter::kills(bool anew) {
  const bool counted = count();
  if (counted && !anew) return all_;
  if (std::string file = find(); file != file_) {
    file_ = std::move(file);
    in_file_.reset();
  }
  return count() ? all_ : std::nullopt;
}

std::uint64_t resident_memory(const std::vector<pid_t>& pids, const std::string& proc) {
  std::uint64_t sum = 0;
  for (const pid_t pid : pids) sum += rss_of(proc + "/" + std::to_string(pid));
  return sum;
}

std::uint64_t shared_out_memory(const std::vector<pid_t>& pids, const std::string& proc) {
  std::uint64_t sum = 0;
  for (const pid_t pid : pids) {
    const std::string folder = proc + "/" + std::to_string(pid);
    const auto pss = value_of(proc_text((folder + "/smaps_rollup").c_str(), kFileMax), "Pss");
    sum += pss ? *pss * 1024 : rss_of(folder);
  }
  return sum;
}

}  // namespace runmain::os
