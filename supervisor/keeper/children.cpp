#include "keeper/children.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cinttypes>
#include <csignal>
#include <cstdio>

#include "os/linux/monotonic.hpp"
#include "os/linux/tty_wait.hpp"

namespace runmain::keeper {
namespace {

// pidfd_open(2), which Debian 12's libc does not wrap.
int open_pidfd(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

// socket(7): a number that no other socket of this network namespace has, had or gets.
std::string cookies_of(const std::vector<int>& sockets) {
  std::string text;
  for (const int fd : sockets) {
    std::uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    (void)getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size);
    char digits[17];
    std::snprintf(digits, sizeof digits, "%" PRIx64, cookie);
    text += (text.empty() ? "" : ",") + std::string(digits);
  }
  return text;
}

}  // namespace

Children::Children(Poller& poller, Happenings& happenings, Listeners& listeners, Streams& streams,
                   Mailboxes& mailboxes, os::Spawner& spawner, const UserTerminal& terminal,
                   const rlimit& original_nofile)
    : poller_(poller),
      happenings_(happenings),
      listeners_(listeners),
      streams_(streams),
      mailboxes_(mailboxes),
      spawner_(spawner),
      terminal_(terminal),
      original_nofile_(original_nofile) {
  null_.reset(open("/dev/null", O_RDWR | O_CLOEXEC));
}

Children::Child* Children::find(const ChildKey& key) {
  const auto found = children_.find(key);
  return found == children_.end() ? nullptr : found->second.get();
}

Children::Child* Children::find_serial(std::uint32_t serial) {
  const auto found = by_serial_.find(serial);
  return found == by_serial_.end() ? nullptr : found->second;
}

void Children::fail(const ChildKey& key, os::SpawnStage stage, int error, const std::string& detail) {
  happenings_.push(Started{key, 0, static_cast<std::uint8_t>(stage), error, detail, 0, {}});
}

void Children::refuse(const RefuseSpawn& order) {
  if (find(order.key) != nullptr) return;
  happenings_.push(Started{order.key, 0, order.stage, order.error, order.detail, 0, {}});
}

// A private abstract datagram socket (sd_notify(3)) that tells us who sent each message.
Result<std::string> Children::open_notify(Child& child) {
  child.notify_name = "runmain/" + std::to_string(getpid()) + "/" + std::to_string(child.serial) + "/" +
                      std::to_string(child.tag & 0xffffffU);
  auto fd = bind_notify(child.notify_name);
  if (!fd) return fd.error();
  child.notify = std::move(*fd);
  return "@" + child.notify_name;
}

bool Children::make_plan(const SpawnChild& order, Child& child, os::SpawnPlan& plan) {
  plan.argv = order.argv;
  plan.env = order.env;
  plan.cwd = order.cwd;
  plan.pid_variables = {"LISTEN_PID", "RUNMAIN_TOKEN"};
  plan.tag = child.tag;
  plan.parent_death_signal = order.die_with_keeper ? SIGKILL : 0;
  plan.set_user = order.set_user;
  plan.uid = order.uid;
  plan.gid = order.gid;
  plan.groups = order.groups;
  plan.umask = order.umask;
  plan.limits.emplace_back(RLIMIT_NOFILE, original_nofile_);
  for (const Limit& limit : order.limits)
    plan.limits.emplace_back(limit.resource, rlimit{limit.soft, limit.hard});
  for (const std::string& id : order.listeners) {
    const auto fd = listeners_.want(id);
    if (!fd) {
      fail(order.key, os::SpawnStage::resources, fd.error().code, fd.error().text());
      return false;
    }
    plan.fds.push_back(*fd);
  }
  if (order.adopt) plan.env.push_back("RUNMAIN_ADOPT_COOKIES=" + cookies_of(plan.fds));
  if (order.notify) {
    auto name = open_notify(child);
    if (!name) {
      fail(order.key, os::SpawnStage::resources, name.error().code, name.error().message);
      return false;
    }
    plan.env.push_back("NOTIFY_SOCKET=" + *name);
  }
  return true;
}

bool Children::make_stdio(const SpawnChild& order, Child& child, os::SpawnPlan& plan,
                          os::UniqueFd& write_end) {
  plan.stdio[0] = null_.get();
  if (!order.capture) return true;
  const os::TerminalShape shape = terminal_.shape();
  auto stream = streams_.open(order.key, order.stdio == Stdio::pipe ? nullptr : &shape, child.kept);
  if (!stream) {
    fail(order.key, os::SpawnStage::resources, stream.error().code, stream.error().message);
    return false;
  }
  child.stream = stream->serial;
  write_end = std::move(stream->write_end);
  plan.stdio[1] = plan.stdio[2] = write_end.get();
  if (order.stdio != Stdio::pty) return true;
  plan.stdio[0] = write_end.get();
  plan.terminal = child.at_pty = true;
  // So that it may open its terminal by name.
  if (order.set_user) (void)!fchown(write_end.get(), order.uid, static_cast<gid_t>(-1));
  return true;
}

void Children::start(const SpawnChild& order) {
  if (find(order.key) != nullptr) return;  // a known key: the child is there, or was
  if (children_.size() >= kChildrenMax) {
    fail(order.key, os::SpawnStage::resources, EAGAIN,
         "more than " + std::to_string(kChildrenMax) + " children");
    return;
  }
  auto child = std::make_unique<Child>();
  child->key = order.key;
  child->serial = ++last_serial_;
  child->tag = tags_.next();
  child->service = order.service;
  child->listeners = order.listeners;
  child->kept = !order.die_with_keeper;
  child->port = order.port;
  os::SpawnPlan plan;
  if (!make_plan(order, *child, plan)) return;
  os::UniqueFd write_end;
  if (!make_stdio(order, *child, plan, write_end)) return;
  const os::SpawnOutcome outcome = spawner_.spawn(plan);
  write_end.reset();
  if (child->stream != 0) streams_.started(child->stream, outcome.pid);
  if (outcome.pid <= 0) {
    fail(order.key, outcome.stage, outcome.error, outcome.detail);
    return;
  }
  child->pid = child->first_pid = outcome.pid;
  child->alive = child->leader_alive = true;
  child->started = child->first_started = os::name_of_process(outcome.pid).started;
  ++changes_;
  if (child->notify) poll_notify(*child, true);
  by_serial_[child->serial] = child.get();
  by_pid_[outcome.pid] = child.get();
  by_tag_[child->tag] = child.get();
  for (const std::string& id : child->listeners) listeners_.hold(id);
  child->counted = true;
  happenings_.push(Started{order.key, outcome.pid, 0, 0, {}, child->tag, sockets_of(*child), child->kept});
  children_.emplace(order.key, std::move(child));
}

void Children::signal(const ChildKey& key, int signal, bool group) {
  Child* child = find(key);
  if (child == nullptr) return;
  child->signalled = true;
  // The group's number belongs to the first process and is safe only while that one is not waited for.
  if (group && leads(*child)) {
    kill(-child->first_pid, signal);
    if (child->pid == child->first_pid) return;
  }
  if (!child->alive) return;
  if (child->main_pidfd) {
    syscall(SYS_pidfd_send_signal, child->main_pidfd.get(), signal, nullptr, 0);
  } else {
    kill(child->pid, signal);
  }
}

void Children::signal_all(int signal_number) {
  for (const auto& [key, child] : children_) signal(key, signal_number, true);
}

void Children::kill_tree(const ChildKey& key, Time t) {
  Child* child = find(key);
  if (child == nullptr) {
    happenings_.push(TreeEmpty{key, {}});  // never started: nothing can be left
    return;
  }
  if (child->empty) {
    happenings_.push(TreeEmpty{key, {}});  // told already, but perhaps to a head that has died
    return;
  }
  sweep_tree(*child, t);
}

// Most trees are gone with their main process, and that is seen at once.
bool Children::is_gone(const Child& child) const {
  const auto other = [&](pid_t pid) {
    const auto known = by_pid_.find(pid);
    return is_stranger_(pid) || (known != by_pid_.end() && known->second != &child);
  };
  return !child.adopted && !child.alive && !child.leader_alive && !child.main_pidfd &&
         os::is_gone_with_its_main(child.tag, other);
}

void Children::sweep_tree(Child& child, Time t) {
  if (is_gone(child)) return tell_empty(child, {});
  killer_.add(child.tag, t + kSweepTimeout);
}

void Children::tell_empty(Child& child, std::vector<std::string> survivors) {
  child.empty = survivors.empty();
  if (child.empty) mailboxes_.tree_gone(child.key);
  happenings_.push(TreeEmpty{child.key, std::move(survivors)});
}

void Children::await_tree(const ChildKey& key) {
  Child* child = find(key);
  if (child == nullptr || child->empty || child->awaited) return;
  child->awaited = true;
  ++awaited_;
  if (child->adopted) return look_soon();
  look_at_awaited();
}

// The last one of a tree has no parent left but us: whatever is waited for may have been it.
void Children::look_at_awaited() {
  if (awaited_ == 0) return;
  for (const auto& [key, child] : children_) {
    if (!child->awaited || !is_gone(*child)) continue;
    child->awaited = false;
    --awaited_;
    tell_empty(*child, {});
  }
}

void Children::kill_all_trees(Time t) {
  for (const auto& [key, child] : children_) killer_.add(child->tag, t + kSweepTimeout);
}

void Children::forget(const ChildKey& key) {
  const auto found = children_.find(key);
  if (found == children_.end()) return;
  Child& child = *found->second;
  ++changes_;
  if (child.notify) poll_notify(child, false);
  if (child.main_pidfd) poller_.remove(child.main_pidfd.get());
  count_living(child, false);
  for (const std::string& id : child.listeners) listeners_.release(id);
  if (child.awaited) --awaited_;
  mailboxes_.tree_gone(key);  // of survivors nobody hears any more
  by_serial_.erase(child.serial);
  by_tag_.erase(child.tag);
  std::erase_if(by_pid_, [&](const auto& entry) { return entry.second == &child; });
  children_.erase(found);
}

// The new main process may be a grandchild: it becomes ours to wait for only when its parents are gone. Its
// pidfd says when it ends in both cases.
void Children::set_main_pid(const ChildKey& key, pid_t pid) {
  Child* child = find(key);
  if (child == nullptr || child->pid == pid) return;
  os::UniqueFd pidfd(open_pidfd(pid));
  if (!pidfd || os::tag_of(pid) != child->tag) {
    tell_death(*child, pid, 0, false);
    return;
  }
  if (child->main_pidfd) poller_.remove(child->main_pidfd.get());
  child->main_pidfd = std::move(pidfd);
  child->pid = pid;
  child->started = os::name_of_process(pid).started;
  ++changes_;
  child->alive = true;
  count_living(*child, true);
  if (!child->adopted) by_pid_[pid] = child;
  poller_.add(child->main_pidfd.get(), EPOLLIN, Token{Source::main_pid, child->serial});
}

void Children::tell_death(Child& child, pid_t pid, int status, bool known) {
  on_notify(child.serial);  // what it said comes before that it died
  child.pid = pid;
  child.alive = false;
  ++changes_;
  count_living(child, false);  // first: connections go elsewhere from now on
  if (child.main_pidfd) {
    poller_.remove(child.main_pidfd.get());
    child.main_pidfd.reset();
  }
  if (child.stream != 0) streams_.drain(child.stream);
  mailboxes_.child_gone(child.key, pid, status, known);
  happenings_.push(Died{child.key, pid, status, known});
  // The order for this always follows; who waits for the place of one that was asked to go is spared two
  // trips. But one that died of what it was asked with, or of what nobody knows, may be a wrapper, and its
  // server is still at work.
  const bool obeyed = known && WIFEXITED(status) && WEXITSTATUS(status) < 128;
  if (child.signalled && (obeyed || WTERMSIG(status) == SIGKILL)) sweep_tree(child, os::monotonic_now());
}

bool Children::on_death(pid_t pid, int status) {
  const auto found = by_pid_.find(pid);
  if (found == by_pid_.end()) {
    look_at_awaited();
    return false;
  }
  Child& child = *found->second;
  by_pid_.erase(found);
  if (pid == child.first_pid) child.leader_alive = false;
  if (pid == child.pid && child.alive) tell_death(child, pid, status, true);
  return true;
}

// A slot's socket is taken out of its group when nobody lives who has it.
void Children::count_living(Child& child, bool on) {
  if (child.counted == on) return;
  child.counted = on;
  for (const std::string& id : child.listeners) listeners_.living(id, on);
}

void Children::on_frozen(pid_t pid, bool on) {
  const auto found = by_pid_.find(pid);
  if (found == by_pid_.end() || pid != found->second->pid) return;
  found->second->frozen = on;
  tell_frozen(*found->second);
}

// Ctrl-Z stops all children and continues them before we look again: then nothing has changed.
void Children::tell_frozen(Child& child) {
  if (child.frozen_pending || child.frozen == child.frozen_told || !child.alive) return;
  child.frozen_pending = true;
  child.frozen_told = child.frozen;
  happenings_.push(Frozen{child.key, child.pid, child.frozen});
}

void Children::on_main_pid_gone(std::uint32_t serial) {
  Child* child = find_serial(serial);
  if (child == nullptr || !child->alive || !child->main_pidfd) return;
  siginfo_t info{};
  // Ours by now? Then reap() will find it, with its status. An adopted one never is: its number may be that
  // of another child of ours already.
  if (!child->adopted &&
      waitid(P_PID, static_cast<id_t>(child->pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
    poller_.remove(child->main_pidfd.get());
    child->main_pidfd.reset();
    return;
  }
  if (!child->adopted) by_pid_.erase(child->pid);
  if (child->adopted && child->pid == child->first_pid) child->leader_alive = false;
  tell_death(*child, child->pid, 0, false);
}

void Children::poll_notify(Child& child, bool on) {
  if (child.notify_polled == on) return;
  child.notify_polled = on;
  if (on) {
    poller_.add(child.notify.get(), EPOLLIN, Token{Source::notify, child.serial});
  } else {
    poller_.remove(child.notify.get());
  }
}

// A bad datagram never disables the socket: whatever comes is told or dropped, and the next one is read.
void Children::on_notify(std::uint32_t serial) {
  Child* child = find_serial(serial);
  while (child != nullptr && child->notify_pending < kNotifyPendingMax) {
    auto got = os::receive_message(child->notify.get(), kNotifyTextMax, scratch_);
    if (!got) return;
    Notified told;
    told.key = child->key;
    told.sender = got->pid;
    // The kernel stamped the sender's pid; a main process that is already waited for cannot show its tag any
    // more.
    told.of_tree = got->has_creds && (got->pid == child->pid || os::tag_of(got->pid) == child->tag);
    told.from_main = got->pid == child->pid;
    told.fds = static_cast<std::uint32_t>(got->fds.size());
    told.text = std::move(got->bytes);
    ++child->notify_pending;
    happenings_.push(std::move(told), std::move(got->fds));
  }
  if (child != nullptr) poll_notify(*child, false);
}

void Children::acknowledged(const What& what) {
  if (const auto* frozen = std::get_if<Frozen>(&what)) {
    if (Child* child = find(frozen->key); child != nullptr) {
      child->frozen_pending = false;
      tell_frozen(*child);
    }
    return;
  }
  if (const auto* died = std::get_if<Died>(&what)) {
    if (Child* child = find(died->key); child != nullptr) child->died_before = false;
    return;
  }
  const auto* told = std::get_if<Notified>(&what);
  if (told == nullptr) return;
  Child* child = find(told->key);
  if (child == nullptr || child->notify_pending == 0) return;
  --child->notify_pending;
  poll_notify(*child, true);
}

void Children::sweep(Time t, const std::function<void()>& reap) {
  if (killer_.idle()) return;
  auto settled = killer_.step(t);
  if (settled.empty()) return;
  reap();
  for (auto& done : settled) {
    const auto found = by_tag_.find(done.tag);
    if (found == by_tag_.end()) continue;
    tell_empty(*found->second, std::move(done.survivors));
  }
}

std::vector<TerminalSeen> Children::look_at_terminals() const {
  std::vector<TerminalSeen> seen;
  for (const auto& [key, child] : children_) {
    const int master = child->at_pty && child->alive ? streams_.master(child->stream) : -1;
    if (master < 0) continue;
    const os::TtyLook look = os::look_at_tty(master, {child->first_pid, child->pid});
    seen.push_back({key, look.wants_keys(), look.stands(), look.signals, look.wait == os::TtyWait::unknown});
    if (seen.size() == kTerminalsMax) break;
  }
  return seen;
}

void Children::type(const ChildKey& key, std::string_view bytes) {
  if (const Child* child = find(key); child != nullptr && child->at_pty) streams_.type(child->stream, bytes);
}

bool Children::any_alive() const {
  for (const auto& [key, child] : children_) {
    if (child->alive) return true;
  }
  return false;
}

std::optional<Children::Living> Children::living(const ChildKey& key) const {
  const auto found = children_.find(key);
  if (found == children_.end() || !found->second->alive) return std::nullopt;
  return Living{found->second->pid, found->second->service, found->second->kept};
}

std::vector<std::uint64_t> Children::sockets_of(const Child& child) const {
  std::vector<std::uint64_t> inodes;
  for (const std::string& id : child.listeners) inodes.push_back(listeners_.inode(id));
  return inodes;
}

std::vector<ChildEntry> Children::entries() const {
  std::vector<ChildEntry> all;
  all.reserve(children_.size());
  for (const auto& [key, child] : children_) {
    const bool alive = child->alive || child->died_before;  // of that death somebody has yet to hear
    all.push_back(
        {key, child->pid, alive, child->tag, child->service, sockets_of(*child), child->kept, child->port});
  }
  return all;
}

const ChildKey* Children::of_process(pid_t pid) const {
  const std::uint64_t tag = os::tag_of(pid);
  const auto found = tag == 0 ? by_tag_.end() : by_tag_.find(tag);
  return found == by_tag_.end() ? nullptr : &found->second->key;
}

}  // namespace runmain::keeper
