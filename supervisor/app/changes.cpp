#include "app/changes.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace runmain::app {

void Changes::List::add(const std::string& path) {
  if (std::find(paths.begin(), paths.end(), path) != paths.end()) return;
  if (paths.size() < kPathsMax) {
    paths.push_back(path);
  } else {
    ++more;
  }
}

bool leave_out(core::Changed& changed, const std::vector<std::string>& folders) {
  const auto is_below = [](const std::string& path, const std::string& folder) {
    return !folder.empty() && path.size() > folder.size() && path.starts_with(folder) &&
           path[folder.size()] == '/';
  };
  const auto left_out = std::erase_if(changed.paths, [&](const std::string& path) {
    return std::any_of(folders.begin(), folders.end(),
                       [&](const std::string& folder) { return is_below(path, folder); });
  });
  changed.count -= std::min(changed.count, static_cast<std::uint32_t>(left_out));
  return changed.count > 0 || changed.unknown;
}

void Changes::noted(const core::Changed& changed) {
  List& list = noted_[changed.service];
  for (const std::string& path : changed.paths) list.add(path);
  if (changed.count > changed.paths.size()) list.more += changed.count - changed.paths.size();
}

void Changes::launched(ServiceId service) {
  const auto fresh = noted_.find(service);
  if (fresh == noted_.end()) return;
  List& list = launched_[service];
  for (const std::string& path : fresh->second.paths) list.add(path);
  list.more += fresh->second.more;
  noted_.erase(fresh);
}

void Changes::served(ServiceId service) { launched_.erase(service); }

std::vector<std::string> Changes::paths(ServiceId service) const {
  const auto found = launched_.find(service);
  return found == launched_.end() ? std::vector<std::string>() : found->second.paths;
}

std::string Changes::summary_of(const std::map<ServiceId, List>& lists, ServiceId service) {
  const auto found = lists.find(service);
  if (found == lists.end() || found->second.paths.empty()) return {};
  const std::string& first = found->second.paths.front();
  std::string text = printable(first.substr(first.rfind('/') + 1), false);
  const std::size_t others = found->second.paths.size() - 1 + found->second.more;
  if (others > 0) text += " and " + std::to_string(others) + " more";
  return text;
}

}  // namespace runmain::app
