// Flags: how many workers there are, how they share sockets, and how they are renewed.
#include <algorithm>
#include <charconv>
#include <limits>

#include "config/flag_reader.hpp"
#include "config/service_reader.hpp"
#include "config/text.hpp"
#include "config/values.hpp"

namespace runmain::config {
namespace {

template <class Number>
bool is_whole(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

bool is_count(std::string_view text, std::uint32_t& number) {
  return is_whole(text, number) && number >= 1 && number <= kWorkersMax;
}

}  // namespace

// N; in production also "auto" and "MIN-MAX".
void FlagReader::read_workers() {
  const std::string& text = options_.workers;
  const std::size_t dash = text.find('-');
  if (text.empty()) {
    if (serves()) default_workers();
    return;
  }
  if (serves() && text == "auto") {
    spec_.workers_auto = true;
  } else if (serves() && dash != std::string::npos) {
    const bool read = is_count(std::string_view(text).substr(0, dash), spec_.workers) &&
                      is_count(std::string_view(text).substr(dash + 1), spec_.workers_max);
    if (!read || spec_.workers_max < spec_.workers)
      return fault("--workers", quote(text) + " is no range of workers", "such as 2-8");
  } else if (!is_count(text, spec_.workers)) {
    return fault("--workers", quote(text) + " is no number of workers",
                 "1 to " + std::to_string(kWorkersMax) + (serves() ? ", auto, or MIN-MAX" : ""));
  }
  check_port_of_many();
}

// As many as CPUs, where they can share a socket and do not make processes themselves.
void FlagReader::default_workers() {
  spec_.workers_auto = !spec_.listen.empty() && runner_.own_workers.empty();
}

void FlagReader::check_port_of_many() {
  const bool many = spec_.workers_auto || std::max(spec_.workers, spec_.workers_max) > 1;
  if (!many || !spec_.port || *spec_.port == 0) return;
  fault("--workers",
        (spec_.workers_auto ? "several" : std::to_string(std::max(spec_.workers, spec_.workers_max))) +
            " workers would bind port " + std::to_string(*spec_.port) + " each",
        "say --port auto, and each gets its own {port}");
}

bool FlagReader::read_one_of(const std::string& flag, const std::string& text,
                             const std::vector<std::string>& words, std::size_t& index) {
  const auto found = std::find(words.begin(), words.end(), text);
  index = static_cast<std::size_t>(found - words.begin());
  if (found != words.end()) return true;
  fault(flag, "it cannot be " + quote(text), did_you_mean(text, words));
  return false;
}

void FlagReader::read_balance() {
  std::size_t choice = 0;
  if (options_.balance.empty() ||
      !read_one_of("--balance", options_.balance, {"shared", "reuseport"}, choice) || choice == 0)
    return;
  spec_.balance = core::Balance::reuseport;
  if (spec_.listen.empty() && options_.listen.empty())
    return fault("--balance", "reuseport needs a socket that runmain holds", "say --listen 127.0.0.1:8000");
  for (const core::ListenSpec& one : spec_.listen) {
    if (one.kind != core::AddressKind::tcp)
      fault("--balance", "reuseport cannot spread " + quote(one.text) + ", which is not TCP",
            "leave one of them out");
  }
}

std::uint32_t FlagReader::read_number(const std::string& flag, const std::string& text, std::uint32_t most) {
  std::uint32_t number = 0;
  if (!is_whole(text, number) || number < 1 || number > most)
    fault(flag, quote(text) + " is no number of workers", "1 to " + std::to_string(most));
  return number;
}

// In production few workers at a time, where generations may serve side by side. A flag of a gradual roll
// means one.
void FlagReader::read_roll() {
  core::RollSpec& roll = spec_.roll;
  const bool asked = !options_.order.empty() || !options_.batch.empty() || !options_.canary.empty();
  roll.gradual = serves() && (spec_.overlap || asked || options_.roll == "gradual");
  std::size_t choice = 0;
  if (!options_.roll.empty() && read_one_of("--roll", options_.roll, {"gradual", "at-once"}, choice))
    roll.gradual = choice == 0;
  if (!options_.order.empty() && read_one_of("--order", options_.order, {"new-first", "old-first"}, choice))
    roll.order = choice == 0 ? core::RollOrder::new_first : core::RollOrder::old_first;
  const auto part = parse_percent(options_.batch);
  if (part) {
    roll.batch = core::Share{0, *part};
  } else if (!options_.batch.empty() && options_.batch.back() == '%') {
    fault("--batch", part.error());
  } else if (!options_.batch.empty()) {
    roll.batch = core::Share{read_number("--batch", options_.batch, kWorkersMax), 0};
  }
  if (!options_.canary.empty()) {
    roll.canary = read_number("--canary", options_.canary, kWorkersMax);
    if (!spec_.workers_auto && roll.canary >= spec_.workers)
      fault("--canary", "it must be less than the workers (" + std::to_string(spec_.workers) + ")",
            "canaries are tried while the others are old");
  }
  if (asked && options_.roll == "at-once")
    fault("--roll", "at-once excludes --order, --batch and --canary", "leave one of them out");
  if (roll.gradual && !spec_.overlap && options_.listen.empty())
    fault("--roll", "a gradual one needs a socket that runmain holds", "say --listen 127.0.0.1:8000");
  if (roll.gradual && options_.no_overlap)
    fault("--no-overlap", "excludes a gradual roll", "say --roll at-once, too");
}

void FlagReader::read_recycle() {
  core::RecycleSpec& recycle = spec_.recycle;
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!options_.max_requests.empty() && (!is_whole(options_.max_requests, recycle.requests) ||
                                         recycle.requests < 1 || recycle.requests > kMost))
    fault("--max-requests", quote(options_.max_requests) + " is no number of requests", "such as 10000");
  read_duration("--max-lifetime", options_.max_lifetime, recycle.lifetime);
  if (!options_.max_lifetime.empty() && recycle.lifetime <= Duration::zero() && faults_.empty())
    fault("--max-lifetime", "it must be more than 0", "such as 12h");
  if (options_.max_memory.empty()) return;
  const auto size = parse_size(options_.max_memory);
  if (!size) return fault("--max-memory", size.error());
  recycle.memory = *size;
  if (*size < kRecycleMemoryMin) fault("--max-memory", "it must be at least 1MiB", "such as 512MB");
}

}  // namespace runmain::config
