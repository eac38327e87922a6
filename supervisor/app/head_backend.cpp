// What control clients ask of the head.
#include <unistd.h>

#include <algorithm>

#include "app/beside.hpp"
#include "app/head.hpp"
#include "base/identity.hpp"
#include "control/last_words.hpp"
#include "os/linux/listen_queue.hpp"

namespace runmain::app {
namespace {

struct ListeningSocket {
  ServiceId service{};
  std::string address;
  std::optional<std::uint32_t> slot;
  std::uint64_t inode = 0;
};

// Each slot's own socket is known by its children; while it has none there is nobody whose queue it is.
std::vector<ListeningSocket> listening_sockets(const drive::ServiceTable& services,
                                               const drive::ChildInfos& children) {
  std::map<ServiceId, std::map<std::uint32_t, const drive::ChildInfo*>> slots;
  for (const auto& [key, child] : children) {
    if (key.is_worker() && !child.sockets.empty()) slots[key.service][key.slot] = &child;
  }
  std::vector<ListeningSocket> all;
  for (const auto& [id, entry] : services.all()) {
    for (std::size_t n = 0; n < entry.listeners.size() && n < entry.inodes.size(); ++n) {
      const drive::LaunchListener& listener = entry.listeners[n];
      if (!listener.per_slot) all.push_back({id, listener.bound, std::nullopt, entry.inodes[n]});
      if (!listener.per_slot) continue;
      for (const auto& [slot, child] : slots[id]) {
        if (n < child->sockets.size()) all.push_back({id, listener.bound, slot, child->sockets[n]});
      }
    }
  }
  return all;
}

std::string own_program() {
  std::string path(4096, '\0');
  const ssize_t n = readlink("/proc/self/exe", path.data(), path.size());
  path.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return path;
}

}  // namespace

std::vector<std::string> Head::listening(ServiceId service) {
  std::vector<std::string> bound;
  if (const auto* entry = services_.find(service)) {
    for (const drive::LaunchListener& l : entry->listeners) bound.push_back(l.bound);
  }
  return bound;
}

control::OwnTelemetryLost Head::own_telemetry_lost() {
  return {own_telemetry_->spans_dropped(), own_telemetry_->others_lost()};
}

control::Queues Head::queues() {
  const std::vector<ListeningSocket> sockets = listening_sockets(services_, children_);
  std::vector<std::uint64_t> inodes;
  for (const ListeningSocket& socket : sockets) inodes.push_back(socket.inode);
  control::Queues queues;
  if (inodes.empty()) return queues;
  const auto found = os::listen_queues(inodes);
  for (const ListeningSocket& socket : sockets) {
    const auto queue = found.find(socket.inode);
    if (queue == found.end()) continue;
    queues[socket.service].push_back(
        {socket.address, socket.slot, queue->second.waiting, queue->second.backlog});
  }
  return queues;
}

std::string Head::instance_id(ChildKey key) {
  return children_.contains(key) ? runmain::instance_id(greeting_.welcome.secret, key) : std::string();
}

control::Identity Head::identity() {
  return {static_cast<std::int32_t>(getppid()), options_.config, own_program()};
}

std::vector<control::LogLine> Head::recent(const std::vector<ServiceId>& services, std::size_t count) {
  std::vector<control::LogLine> lines;
  for (const drive::OutputLine& line : output_->recent(services, count)) lines.push_back(log_line(line));
  return lines;
}

std::optional<control::RequestsTold> Head::requests(ChildKey key) {
  const drive::RequestCounts counts = channel_->requests(key);
  if (counts.done == 0 && counts.in_flight == 0) return std::nullopt;
  return control::RequestsTold{counts.done, counts.in_flight};
}

std::uint64_t Head::upgrade(const std::string& folder) {
  core::Command command;
  command.verb = core::CommandVerb::upgrade;
  command.folder = folder;
  command.request = ++request_;
  feed(command);
  return command.request;
}

// Known to this head only: after a takeover new workers get no probes, and nobody misses them.
void Head::set_doctor(const std::vector<ServiceId>& services, const std::string& folder) {
  for (const core::ServiceView& view : machine_.snapshot().services) {
    auto* entry = services_.find(view.id);
    const bool meant = services.empty() || std::count(services.begin(), services.end(), view.id) > 0;
    if (entry != nullptr && meant) entry->doctor = folder;
  }
}

// Workers that bind by themselves have a port each; those beyond the first ones were not looked at yet.
Result<void> Head::check_scale(const std::vector<ServiceId>& services, std::uint32_t workers) {
  for (const core::ServiceView& view : machine_.snapshot().services) {
    const auto* entry = services_.find(view.id);
    if (entry == nullptr || std::find(services.begin(), services.end(), view.id) == services.end()) continue;
    const std::uint32_t most = std::min(workers, core::kWorkersMax);
    for (std::uint32_t slot = view.wanted_workers; slot < most; ++slot) {
      auto free = drive::check_own_port(entry->spec, slot, entry->auto_port);
      if (!free)
        return Error{view.name + ": " + free.error().message,
                     {},
                     "its workers have ports in a row; end what has this one, or stay below it"};
    }
  }
  return {};
}

std::vector<control::LogLine> Head::last_words(ChildKey key, std::size_t count) {
  constexpr std::size_t kLookedAt = 2000;  // lines of the service; others may have gone on writing
  (void)output_->on_output_event();        // the keeper has its last words before its end
  std::vector<control::LogLine> words;
  for (const drive::OutputLine& line : output_->recent({key.service}, kLookedAt)) {
    const bool is_its =
        line.generation == key.generation && (line.build || key.slot == kNoSlot || line.slot == key.slot);
    if (is_its) words.push_back(log_line(line));
  }
  if (words.size() > count) words.erase(words.begin(), words.end() - static_cast<std::ptrdiff_t>(count));
  return words;
}

// In production the output of all workers is one stream, or nobody looks at it; in dev it is what was just
// read.
std::vector<std::string> Head::words_of_failed(const core::Fact& failed) {
  constexpr std::size_t kLines = 10;
  std::vector<std::string> words;
  if (desired_.mode != core::Mode::prod) return words;
  for (const core::ServiceView& service : machine_.snapshot().services) {
    if (service.id != failed.service) continue;
    const auto start = control::failed_start(service, failed.time);
    if (!start) continue;
    for (const control::LogLine& line : last_words(*start, kLines)) words.push_back(line.text);
  }
  return words;
}

// What the newest generation (or its build step) printed.
std::vector<std::string> Head::last_words(ServiceId service) {
  constexpr std::size_t kLines = 60;
  const std::vector<drive::OutputLine> recent = output_->recent({service}, kLines);
  std::uint32_t newest = 0;
  for (const drive::OutputLine& line : recent) newest = std::max(newest, line.generation);
  std::vector<std::string> words;
  for (const drive::OutputLine& line : recent) {
    if (line.generation == newest || line.generation == 0)
      words.push_back(line.text);  // 0: a file does not tell
  }
  return words;
}

// Two generations at a time is what a program may not be made for.
std::string Head::advice(const core::Fact& failed) {
  if (!failed.text.ends_with("serves on")) return {};
  (void)output_->on_output_event();  // the keeper has its last words before its end
  const std::string line = line_of_conflict(last_words(failed.service));
  if (line.empty()) return {};
  const bool flags = !options_.desired.empty();
  return "\"" + line + "\": if there can be only one, " +
         (flags ? "say --no-overlap" : "write overlap = false");
}

control::Json Head::explain(ServiceId service, const std::string& path) {
  return drive::to_json(watcher_->explain(service, path));
}

control::LogLine Head::log_line(const drive::OutputLine& line) {
  return {line.service, line.service_name, line.slot,  line.generation,
          line.time_ns, line.text,         line.build, line.continues};
}

}  // namespace runmain::app
