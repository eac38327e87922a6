#include "drive/watcher.hpp"

#include <poll.h>

#include <algorithm>

#include "drive/watch_impl.hpp"

namespace runmain::drive {

Watcher::Watcher(os::Loop& loop, FileTable& table, WatchCallbacks callbacks, std::size_t folders_max)
    : impl_(std::make_unique<Impl>(loop, table, std::move(callbacks), folders_max)) {}
Watcher::~Watcher() = default;

void Watcher::set(ServiceId service, const core::WatchSpec& spec) { impl_->set(service, spec); }
void Watcher::remove(ServiceId service) { impl_->remove(service); }
bool Watcher::busy() const {
  return impl_->gate_.has_work() || !impl_->pending_.empty() || impl_->soon_ || !impl_->sources_.empty();
}

bool Watcher::at_rest() const {
  pollfd p{impl_->tree_.fd(), POLLIN, 0};
  return !busy() && impl_->tree_.polled_count() == 0 && ::poll(&p, 1, 0) == 0;
}

Explanation Watcher::explain(ServiceId service, const std::string& path) const {
  return drive::explain(impl_->roots_, service, path);
}

WatchCounts Watcher::counts() const {
  return {impl_->tree_.folders().size(), impl_->tree_.polled_count(), impl_->table_.size(), impl_->overflows_,
          impl_->events_};
}

Watcher::Impl::Impl(os::Loop& loop, FileTable& table, WatchCallbacks callbacks, std::size_t folders_max)
    : loop_(loop),
      table_(table),
      callbacks_(std::move(callbacks)),
      tree_([this](std::string text) { callbacks_.tell(std::move(text)); }, folders_max),
      gate_(table, [this](const std::string& folder, const std::string& name, std::uint32_t names) {
        tree_.note_names(folder, name, names);
      }) {
  timer_ = loop_.timer([this] { on_timer(); });
  open_poll();
  if (!table_.services().empty()) restore();
}

void Watcher::Impl::open_poll() {
  if (!poll_ && tree_.fd() >= 0) {
    poll_ = loop_.poll(tree_.fd(), os::kReadable, [this](int) { on_readable(); });
  }
}

void Watcher::Impl::set(ServiceId service, const core::WatchSpec& spec) {
  WatchedService wanted{service, spec.paths, spec.ignore, spec.include, spec.ignore_files, spec.poll};
  Service& mine = services_[service];
  mine.confirmed = true;
  if (mine.spec == wanted && !mine.spec.paths.empty()) return;
  mine.spec = std::move(wanted);
  adopt(service);
  save_services();
  arm();
}

// Others may watch the same files: what has happened to them is judged before they are taken as they are.
void Watcher::Impl::catch_up() {
  if (rescan_at_ != kNever) rescan_after_overflow();
  if (tree_.polled_count() > 0) poll();
  read_events();
  finish_batch();
}

void Watcher::Impl::adopt(ServiceId service) {
  catch_up();
  const bool replaced = !roots_.of(service).empty();
  std::vector<std::string> problems;
  roots_.set(services_[service].spec, problems);
  for (std::string& problem : problems) callbacks_.tell(std::move(problem));
  gate_.start_budget();
  refresh_roots(Why::adopt, service);
  if (replaced) sweep();
  repositories_dirty_ = soon_ = true;
}

void Watcher::Impl::remove(ServiceId service) {
  if (services_.erase(service) == 0) return;
  outbox_.erase(service);
  roots_.remove(service);
  refresh_roots(Why::found);
  sweep();
  repositories_dirty_ = true;
  save_services();
  arm();
}

void Watcher::Impl::save_services() {
  std::vector<WatchedService> list;
  for (const auto& [id, service] : services_) list.push_back(service.spec);
  table_.set_services(std::move(list));
}

// What the last head watched is compared with the files as they are now, for all its services together: each
// of them must learn of a file that several watch.
void Watcher::Impl::restore() {
  std::vector<std::string> problems;
  for (const WatchedService& spec : table_.services()) {
    services_[spec.id].spec = spec;
    roots_.set(spec, problems);
  }
  refresh_roots(Why::found);
  sweep();
  restored_ = repositories_dirty_ = soon_ = true;
  arm();
}

void Watcher::Impl::forget_unconfirmed() {
  restored_ = false;
  std::vector<ServiceId> gone;
  for (const auto& [id, service] : services_) {
    if (!service.confirmed) gone.push_back(id);
  }
  for (const ServiceId id : gone) remove(id);
}

void Watcher::Impl::sweep() {
  std::vector<std::string> unwanted;
  for (const auto& [path, folder] : tree_.folders()) {
    if ((folder.purpose & kForTree) != 0 && roots_.seeing(path).empty()) unwanted.push_back(path);
  }
  for (const std::string& path : unwanted) tree_.release(path, kForTree);
  std::vector<std::pair<std::string, std::string>> strangers;
  for (const auto& [path, folder] : table_.folders()) {
    for (const auto& [name, state] : folder.files) {
      if (!roots_.wants(path, name)) strangers.emplace_back(path, name);
    }
  }
  for (const auto& [path, name] : strangers) table_.erase(path, name);
}

void Watcher::Impl::find_repositories() {
  repositories_dirty_ = false;
  std::map<std::string, std::set<ServiceId>> found;
  for (const Root& root : roots_.all()) {
    const std::string git = find_git_folder(root.path);
    if (!git.empty()) found[git].insert(root.service);
  }
  locks_.assign(found);
  tree_.assign(kForLock, locks_.folders());
  tree_.assign(kForRules, roots_.sources());
  locks_dirty_ = true;  // after the watch: a lock that is there already is seen, one that comes is told
}

void Watcher::Impl::note(const std::string& folder, const std::string& name) {
  const std::string path = join_path(folder, name);
  for (const ServiceId service : roots_.services_of(folder, name)) {
    core::Changed& change = outbox_[service];
    change.service = service;
    ++change.count;
    if (change.paths.size() < core::kChangedPathsMax) change.paths.push_back(path);
  }
  roots_.add_linked(path, relinked_);
}

void Watcher::Impl::note_unknown(const std::string& folder) {
  for (const Root& root : roots_.all()) {
    if (!is_at_or_below(folder, root.path) && !is_at_or_below(root.path, folder)) continue;
    core::Changed& change = outbox_[root.service];
    change.service = root.service;
    change.unknown = true;
  }
}

// Holds begin before the changes that they are about and end after them.
void Watcher::Impl::deliver() {
  if (restored_) forget_unconfirmed();
  const auto relinked = std::exchange(relinked_, {});
  for (const ServiceId service : relinked) adopt(service);
  if (repositories_dirty_) find_repositories();
  if (locks_dirty_) {
    locks_dirty_ = false;
    for (const GitLocks::Change& change : locks_.update(os::Loop::now(), warnings_)) {
      if (services_.count(change.service) != 0) holds_.push_back({change.service, change.on});
    }
  }
  const auto warnings = std::exchange(warnings_, {});
  const auto holds = std::exchange(holds_, {});
  auto changes = std::exchange(outbox_, {});
  for (const std::string& warning : warnings) callbacks_.tell(warning);
  for (const core::Held& hold : holds) {
    if (hold.on) callbacks_.held(hold);
  }
  for (auto& [service, change] : changes) {
    if (services_.count(service) != 0) callbacks_.changed(std::move(change));
  }
  for (const core::Held& hold : holds) {
    if (!hold.on) callbacks_.held(hold);
  }
}

Time Watcher::Impl::next_deadline() const {
  if (soon_ || sweep_dirty_ || gate_.has_work()) return os::Loop::now();
  return std::min({pending_first_, next_poll_, rescan_at_, next_rules(), locks_.next_deadline()});
}

void Watcher::Impl::arm() {
  if (!outbox_.empty()) soon_ = true;
  table_.hold(restored_ || !outbox_.empty());
  if (tree_.polled_count() == 0 && unmounted_.empty()) {
    next_poll_ = kNever;
  } else if (next_poll_ == kNever) {
    next_poll_ = os::Loop::now() + kPollInterval;
  }
  timer_->set(next_deadline());
}

void Watcher::Impl::on_timer() {
  const Time now = os::Loop::now();
  soon_ = false;
  if (rescan_at_ <= now) rescan_after_overflow();
  if (pending_first_ <= now) settle_due(now);
  if (next_poll_ <= now) poll();
  refresh_rules(now);
  if (locks_.next_deadline() <= now) locks_dirty_ = true;
  deliver();
  if (gate_.has_work()) gate_.hash_slice();
  arm();
}

}  // namespace runmain::drive
