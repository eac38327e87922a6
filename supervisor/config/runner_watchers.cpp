#include "config/runner_watchers.hpp"

#include <algorithm>

#include "config/words.hpp"

namespace runmain::config {
namespace {

constexpr std::string_view kPackageRunners = "npx bunx";

// Flags of its own, words between blanks.
struct Watcher {
  std::string_view name;
  std::string_view sub;     // the word that must follow; empty: none
  std::string_view valued;  // go, with their value
  std::string_view plain;   // go
  std::string_view other;   // it does something else then
  std::string_view exec;    // with the command as its value
  bool takes_flags;         // flags that are not its own are the program's
  bool one_text;            // the program is one word with blanks in it, the rest are paths
};

// Tried with nodemon 3.1, watchfiles 1.3 and watchdog 7.1.
constexpr Watcher kWatchers[] = {
    {.name = "nodemon",
     .sub = "",
     .valued = "-w --watch -i --ignore -e --ext -d --delay -s --signal -P --polling-interval",
     .plain = "-L --legacy-watch -q --quiet -V --verbose -I --no-stdin --spawn --js --exitcrash --no-colors "
              "--no-colours --no-update-notifier",
     .other = "--config --cwd --dump -h --help -? -v --version -C --on-change-only",
     .exec = "-x --exec",
     .takes_flags = true,
     .one_text = false},
    {.name = "watchfiles",
     .sub = "",
     .valued = "--ignore-paths --filter --verbosity --sigint-timeout --grace-period --sigkill-timeout",
     .plain = "--verbose --non-recursive --ignore-permission-denied",
     .other = "--target-type --args -h --help --version",
     .exec = "",
     .takes_flags = false,
     .one_text = true},
    {.name = "watchmedo",
     .sub = "auto-restart",
     .valued = "-d --directory -p --pattern --patterns -i --ignore-pattern --ignore-patterns --signal "
               "--kill-after --interval --timeout --debounce-interval",
     .plain = "-D --ignore-directories -R --recursive --debug-force-polling --no-restart-on-command-exit -q "
              "--quiet -v --verbose",
     .other = "-h --help",
     .exec = "",
     .takes_flags = false,
     .one_text = false}};

bool is_flag(std::string_view word) { return word.size() > 1 && word[0] == '-'; }

// What its own words leave: a command of --exec, and the program's words.
struct Left {
  std::string exec;
  Argv words;
};

std::optional<Left> read(const Watcher& watcher, const Argv& argv, std::size_t from) {
  Left left;
  for (std::size_t i = from; i < argv.size(); ++i) {
    const std::string& word = argv[i];
    // nodemon knows no "--watch=src": that would be the program's.
    const std::string name = watcher.takes_flags ? word : word.substr(0, word.find('='));
    const bool ends = word == "--" || (!is_flag(word) && !watcher.takes_flags);
    if (ends) {
      const auto rest = argv.begin() + static_cast<std::ptrdiff_t>(i) + (word == "--" ? 1 : 0);
      left.words.insert(left.words.end(), rest, argv.end());
      break;
    }
    if (has_word(watcher.other, name)) return std::nullopt;
    if (has_word(watcher.exec, name)) {
      if (++i == argv.size() || !left.exec.empty()) return std::nullopt;
      left.exec = argv[i];
    } else if (has_word(watcher.valued, name)) {
      if (name.size() == word.size()) ++i;
    } else if (!has_word(watcher.plain, word)) {
      if (!watcher.takes_flags) return std::nullopt;
      left.words.push_back(word);
    }
  }
  return left;
}

// "package.function": watchfiles calls that. A script's name looks the same.
bool is_function(std::string_view text) {
  if (text.ends_with(".py") || text.ends_with(".sh") || text.find('.') == std::string_view::npos)
    return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return c == '.' || c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  });
}

// A command in one word; empty: only a shell could run it.
Argv split(const std::string& text, bool has_shell) {
  const Words split = split_words(text);
  if (split.fault || (has_shell && !split.signs.empty())) return {};
  return split.words;
}

// By the file's name, as nodemon does. Words in front of the script are the interpreter's.
Argv interpreted(const Argv& words) {
  const std::size_t end = end_of_own_words(words, 0);
  if (end == 0 || is_flag(words[end - 1])) return {};
  const std::string& script = words[end - 1];
  std::string interpreter = "node";
  if (script.ends_with(".ts")) interpreter = "ts-node";
  if (script.ends_with(".py")) interpreter = "python";
  if (script.ends_with(".rb")) interpreter = "ruby";
  Argv out{interpreter};
  out.insert(out.end(), words.begin(), words.end());
  return out;
}

Argv program_of(const Watcher& watcher, const Left& left) {
  if (watcher.one_text)
    return left.words.empty() || is_function(left.words[0]) ? Argv{} : split(left.words[0], false);
  if (watcher.exec.empty()) return left.words;
  if (left.exec.empty()) return interpreted(left.words);
  if (left.exec.find("{{") != std::string::npos) return {};
  Argv out = split(left.exec, true);
  if (!out.empty()) out.insert(out.end(), left.words.begin(), left.words.end());
  return out;
}

// The wrappers in front of it. `python -m watchfiles` goes as a whole, and npx would look for a package
// `node`.
Argv wrappers(const Argv& argv, const Program& watcher, const Argv& program) {
  const auto end = argv.begin() + static_cast<std::ptrdiff_t>(watcher.at);
  const auto python =
      std::find_if(argv.begin(), end, [](const auto& w) { return is_python_name(base_name(w)); });
  Argv out(argv.begin(), python);
  if (!out.empty() && has_word(kPackageRunners, base_name(out.back())) && program[0] == "node")
    out.pop_back();
  return out;
}

}  // namespace

std::optional<Unwatched> without_watcher(const Argv& argv) {
  const auto program = find_program_word(argv);
  if (!program) return std::nullopt;
  for (const Watcher& watcher : kWatchers) {
    if (watcher.name != program->name) continue;
    std::size_t from = program->at + 1;
    if (!watcher.sub.empty() && (from == argv.size() || argv[from++] != watcher.sub)) return std::nullopt;
    const auto left = read(watcher, argv, from);
    if (!left) return std::nullopt;
    const Argv started = program_of(watcher, *left);
    if (started.empty()) return std::nullopt;
    Unwatched out{program->name, wrappers(argv, *program, started)};
    out.argv.insert(out.argv.end(), started.begin(), started.end());
    return out;
  }
  return std::nullopt;
}

Argv watched_words(const Argv& argv) {
  auto out = without_watcher(argv);
  return out ? std::move(out->argv) : argv;
}

}  // namespace runmain::config
