// What a root's rules say of a path.
#include "drive/watch_ruling.hpp"

#include "drive/watch_builtin.hpp"
#include "drive/watch_roots.hpp"

namespace runmain::drive {
namespace {

std::size_t base_of(const std::string& folder) { return folder == "/" ? 1 : folder.size() + 1; }

}  // namespace

Ruling RuleChain::judge(std::string_view path, bool is_folder) const {
  for (const IgnoreLink& link : links_) {
    const IgnoreRule* rule = link.list->match(path.substr(link.base), is_folder);
    if (rule != nullptr) return {!rule->negated, link.list, rule};
  }
  return {};
}

bool Root::includes(const std::string& file) const {
  if (!include) return true;
  const std::string_view relative = below(file, path);
  const IgnoreRule* rule = include->match(relative, false);
  for (std::size_t slash = relative.rfind('/');
       rule == nullptr && slash != std::string_view::npos && slash > 0;
       slash = relative.rfind('/', slash - 1)) {
    rule = include->match(relative.substr(0, slash), true);
  }
  return rule != nullptr && !rule->negated;
}

RuleChain Root::chain(const IgnoreFiles& files, const std::string& folder) const {
  RuleChain chain;
  chain.add(*own, base_of(path));
  chain.add(builtin_repositories(), base_of(folder));
  if (!ignore_files) return chain;
  files.links(folder, top, chain.links());
  chain.add(builtin_rules(), base_of(folder));
  return chain;
}

Ruling Root::ruling(const IgnoreFiles& files, const std::string& full, bool is_folder) const {
  std::string folder = path;
  for (std::size_t slash = full.find('/', base_of(path)); slash != std::string::npos;
       slash = full.find('/', slash + 1)) {
    std::string part = full.substr(0, slash);
    const Ruling above = chain(files, folder).judge(part, true);
    if (above.ignored) return above;
    folder = std::move(part);
  }
  return chain(files, folder).judge(full, is_folder);
}

bool Root::sees_folder(const IgnoreFiles& files, const std::string& folder) const {
  if (shape != RootShape::folder || !is_at_or_below(folder, path)) return false;
  return folder == path || !ruling(files, folder, true).ignored;
}

// What the user names himself no rule ignores.
bool View::wants_file(const std::string& path) const {
  return path == root->path || (!chain.judge(path, false).ignored && root->includes(path));
}

}  // namespace runmain::drive
