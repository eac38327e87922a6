#include "drive/watch_explain.hpp"

#include "drive/watch_roots.hpp"
#include "os/linux/folder.hpp"

namespace runmain::drive {
namespace {

struct Asked {
  std::string path;
  bool is_folder = false;
};

Asked resolve(const std::string& text) {
  Asked asked{real_parent(text), !text.empty() && text.back() == '/'};
  const auto stat = os::stat_link(asked.path);
  if (stat) asked.is_folder = stat.value().is_folder();
  return asked;
}

Explanation of_ruling(const Ruling& ruling) {
  Explanation said;
  said.verdict = "ignored";
  said.by = "file";
  if (ruling.list->source() == IgnoreSource::service) said.by = "service";
  if (ruling.list->source() == IgnoreSource::built_in || ruling.list->source() == IgnoreSource::repositories)
    said.by = "built_in";
  said.file = ruling.list->file();
  said.line = said.by == "file" ? ruling.rule->line : 0;
  said.rule = ruling.rule->text;
  said.name = ruling.rule->name;
  return said;
}

Explanation ask(const IgnoreFiles& files, const Root& root, const Asked& asked) {
  Explanation said;
  said.verdict = "watched";
  if (asked.path != root.path) {
    const Ruling ruling = root.ruling(files, asked.path, asked.is_folder);
    if (ruling.ignored) return of_ruling(ruling);
    if (!asked.is_folder && !root.includes(asked.path)) said.verdict = "not_included";
  }
  said.reloads = said.verdict == "watched";
  return said;
}

}  // namespace

// The deepest watched path has the say, unless another one wants the file.
Explanation explain(const RootSet& roots, ServiceId service, const std::string& path) {
  const Asked asked = resolve(path);
  Explanation best;
  std::size_t depth = 0;
  for (const Root* root : roots.of(service)) {
    if (best.verdict == "nothing") best.verdict = "outside";
    if (!is_at_or_below(asked.path, root->path)) continue;
    if (root->shape == RootShape::file && asked.path != root->path) continue;
    Explanation said = ask(roots.files(), *root, asked);
    if (said.reloads) return said;
    if (root->path.size() < depth) continue;
    depth = root->path.size();
    best = std::move(said);
  }
  return best;
}

Explanation explain(const core::WatchSpec& spec, const std::string& path) {
  const ServiceId id{};
  RootSet roots;
  std::vector<std::string> problems;
  roots.set({id, spec.paths, spec.ignore, spec.include, spec.ignore_files, spec.poll}, problems);
  roots.look();
  const std::string asked = resolve(path).path;
  for (const Root* root : roots.of(id)) {
    if (root->shape != RootShape::folder || !is_at_or_below(asked, root->path)) continue;
    for (std::string at = asked; at != root->path;) {
      at = split_path(at).first;
      roots.files().learn(at);
    }
  }
  return explain(roots, id, path);
}

nlohmann::ordered_json to_json(const Explanation& e) {
  return {{"reloads", e.reloads}, {"verdict", e.verdict}, {"by", e.by},    {"file", e.file},
          {"line", e.line},       {"rule", e.rule},       {"name", e.name}};
}

}  // namespace runmain::drive
