#include "os/linux/stall.hpp"

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <utility>

#include "os/linux/proc.hpp"

namespace runmain::os {

namespace {

constexpr std::size_t kSmallFile = 1024;
constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

// The calls in which servers are usually found.
constexpr std::pair<long, const char*> kCalls[] = {
    {SYS_futex, "futex"},
    {SYS_epoll_pwait, "epoll_wait"},
#ifdef SYS_epoll_wait
    {SYS_epoll_wait, "epoll_wait"},
#endif
#ifdef SYS_poll
    {SYS_poll, "poll"},
#endif
    {SYS_ppoll, "poll"},
#ifdef SYS_select
    {SYS_select, "select"},
#endif
    {SYS_pselect6, "select"},
    {SYS_accept, "accept"},
    {SYS_accept4, "accept"},
    {SYS_read, "read"},
    {SYS_recvfrom, "recv"},
    {SYS_recvmsg, "recv"},
    {SYS_write, "write"},
    {SYS_sendto, "send"},
    {SYS_sendmsg, "send"},
    {SYS_connect, "connect"},
    {SYS_wait4, "wait"},
    {SYS_waitid, "wait"},
    {SYS_nanosleep, "sleep"},
    {SYS_clock_nanosleep, "sleep"},
    {SYS_flock, "flock"},
    {SYS_fcntl, "fcntl"},
    {SYS_rt_sigtimedwait, "sigwait"},
    {SYS_rt_sigsuspend, "sigsuspend"},
#ifdef SYS_pause
    {SYS_pause, "pause"},
#endif
    {SYS_fsync, "fsync"},
    {SYS_openat, "open"},
#ifdef SYS_io_uring_enter
    {SYS_io_uring_enter, "io_uring"},
#endif
};

std::string call_name(std::string_view text) {
  const auto number = parse_number(text);  // "running" and "-1" are none
  if (!number) return {};
  for (const auto& [call, name] : kCalls) {
    if (static_cast<std::uint64_t>(call) == *number) return name;
  }
  return "system call " + std::to_string(*number);
}

// Field `number` as proc(5) counts the fields of stat, behind the name.
std::uint64_t stat_field(std::string_view stat, int number) {
  std::string_view rest = stat.substr(std::min(stat.size(), stat.rfind(')') + 1));
  for (int field = 2; field < number; ++field) {
    rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(' ')));
    if (field + 1 < number) rest.remove_prefix(std::min(rest.size(), rest.find(' ')));
  }
  return parse_number(rest).value_or(0);
}

void read_thread(const std::string& folder, StallThread& thread) {
  const std::string stat = proc_text((folder + "/stat").c_str(), kSmallFile);
  const auto parsed = parse_stat(stat);
  if (!parsed) return;
  thread.state = parsed->state;
  thread.name = parsed->name;
  const std::string schedstat = proc_text((folder + "/schedstat").c_str(), kSmallFile);
  const auto run = parse_number(schedstat);
  const std::size_t blank = schedstat.find(' ');
  const auto denied =
      blank == std::string::npos ? std::nullopt : parse_number(std::string_view(schedstat).substr(blank));
  // A kernel that does not count says "0 0 0".
  if (run && denied && *run > 0) {
    thread.cpu_ns = *run;
    thread.denied_ns = *denied;
    thread.exact = true;
  } else {
    static const auto ticks = static_cast<std::uint64_t>(std::max(1L, ::sysconf(_SC_CLK_TCK)));
    thread.cpu_ns = (stat_field(stat, 14) + stat_field(stat, 15)) * (kNsPerSecond / ticks);
  }
  if (thread.state != 'S' && thread.state != 'D') return;
  thread.place = proc_text((folder + "/wchan").c_str(), 128);
  if (thread.place == "0") thread.place.clear();
  thread.call = call_name(proc_text((folder + "/syscall").c_str(), kSmallFile));
}

std::uint64_t pressure_us(const std::string& proc) {
  constexpr std::string_view kKey = "total=";
  const std::string text = proc_text((proc + "/pressure/cpu").c_str(), kSmallFile);  // "some" comes first
  const std::size_t at = text.find(kKey);
  return at == std::string::npos ? 0
                                 : parse_number(std::string_view(text).substr(at + kKey.size())).value_or(0);
}

std::string who(const StallThread& thread) {
  return "process " + std::to_string(thread.pid) + " (" + thread.name + ")";
}

std::string place_of(const StallThread& thread) {
  if (!thread.call.empty() && !thread.place.empty()) return thread.call + " (" + thread.place + ")";
  if (!thread.call.empty()) return thread.call;
  return thread.place.empty() ? "something that cannot be seen" : thread.place;
}

// One thread between two samples.
struct Passage {
  const StallThread* before = nullptr;
  const StallThread* after = nullptr;
  std::uint64_t ran = 0;
  std::uint64_t denied = 0;
};

Passage passage(const StallThread& before, const StallThread& after, std::uint64_t span) {
  Passage p{&before, &after, 0, 0};
  p.ran = after.cpu_ns - std::min(after.cpu_ns, before.cpu_ns);
  if (after.exact && before.exact) p.denied = after.denied_ns - std::min(after.denied_ns, before.denied_ns);
  // What waits for a CPU right now has not been told yet: it has been runnable all the time, as far as we
  // know.
  if (before.state == 'R' && after.state == 'R') p.denied = std::max(p.denied, span - std::min(span, p.ran));
  // A frequency of samples is coarse, a counter can lag by a tick: no more than there was.
  p.denied = std::min(p.denied, span - std::min(span, p.ran));
  return p;
}

