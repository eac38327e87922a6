#include "app/configuration.hpp"

#include <algorithm>
#include <set>

#include "base/named_archive.hpp"
#include "config/config.hpp"
#include "os/linux/cpus.hpp"
#include "os/linux/fd.hpp"

namespace runmain::app {
namespace {

constexpr std::size_t kDesiredMax = 4U << 20U;  // bytes; a command line is at most 2 MiB

keeper::OpenListener wanted(const core::ServiceSpec& service, const core::ListenSpec& listen) {
  return keeper::OpenListener{drive::listener_id(service.name, listen),
                              static_cast<std::uint8_t>(listen.kind),
                              listen.host,
                              listen.port,
                              listen.path,
                              false,
                              drive::is_per_slot(service, listen)};
}

std::set<std::string> known_ids(const drive::ServiceTable& running) {
  std::set<std::string> ids;
  for (const auto& [id, entry] : running.all()) {
    for (const auto& l : entry.listeners) ids.insert(l.id);
  }
  return ids;
}

Result<core::Desired> read_desired(const std::string& path) {
  auto bytes = os::read_file(path, kDesiredMax);
  if (!bytes) return bytes.error();
  core::Desired desired;
  if (!from_named(*bytes, desired)) return Error{path + " is of another version of runmain"};
  return desired;
}

}  // namespace

Result<core::Desired> read_configuration(const HeadOptions& options) {
  if (!options.desired.empty()) {
    auto desired = read_desired(options.desired);
    if (desired) resolve_workers(*desired, os::usable_cpus());
    return desired;
  }
  config::LoadOptions load_options;
  if (options.mode) load_options.mode = *options.mode;
  auto loaded = config::load(options.config, load_options);
  auto* good = std::get_if<config::Loaded>(&loaded);
  if (good == nullptr) return Error{config::explain(std::get<config::Faults>(loaded))};
  resolve_workers(good->desired, os::usable_cpus());
  return std::move(good->desired);
}

void resolve_workers(core::Desired& desired, std::uint32_t cpus) {
  for (core::ServiceSpec& service : desired.services) {
    if (!service.workers_auto) continue;
    service.workers = std::clamp(cpus, 1U, config::kWorkersMax);
    service.workers_max = 0;
    // Canaries are tried while the others are old: with one worker there is none.
    service.roll.canary = std::min(service.roll.canary, service.workers - 1);
  }
}

Result<Configuration> open_sockets(core::Desired desired, drive::KeeperClient& keeper,
                                   const drive::ServiceTable& running) {
  const std::set<std::string> known = known_ids(running);
  std::vector<std::string> fresh;
  Configuration made;
  for (const core::ServiceSpec& service : desired.services) {
    Sockets& sockets = made.sockets[service.name];
    for (const core::ListenSpec& listen : service.listen) {
      keeper::OpenListener want = wanted(service, listen);
      want.want_fd = service.await_change && listen.kind == core::AddressKind::tcp;
      auto opened = keeper.open_listener(want);
      if (!opened) {
        keeper.close_listeners(std::move(fresh));
        Error error = opened.error();
        error.at = listen.at;
        error.message = "service \"" + service.name + "\" cannot listen: " + error.message;
        return error;
      }
      if (!known.contains(want.id)) fresh.push_back(want.id);
      sockets.listeners.push_back({want.id, listen.name, opened->opened.bound, want.per_slot});
      sockets.inodes.push_back(opened->opened.inode);
      if (opened->fd) sockets.for_stand_in.push_back(std::move(opened->fd));
    }
  }
  made.desired = std::move(desired);
  return made;
}

}  // namespace runmain::app
