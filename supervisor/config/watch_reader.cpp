// What reloads a service: the key watch.
#include "config/host.hpp"
#include "config/service_reader.hpp"
#include "config/text.hpp"
#include "config/values.hpp"

namespace runmain::config {
namespace {

std::string in_ms(Duration d) { return std::to_string(to_ms(d)) + "ms"; }

}  // namespace

void ServiceReader::add_watch_path(const std::string& path, Place place, core::WatchSpec& watch) {
  watch.paths.push_back(absolute(spec().cwd, path));
  if (reading_.check_host && cwd_known_) check_exists(report(), place, "watch", watch.paths.back());
}

// true, ["src"], or a table.
void ServiceReader::read_on_change(const Node& node, core::WatchSpec& watch) {
  if (node.kind != Kind::table) {
    std::size_t choice = 0;
    if (read_choice(report(), node, "watch.on_change", {"restart", "queue", "ignore"}, choice))
      watch.on_change = static_cast<core::OnChange>(choice);
    return;
  }
  Table table(report(), node, "watch.on_change.");
  watch.on_change = core::OnChange::signal;
  if (const Node* signal = table.find("signal")) {
    read_signal(*signal, "watch.on_change.signal", watch.signal);
  } else {
    report().fault(node.place, "watch.on_change has no signal", "write on_change = { signal = \"HUP\" }");
  }
  table.refuse_others();
}
void ServiceReader::read_watch() {
  const Node* node = table_.find("watch");
  if (node == nullptr || (node->kind == Kind::boolean && !node->boolean)) return;
  core::WatchSpec watch;
  // What serves people is not given up half-way for a newer save.
  if (reading_.mode == core::Mode::prod) watch.on_change = core::OnChange::queue;
  if (node->kind == Kind::boolean) {
    add_watch_path(".", node->place, watch);
  } else if (node->kind == Kind::array) {
    std::vector<const Node*> paths;
    read_strings(report(), *node, "watch", paths);
    if (node->items.empty())
      report().fault(node->place, "watch has no paths", "write watch = true for the whole cwd");
    for (const Node* path : paths) add_watch_path(path->text, path->place, watch);
  } else if (node->kind == Kind::table) {
    read_watch_table(*node, watch);
  } else {
    report().wrong_type(*node, "watch", "true, an array of paths or a table",
                        "write watch = { paths = [\"src\"] }");
    return;
  }
  spec().watch = std::move(watch);
}

void ServiceReader::read_watch_table(const Node& node, core::WatchSpec& watch) {
  Table table(report(), node, "watch.");
  const Node* paths = table.find("paths");
  std::vector<const Node*> list;
  if (paths == nullptr) {
    add_watch_path(".", node.place, watch);
  } else {
    read_strings(report(), *paths, "watch.paths", list);
    if (paths->kind == Kind::array && paths->items.empty())
      report().fault(paths->place, "watch.paths is empty");
    for (const Node* path : list) add_watch_path(path->text, path->place, watch);
  }
  list.clear();
  if (const Node* ignore = table.find("ignore")) read_strings(report(), *ignore, "watch.ignore", list);
  for (const Node* glob : list) watch.ignore.push_back(glob->text);
  list.clear();
  if (const Node* include = table.find("include")) read_strings(report(), *include, "watch.include", list);
  for (const Node* glob : list) watch.include.push_back(glob->text);
  table.read("ignore_files", watch.ignore_files);
  table.read("poll", watch.poll);
  if (const Node* on_change = table.find("on_change")) read_on_change(*on_change, watch);

  if (const Node* build = table.find("build")) watch.build = read_helper(*build, "watch.build", false, {});
  if (watch.build && watch.on_change == core::OnChange::signal) {
    report().fault(node.place, "watch.build and a signal on_change exclude each other",
                   "let the signal's handler build, or restart");
  }
  table.read("settle", watch.settle);
  table.read("settle_max", watch.settle_max);
  if (watch.settle > watch.settle_max) {
    report().fault(node.place,
                   "watch.settle (" + in_ms(watch.settle) + ") is longer than settle_max (" +
                       in_ms(watch.settle_max) + ")",
                   "raise settle_max, too");
  }
  table.refuse_others();
}

}  // namespace runmain::config