bool is_stopped(const StallThread& t) { return t.state == 'T' || t.state == 't'; }

// A wrapper that waits for its child says nothing of the child.
bool only_waits_for_child(const StallThread& t) { return t.call == "wait" || t.place == "do_wait"; }

StallVerdict asleep(const std::vector<Passage>& all) {
  const auto telling =
      std::find_if(all.begin(), all.end(), [](const Passage& p) { return !only_waits_for_child(*p.after); });
  const StallThread& t = *(telling == all.end() ? all.front() : *telling).after;
  return {StallKind::waiting, who(t) + " uses no CPU and waits in " + place_of(t)};
}

// The rules, the surest first. `span` and all times in nanoseconds.
StallVerdict judge(const std::vector<Passage>& all, std::uint64_t span, bool pressed) {
  const auto part = [span](int percent) { return span / 100 * static_cast<std::uint64_t>(percent); };
  for (const Passage& p : all) {
    if (is_stopped(*p.before) && is_stopped(*p.after)) {
      const bool traced = p.after->state == 't';
      return {StallKind::stopped,
              who(*p.after) + (traced ? " is stopped by a debugger" : " is stopped by a signal"), traced};
    }
  }
  for (const Passage& p : all) {
    if (p.before->state == 'D' && p.after->state == 'D' && p.ran < part(kIdlePercent)) {
      return {StallKind::uninterruptible,
              who(*p.after) + " is in uninterruptible sleep in " + place_of(*p.after)};
    }
  }
  const auto most_denied = std::max_element(
      all.begin(), all.end(), [](const Passage& a, const Passage& b) { return a.denied < b.denied; });
  if (most_denied->denied >= part(kStarvedPercent) ||
      (pressed && most_denied->denied >= part(kPressedPercent))) {
    const std::uint64_t percent = most_denied->denied * 100 / std::max<std::uint64_t>(1, span);
    return {StallKind::starved, who(*most_denied->after) + " wanted a CPU and did not get it for " +
                                    std::to_string(percent) + " % of the time"};
  }
  const auto most_ran = std::max_element(all.begin(), all.end(),
                                         [](const Passage& a, const Passage& b) { return a.ran < b.ran; });
  if (most_ran->ran >= part(kBusyPercent)) {
    return {StallKind::busy, who(*most_ran->after) + " uses a CPU all the time and does not answer"};
  }
  if (most_ran->ran < part(kIdlePercent)) return asleep(all);
  const std::uint64_t percent = most_ran->ran * 100 / std::max<std::uint64_t>(1, span);
  return {StallKind::unknown,
          who(*most_ran->after) + " used a CPU for " + std::to_string(percent) + " % of the time"};
}

}  // namespace

StallSample stall_sample(const std::vector<pid_t>& pids, Time now, const std::string& proc) {
  StallSample sample;
  sample.at = now;
  for (const pid_t pid : pids) {
    const std::string folder = proc + "/" + std::to_string(pid) + "/task";
    const std::unique_ptr<DIR, CloseDir> dir(::opendir(folder.c_str()));
    if (!dir) continue;
    while (const dirent* entry = ::readdir(dir.get())) {
      const auto tid = parse_number(entry->d_name);
      if (!tid) continue;
      if (sample.threads.size() >= kStallThreadsMax) {
        sample.cut = true;
        break;
      }
      StallThread thread;
      thread.pid = pid;
      thread.tid = static_cast<pid_t>(*tid);
      read_thread(folder + "/" + entry->d_name, thread);
      if (thread.state != '?' && thread.state != 'Z' && thread.state != 'X') {
        sample.threads.push_back(std::move(thread));
      }
    }
  }
  sample.pressure_us = pressure_us(proc);
  return sample;
}

StallVerdict stall_verdict(const StallSample& first, const StallSample& second) {
  const Duration between = second.at - first.at;
  if (between <= Duration::zero()) return {};
  const auto span = static_cast<std::uint64_t>(between.count());
  std::vector<Passage> all;
  StallVerdict out;
  std::uint64_t cpu = 0;
  for (const StallThread& after : second.threads) {
    const auto before = std::find_if(first.threads.begin(), first.threads.end(), [&](const StallThread& t) {
      return t.tid == after.tid && t.pid == after.pid;
    });
    if (before == first.threads.end()) continue;
    all.push_back(passage(*before, after, span));
    cpu = std::max(cpu, all.back().ran);
  }
  if (all.empty()) {
    out.text = second.threads.empty() ? "its process is gone" : "all of its threads are new";
    return out;
  }
  const std::uint64_t pressure = second.pressure_us - std::min(second.pressure_us, first.pressure_us);
  const bool pressed = pressure * 1000 >= span / 100 * kPressurePercent;
  out = judge(all, span, pressed);
  out.cpu_ns = cpu;
  return out;
}

bool waits_for_events(const StallThread& thread) {
  if (thread.state != 'S') return false;
  static constexpr std::string_view kPlaces[] = {"ep_poll",     "do_epoll",  "poll_schedule", "do_sys_poll",
                                                 "do_poll",     "do_select", "inet_csk_",     "unix_accept",
                                                 "__skb_wait_", "io_cqring_"};
  static constexpr std::string_view kWaits[] = {"epoll_wait", "poll", "select", "accept", "io_uring"};
  if (std::find(std::begin(kWaits), std::end(kWaits), thread.call) != std::end(kWaits)) return true;
  return std::any_of(std::begin(kPlaces), std::end(kPlaces), [&](std::string_view place) {
    return std::string_view(thread.place).substr(0, place.size()) == place;
  });
}

}  // namespace runmain::os
