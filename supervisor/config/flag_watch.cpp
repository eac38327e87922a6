// Flags of `dev`: what is watched, and what a change does.
#include <algorithm>

#include "config/flag_reader.hpp"
#include "config/text.hpp"
#include "config/values.hpp"
#include "config/words.hpp"

namespace runmain::config {

void FlagReader::read_watch() {
  core::WatchSpec& watch = *spec_.watch;
  for (const std::string& path : options_.watch) {
    watch.paths.push_back(absolute_path(options_.folder, path));
    if (!is_there(watch.paths.back()))
      fault("--watch", quote_path(path) + ": no such file or folder", "create it, or correct the path");
  }
  if (watch.paths.empty()) watch.paths.push_back(options_.folder);
  watch.ignore = runner_.ignore;
  for (const std::string& glob : options_.ignore) {
    if (glob.empty()) fault("--ignore", "the glob is empty");
    watch.ignore.push_back(glob);
  }
  watch.poll = options_.poll;
  read_extensions();
  if (watch.include.empty() && options_.watch.empty()) watch.include = runner_.include;
  read_duration("--settle", options_.settle, watch.settle);
  watch.settle_max = std::max(watch.settle_max, watch.settle);
}

// "py,html" or ".py,.html".
void FlagReader::read_extensions() {
  if (options_.ext.empty()) return;
  std::string rest = options_.ext + ",";
  while (!rest.empty()) {
    std::string one = rest.substr(0, rest.find(','));
    rest.erase(0, one.size() + 1);
    if (one.substr(0, 1) == ".") one.erase(0, 1);
    if (one.empty() || one.find_first_of("*?[]{}/ ") != std::string::npos)
      return fault("--ext", quote(options_.ext) + " is no list of extensions", "such as py,html");
    spec_.watch->include.push_back("*." + one);
  }
}

void FlagReader::read_on_change() {
  const std::string& text = options_.on_change;
  core::WatchSpec& watch = *spec_.watch;
  if (text.empty() || text == "restart") return;
  if (text == "queue" || text == "ignore") {
    watch.on_change = text == "queue" ? core::OnChange::queue : core::OnChange::ignore;
    return;
  }
  const auto signal = parse_signal(text);
  if (!signal)
    return fault("--on-change", quote(text) + " is neither restart, queue, ignore nor a signal",
                 did_you_mean(text, {"restart", "queue", "ignore", "HUP", "USR1", "USR2"}));
  watch.on_change = core::OnChange::signal;
  watch.signal = *signal;
  if (!options_.build.empty())
    fault("--on-change", "a signal excludes --build", "let the signal's handler build, or restart");
}

void FlagReader::read_build() {
  if (options_.build.empty()) return;
  const Words words = split_words(options_.build);
  if (words.fault) return fault("--build", words.fault->message, words.fault->hint);
  for (const ShellSign& sign : words.signs) {
    if (sign.is_operator)
      return fault("--build", quote(sign.text) + " needs a shell",
                   "write --build \"sh -c '…'\", or quote it");
  }
  if (words.words.empty() || words.words[0].empty()) return fault("--build", "it is empty");
  spec_.watch->build = core::CommandSpec{words.words, false};
}

}  // namespace runmain::config
