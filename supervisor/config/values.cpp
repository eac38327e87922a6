#include "config/values.hpp"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "config/text.hpp"

namespace runmain::config {
namespace {

using namespace std::chrono_literals;

constexpr const char* kDurationHint =
    "write whole numbers with h, m, s or ms, such as \"10s\", \"500ms\" or \"1m30s\"";
constexpr const char* kSizeHint =
    "write bytes, or a number with KB, MB, GB, KiB, MiB or GiB, such as \"10MB\"";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct DurationUnit {
  std::string_view name;
  Duration size;
};
constexpr DurationUnit kDurationUnits[] = {{"d", 24h}, {"h", 1h}, {"m", 1min}, {"s", 1s}, {"ms", 1ms}};

struct SizeUnit {
  std::string_view name;
  std::uint64_t size;
};
constexpr SizeUnit kSizeUnits[] = {{"", 1},
                                   {"B", 1},
                                   {"kB", 1000},
                                   {"KB", 1000},
                                   {"MB", 1000000},
                                   {"GB", 1000000000ULL},
                                   {"TB", 1000000000000ULL},
                                   {"KiB", 1ULL << 10U},
                                   {"MiB", 1ULL << 20U},
                                   {"GiB", 1ULL << 30U},
                                   {"TiB", 1ULL << 40U}};

// The digits at the front of `text`, which they are cut from. Nothing if there are none or too many.
std::optional<std::uint64_t> take_number(std::string_view& text) {
  std::uint64_t number = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (fault != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

std::string_view take_unit(std::string_view& text) {
  std::size_t n = 0;
  while (n < text.size() && !is_digit(text[n])) ++n;
  const std::string_view unit = text.substr(0, n);
  text.remove_prefix(n);
  return unit;
}

// RTMIN, RTMIN+n, RTMAX, RTMAX-n; 0 if it is none.
int realtime_signal(std::string_view name) {
  const bool from_min = name.substr(0, 5) == "RTMIN";
  if (!from_min && name.substr(0, 5) != "RTMAX") return 0;
  name.remove_prefix(5);
  int offset = 0;
  if (!name.empty()) {
    if (name[0] != (from_min ? '+' : '-')) return 0;
    name.remove_prefix(1);
    const auto number = take_number(name);
    if (!number || !name.empty() || *number > static_cast<std::uint64_t>(SIGRTMAX - SIGRTMIN)) return 0;
    offset = static_cast<int>(*number);
  }
  return from_min ? SIGRTMIN + offset : SIGRTMAX - offset;
}

std::vector<std::string> signal_names() {
  std::vector<std::string> names;
  for (int number = 1; number < SIGRTMIN; ++number) {
    if (const char* name = sigabbrev_np(number)) names.emplace_back(name);
  }
  return names;
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  const Error wrong{quote(text) + " is not a duration", {}, kDurationHint};
  const Error large{quote(text) + " is too long", {}, "at most 365d"};
  Duration sum{};
  std::size_t next_unit = 0;
  if (text.empty()) return wrong;
  while (!text.empty()) {
    if (!is_digit(text[0])) return wrong;
    const auto number = take_number(text);
    if (!number) return large;
    const std::string_view unit = take_unit(text);
    while (next_unit < std::size(kDurationUnits) && kDurationUnits[next_unit].name != unit) ++next_unit;
    if (next_unit == std::size(kDurationUnits)) return wrong;
    const Duration size = kDurationUnits[next_unit++].size;
    if (*number > static_cast<std::uint64_t>(kDurationMax / size)) return large;
    sum += size * static_cast<Duration::rep>(*number);
    if (sum > kDurationMax) return large;
  }
  return sum;
}

Result<std::uint64_t> parse_size(std::string_view text) {
  const Error wrong{quote(text) + " is not a size", {}, kSizeHint};
  if (text.empty() || !is_digit(text[0])) return wrong;
  std::string_view rest = text;
  const auto number = take_number(rest);
  while (!rest.empty() && rest[0] == ' ') rest.remove_prefix(1);
  for (const SizeUnit& unit : kSizeUnits) {
    if (unit.name != rest) continue;
    if (!number || *number > std::numeric_limits<std::int64_t>::max() / unit.size) {
      return Error{quote(text) + " is too large", {}, "at most 8 EiB"};
    }
    return *number * unit.size;
  }
  return wrong;
}

bool is_signal(std::int64_t number) {
  if (number >= SIGRTMIN && number <= SIGRTMAX) return true;
  return number >= 1 && number < SIGRTMIN && sigabbrev_np(static_cast<int>(number)) != nullptr;
}

Result<std::uint32_t> parse_percent(std::string_view text) {
  std::string_view rest = text;
  const auto number = take_number(rest);
  if (!number || rest != "%" || *number < 1 || *number > 100)
    return Error{quote(text) + " is no part", {}, "write 1% to 100%, or a number of workers without quotes"};
  return static_cast<std::uint32_t>(*number);
}

Result<int> parse_signal(std::string_view text) {
  const std::vector<std::string> names = signal_names();
  std::string_view name = text;
  if (name.substr(0, 3) == "SIG") name.remove_prefix(3);
  for (int number = 1; number < SIGRTMIN; ++number) {
    const char* known = sigabbrev_np(number);
    if (known != nullptr && name == known) return number;
  }
  if (const int number = realtime_signal(name); number != 0) return number;
  std::string_view rest = text;
  const auto number = take_number(rest);
  if (number && rest.empty() && *number <= 64 && is_signal(static_cast<std::int64_t>(*number))) {
    return static_cast<int>(*number);
  }
  std::string plain(name);
  if (plain.size() > 3 && strncasecmp(plain.c_str(), "sig", 3) == 0) plain.erase(0, 3);
  const std::string guess = nearest(plain, names);
  return Error{quote(text) + " is no signal",
               {},
               guess.empty() ? "write a name such as \"TERM\", \"INT\" or \"HUP\""
                             : "did you mean " + quote(guess) + "?"};
}

Result<std::uint32_t> parse_umask(std::string_view text) {
  std::uint32_t mask = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), mask, 8);
  if (text.empty() || text[0] == '-' || fault != std::errc() || end != text.data() + text.size() ||
      mask > 0777) {
    return Error{quote(text) + " is not a umask", {}, "write three octal digits, such as \"027\""};
  }
  return mask;
}

const std::vector<Resource>& resources() {
  static const std::vector<Resource> all = {{"as", RLIMIT_AS, true},
                                            {"core", RLIMIT_CORE, true},
                                            {"cpu", RLIMIT_CPU, false},
                                            {"data", RLIMIT_DATA, true},
                                            {"fsize", RLIMIT_FSIZE, true},
                                            {"memlock", RLIMIT_MEMLOCK, true},
                                            {"msgqueue", RLIMIT_MSGQUEUE, true},
                                            {"nice", RLIMIT_NICE, false},
                                            {"nofile", RLIMIT_NOFILE, false},
                                            {"nproc", RLIMIT_NPROC, false},
                                            {"rss", RLIMIT_RSS, true},
                                            {"rtprio", RLIMIT_RTPRIO, false},
                                            {"sigpending", RLIMIT_SIGPENDING, false},
                                            {"stack", RLIMIT_STACK, true}};
  return all;
}

}  // namespace runmain::config
