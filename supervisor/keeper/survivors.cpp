#include "keeper/survivors.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <set>

#include "os/linux/monotonic.hpp"
#include "os/linux/proc.hpp"
#include "os/linux/process_tree.hpp"

namespace runmain::keeper {
namespace {

constexpr Duration kAfterKill = std::chrono::seconds(1);
constexpr std::size_t kPidsTold = 8;

bool may_not(int code) { return code == EPERM || code == EACCES || code == ENOSYS; }

// "1 process", "2 processes".
std::string count_of(std::size_t n, const char* one, const char* many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

// Both end by themselves when their keeper is gone.
void await_end_of_others(const AdoptionTable& table) {
  const Time until = os::monotonic_now() + kOldMax;
  for (const os::ProcessName& name : {table.head, table.observer}) {
    const os::UniqueFd pidfd = os::open_process(name);
    if (!pidfd || os::wait_process_end(pidfd.get(), std::max(until - os::monotonic_now(), Duration(0))))
      continue;
    syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
    (void)os::wait_process_end(pidfd.get(), kAfterKill);
  }
}

// The first process of the tree that `take` succeeds with: the main one, else another one. Else an error that
// is not ENOENT, if there is one: who may not be looked at may have it.
template <class Take>
Result<os::UniqueFd> take_from_tree(const ChildOnRecord& record, Take&& take) {
  auto taken = take(record.main.pid);
  if (taken) return taken;
  for (const pid_t pid : os::tagged_processes(record.tag)) {
    if (pid == record.main.pid) continue;
    auto other = take(pid);
    if (other || taken.error().code == ENOENT) taken = std::move(other);
    if (taken) break;
  }
  return taken;
}

Result<os::UniqueFd> take_socket(const ListenerOnRecord& listener, const Survivors::Worker& worker) {
  return take_from_tree(worker.record, [&](pid_t pid) -> Result<os::UniqueFd> {
    const os::UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd || os::tag_of(pid) != worker.record.tag) return Error::from_errno("pidfd_open", ENOENT);
    return os::copy_socket(pid, pidfd.get(), listener.inode, listener.cookie);
  });
}

// Nothing, or why the workers cannot be taken over.
std::string take_sockets(Survivors& all) {
  for (const ListenerOnRecord& listener : all.table.listeners) {
    for (const Survivors::Worker& worker : all.living) {
      const auto& ids = worker.record.listeners;
      if (std::find(ids.begin(), ids.end(), listener.id) == ids.end()) continue;
      auto socket = take_socket(listener, worker);
      if (socket) {
        all.sockets[listener.id] = std::move(*socket);
        break;
      }
      if (may_not(socket.error().code)) return socket.error().text();
    }
  }
  return {};
}

// What was taken out of its pipe before, and the pipe, if a process of its tree still has it.
Result<void> take_output(Survivors::Worker& worker, const UnreadOutput& unread) {
  const ChildOnRecord& record = worker.record;
  worker.unread.key = record.key;
  for (const Unread& left : unread.streams) {
    if (left.key == record.key) worker.unread = left;
  }
  if (record.pipe == 0) return {};
  auto pipe = take_from_tree(record, [&](pid_t pid) -> Result<os::UniqueFd> {
    if (os::tag_of(pid) != record.tag) return Error::from_errno("its tag", ENOENT);
    return os::open_pipe_of(pid, record.pipe);
  });
  if (!pipe && pipe.error().code != ENOENT) return pipe.error();
  if (pipe) worker.pipe = std::move(*pipe);
  return {};
}

// Who writes to what nobody can read would stand still as soon as that is full.
void take_outputs(Survivors& all, const UnreadOutput& unread) {
  std::erase_if(all.living, [&](Survivors::Worker& worker) {
    const auto taken = take_output(worker, unread);
    if (taken) return false;
    all.words.push_back(worker.record.service + ": the output of pid " +
                        std::to_string(worker.record.main.pid) + " of the run before cannot be read (" +
                        taken.error().text() + "), it is ended");
    return true;
  });
  for (Survivors::Worker& worker : all.died) (void)take_output(worker, unread);
}

// In the order of their keys; the pidfd is there before anything is compared.
void take_workers(Survivors& all) {
  std::sort(all.table.children.begin(), all.table.children.end(),
            [](const auto& a, const auto& b) { return a.key < b.key; });
  for (const ChildOnRecord& record : all.table.children) {
    if (!record.keep || !record.alive || !record.key.is_worker()) continue;
    os::UniqueFd pidfd = os::open_process(record.main);
    if (!pidfd || os::tag_of(record.main.pid) != record.tag) {
      all.died.push_back({record, {}, {}, {}, {}, {}});
      continue;
    }
    all.living.push_back({record, std::move(pidfd), {}, {}, {}, {}});
  }
}

// Telemetry is no reason not to serve: without it, the worker's spans stay where they are.
void take_mailbox(Survivors::Worker& worker) {
  const ChildOnRecord& record = worker.record;
  if (record.mailbox == 0) return;
  auto memory = take_from_tree(record, [&](pid_t pid) { return os::open_memfd_of(pid, record.mailbox); });
  if (!memory) return;
  worker.mailbox = std::move(*memory);
  auto wake = take_from_tree(record, [&](pid_t pid) -> Result<os::UniqueFd> {
    const os::UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd || os::tag_of(pid) != record.tag) return Error::from_errno("pidfd_open", ENOENT);
    return os::copy_eventfd(pid, pidfd.get(), record.wake);
  });
  if (wake) worker.wake = std::move(*wake);
}

// Of the table's keeper; or of one before it, which nobody has taken before that one was killed, too.
UnreadOutput read_unread(const Place& place, const AdoptionTable& table) {
  const auto bytes = read_record(unread_path(place.adoption));
  auto parsed = bytes ? parse_unread(*bytes) : Result<UnreadOutput>(bytes.error());
  const bool ours = parsed && parsed->keeper.pid != 0 &&
                    (parsed->keeper == table.keeper || parsed->keeper == table.unread_of);
  return ours ? std::move(*parsed) : UnreadOutput{};
}

std::string pids_of(const std::vector<Survivors::Worker>& workers) {
  std::string text;
  for (std::size_t i = 0; i < workers.size() && i < kPidsTold; ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(workers[i].record.main.pid);
  return text + (workers.size() > kPidsTold ? ", …" : "");
}

void say_what_was_found(Survivors& all) {
  if (!all.living.empty()) {
    all.words.push_back("taken over: " + count_of(all.living.size(), "worker", "workers") +
                        " of the run before " + (all.living.size() == 1 ? "lives" : "live") + " on (pid " +
                        pids_of(all.living) + ")");
  }
  if (!all.died.empty()) {
    all.words.push_back(count_of(all.died.size(), "worker", "workers") +
                        " of the run before ended meanwhile, with a status that nobody knows");
  }
}

void say_what_was_ended(std::vector<std::string>& words, std::size_t trees, std::size_t unwilling) {
  if (trees == 0) return;
  std::string line = count_of(trees, "process tree", "process trees") + " of the run before " +
                     (trees == 1 ? "was" : "were") + " ended";
  if (unwilling > 0) {
    line += ", " + std::to_string(unwilling) + " of them by SIGKILL: no end within " +
            std::to_string(to_ms(kAskedMax) / 1000) + " s";
  }
  words.push_back(std::move(line));
}

// It has the secret of tokens that may still be around: what is no use is not kept.
void forget(const Place& place) {
  unlink(place.adoption.c_str());
  forget_unread(place.adoption);
}

void give_up_workers(Survivors& all, const std::string& why) {
  all.words.push_back("the workers of the run before cannot be taken over and are ended: " + why +
                      " (Linux 5.6 or newer is needed, and the right to trace them: "
                      "kernel.yama.ptrace_scope=0, or root)");
  all.living.clear();
  all.died.clear();
  all.sockets.clear();
}

}  // namespace

std::string path_of_socket(int fd) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (fd < 0 || getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  if (address.sun_family != AF_UNIX || address.sun_path[0] != '/') return {};
  return {address.sun_path, strnlen(address.sun_path, sizeof address.sun_path)};
}

Result<AdoptionTable> read_table(const Place& place) {
  auto table = read_adoption(place.adoption);
  if (!table) return table;
  if (table->boot != os::boot_identity() || table->boot.empty())
    return Error{"it is from before the machine was started", {}, {}, ESTALE};
  if (os::open_process(table->keeper)) {
    return Error{"its runmain lives (pid " + std::to_string(table->keeper.pid) + ")", {}, {}, EBUSY};
  }
  if (table->config != place.config)
    return Error{"it is of another configuration, " + table->config, {}, {}, ESTALE};
  return table;
}

void forget_unread(const std::string& adoption) { unlink(unread_path(adoption).c_str()); }

Survivors take_survivors(const Place& place) {
  Survivors all;
  if (place.adoption.empty()) return all;
  auto table = read_table(place);
  const int fault = table ? 0 : table.error().code;
  all.busy = fault == EBUSY;
  if (table) {
    all.table = std::move(*table);
    await_end_of_others(all.table);
    take_workers(all);
    if (const std::string blocked = take_sockets(all); !blocked.empty()) give_up_workers(all, blocked);
    const UnreadOutput unread = read_unread(place, all.table);
    all.unread_of = unread.keeper;
    take_outputs(all, unread);
    for (Survivors::Worker& worker : all.living) take_mailbox(worker);
  } else if (all.busy) {
    all.words.push_back(place.adoption + ": " + table.error().message +
                        "; the workers of this one could not be taken over if its keeper was killed");
  } else if (fault != ENOENT) {
    all.words.push_back("nothing of the run before is taken over: " + place.adoption + ": " +
                        table.error().message +
                        " (what is left of that run is ended where it can be proved to be ours)");
  }
  std::set<std::uint64_t> taken;
  for (const Survivors::Worker& worker : all.living) taken.insert(worker.record.tag);
  Leftovers left = find_leftovers(table ? &all.table : nullptr, place.channel, taken);
  const std::size_t trees = left.count();
  const std::size_t unwilling = end_leftovers(left, all.words);
  if (!table && !all.busy)
    forget(place);  // not before: who is killed meanwhile is followed by one that looks
  say_what_was_found(all);
  say_what_was_ended(all.words, trees, unwilling);
  return all;
}

std::size_t end_survivors(const Place& place, std::vector<std::string>& words) {
  auto table = read_table(place);
  const bool busy = !table && table.error().code == EBUSY;
  if (table) await_end_of_others(*table);
  Leftovers left = find_leftovers(table ? &*table : nullptr, place.channel, {});
  const std::size_t trees = left.count();
  (void)end_leftovers(left, words);
  if (table) remove_socket_files(*table);
  if (!busy) forget(place);
  return trees;
}

int report_survivors(const Place& place, std::string_view what) {
  std::vector<std::string> words;
  if (what == "end") {
    std::printf("%zu\n", end_survivors(place, words));
    for (const std::string& line : words) std::fprintf(stderr, "runmain: %s\n", line.c_str());
    return words.empty() ? 0 : 1;
  }
  const auto table = read_table(place);
  const Leftovers left = find_leftovers(table ? &*table : nullptr, place.channel, {});
  std::map<pid_t, std::string> found;
  for (const auto& [tag, tree] : left.trees) found[tree.pid] = tree.name;
  std::map<std::uint64_t, const Leftovers::Loose*> one_of;
  for (const Leftovers::Loose& one : left.loose) one_of.try_emplace(one.tag, &one);
  for (const auto& [tag, one] : one_of) found[one->pid] = one->name;
  for (const auto& [pid, name] : found) std::printf("%d %s\n", pid, name.c_str());
  return 0;
}

}  // namespace runmain::keeper
