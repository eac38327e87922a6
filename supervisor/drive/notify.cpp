#include "drive/notify.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>

namespace runmain::drive {
namespace {

// The assignments that we act on, in the order in which their Events are told: who the main process is comes
// before what it says, and READY after RELOADING ends a reload.
enum Key : std::size_t {
  kMainPid,
  kExtend,
  kWatchdogUsec,
  kStopping,
  kReloading,
  kStatus,
  kErrno,
  kReady,
  kWatchdog,
  kBarrier,
  kRequests,
  kKeys
};
constexpr std::array<std::string_view, kKeys> kNames = {"MAINPID",
                                                        "EXTEND_TIMEOUT_USEC",
                                                        "WATCHDOG_USEC",
                                                        "STOPPING",
                                                        "RELOADING",
                                                        "STATUS",
                                                        "ERRNO",
                                                        "READY",
                                                        "WATCHDOG",
                                                        "BARRIER",
                                                        "X_RUNMAIN_REQUESTS"};

using Values = std::array<std::optional<std::string_view>, kKeys>;

// Lines of NAME=value; an empty line is nothing, one without '=' is malformed.
Values split(std::string_view text, NotifyOutcome& out) {
  Values values;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty()) continue;
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      ++out.malformed;
      continue;
    }
    const auto name = std::find(kNames.begin(), kNames.end(), line.substr(0, equals));
    if (name == kNames.end()) {
      ++out.unknown;
      continue;
    }
    auto& value = values[static_cast<std::size_t>(name - kNames.begin())];
    if (!value) value = line.substr(equals + 1);
  }
  return values;
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || text.empty()) return std::nullopt;
  if (error == std::errc::result_out_of_range) return std::numeric_limits<std::uint64_t>::max();
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

class Reader {
 public:
  Reader(const keeper::Notified& message, const std::function<bool(std::int32_t)>& carries_tag,
         NotifyOutcome& out)
      : message_(message), carries_tag_(carries_tag), out_(out), values_(split(message.text, out)) {}

  void read() {
    main_pid();
    if (const auto usec = microseconds(kExtend)) {
      if (*usec > 0) out_.events.emplace_back(core::Extend{message_.key, *usec});
    }
    // An interval of 0 turns the watchdog off; the core knows 0 as a beat, so "off" is the longest one.
    if (const auto usec = microseconds(kWatchdogUsec)) {
      out_.events.emplace_back(core::Watchdog{message_.key, *usec == 0 ? kNotifyUsecMax : *usec, false});
    }
    if (is_one(kStopping)) out_.events.emplace_back(core::Stopping{message_.key, message_.sender});
    if (is_one(kReloading)) out_.events.emplace_back(core::Reloading{message_.key});
    status();
    if (is_one(kReady)) out_.events.emplace_back(core::Ready{message_.key, core::Proof::notify, {}});
    watchdog();
    requests();
  }

 private:
  bool is_one(Key key) {
    if (!values_[key]) return false;
    if (*values_[key] != "1") ++out_.malformed;
    return *values_[key] == "1";
  }

  std::optional<std::uint64_t> microseconds(Key key) {
    if (!values_[key]) return std::nullopt;
    const auto value = number(*values_[key]);
    if (!value) {
      ++out_.malformed;
      return std::nullopt;
    }
    return std::min(*value, kNotifyUsecMax);
  }

  void main_pid() {
    if (!values_[kMainPid]) return;
    const auto value = number(*values_[kMainPid]);
    if (!value || *value == 0 || *value > std::numeric_limits<std::int32_t>::max()) {
      ++out_.malformed;
      return;
    }
    const auto pid = static_cast<std::int32_t>(*value);
    if (carries_tag_ && carries_tag_(pid)) {
      out_.events.emplace_back(core::MainPid{message_.key, pid});
    } else {
      out_.refusals.push_back("MAINPID " + std::to_string(pid) + " is not a process of this child, ignoring");
    }
  }

  // STATUS and ERRNO are one text, so that the number does not hide the words.
  void status() {
    std::string text(values_[kStatus].value_or(std::string_view()));
    bool told = values_[kStatus].has_value();
    if (values_[kErrno]) {
      const auto value = number(*values_[kErrno]);
      if (value && *value > 0 && *value < 4096) {  // MAX_ERRNO of the kernel
        const std::string error =
            "errno: " + std::to_string(*value) + " " + std::strerror(static_cast<int>(*value));
        text =
            text.empty() ? error : clip_status(text, kStatusTextMax - error.size() - 3) + " (" + error + ")";
        told = true;
      } else if (!value || *value != 0) {
        ++out_.malformed;
      }
    }
    if (told) out_.events.emplace_back(core::StatusText{message_.key, clip_status(text)});
  }

  void watchdog() {
    if (!values_[kWatchdog]) return;
    if (*values_[kWatchdog] == "1") {
      out_.events.emplace_back(core::Watchdog{message_.key, 0, false});
    } else if (*values_[kWatchdog] == "trigger") {
      out_.events.emplace_back(core::Watchdog{message_.key, 0, true});
    } else {
      ++out_.malformed;
    }
  }

  // DONE or DONE/IN_FLIGHT.
  void requests() {
    if (!values_[kRequests]) return;
    const std::string_view text = *values_[kRequests];
    const std::size_t slash = text.find('/');
    const auto done = number(text.substr(0, slash));
    const auto in_flight =
        slash == std::string_view::npos ? std::optional<std::uint64_t>(0) : number(text.substr(slash + 1));
    if (done && in_flight) {
      out_.requests.emplace(*done, *in_flight);
    } else {
      ++out_.malformed;
    }
  }

  const keeper::Notified& message_;
  const std::function<bool(std::int32_t)>& carries_tag_;
  NotifyOutcome& out_;
  Values values_;
};

}  // namespace

NotifyOutcome parse_notify(const keeper::Notified& message,
                           const std::function<bool(std::int32_t)>& carries_tag) {
  NotifyOutcome out;
  if (!message.of_tree) {
    out.refusals.push_back("a notify message came from process " + std::to_string(message.sender) +
                           ", which is not of this child's tree, ignoring");
    return out;
  }
  Reader(message, carries_tag, out).read();
  return out;
}

std::string clip_status(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  std::size_t end = limit;
  // A UTF-8 character has at most three bytes that continue it; more of them is no UTF-8, cut anywhere.
  for (int back = 0; back < 3 && end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U; ++back)
    --end;
  return std::string(text.substr(0, end));
}

}  // namespace runmain::drive
