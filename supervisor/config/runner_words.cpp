#include "config/runner_words.hpp"

#include <algorithm>
#include <charconv>

namespace runmain::config {
namespace {

// Interpreters' flags that take the next word.
constexpr std::string_view kPythonValued = "-X -W";
constexpr std::string_view kOtherValued =
    "-r --require --import --loader --experimental-loader --env-file -C --conditions --tsconfig -d -c -t";

struct Wrapper {
  std::string_view name;
  std::string_view sub;  // "": the program follows at once
};
constexpr Wrapper kWrappers[] = {{"uv", "run"},   {"poetry", "run"}, {"pipenv", "run"}, {"hatch", "run"},
                                 {"pdm", "run"},  {"npx", ""},       {"bunx", ""},      {"pnpm", "exec"},
                                 {"pnpm", "dlx"}, {"yarn", "exec"},  {"yarn", "dlx"},   {"bundle", "exec"},
                                 {"nice", ""},    {"exec", ""}};

bool is_flag(std::string_view word) { return word.size() > 1 && word[0] == '-'; }

bool is_assignment(std::string_view word) {
  const std::size_t equals = word.find('=');
  return equals != std::string_view::npos && equals > 0 && !is_flag(word);
}

// opentelemetry-instrument has a flag with a value for each variable of OpenTelemetry; another one ends it.
std::size_t past_instrument(const Argv& argv, std::size_t at) {
  std::size_t next = at + 1;
  while (next < argv.size() && is_flag(argv[next])) {
    if (argv[next] == "-h" || argv[next] == "--help" || argv[next] == "--version") return at;
    next += argv[next].find('=') == std::string::npos ? 2 : 1;
  }
  return next < argv.size() ? next : at;
}

// One step over `env A=1`, `uv run` and their like; the same place if there is none.
std::size_t past_wrapper(const Argv& argv, std::size_t at) {
  const std::string name = base_name(argv[at]);
  if (name == "env") {
    std::size_t next = at + 1;
    while (next < argv.size() && is_assignment(argv[next])) ++next;
    return next < argv.size() && !is_flag(argv[next]) ? next : at;
  }
  if (name == "opentelemetry-instrument") return past_instrument(argv, at);
  for (const Wrapper& wrapper : kWrappers) {
    if (wrapper.name != name) continue;
    const std::size_t next = at + (wrapper.sub.empty() ? 1 : 2);
    const bool fits = wrapper.sub.empty() || (at + 1 < argv.size() && argv[at + 1] == wrapper.sub);
    if (fits && next < argv.size() && !is_flag(argv[next])) return next;
  }
  return at;
}

Program python_program(const Argv& argv, std::size_t at) {
  for (std::size_t i = at + 1; i < argv.size(); ++i) {
    const std::string& word = argv[i];
    if (word == "-m" && i + 1 < argv.size())
      return {i + 1, argv[i + 1] == "waitress" ? "waitress-serve" : argv[i + 1], true, {}};
    if (word == "-c" || word == "-") break;
    if (has_word(kPythonValued, word)) {
      ++i;
    } else if (!is_flag(word)) {
      return {i, base_name(word), true, word};
    }
  }
  return {at, base_name(argv[at]), true, {}};
}

// The word is this flag: 1 alone, 2 with a value behind '=' or attached to a short one; 0 not.
int matches(std::string_view word, std::string_view flag) {
  if (word == flag) return 1;
  if (word.substr(0, flag.size()) != flag) return 0;
  const bool is_short = flag.size() == 2 && flag[1] != '-';
  return is_short || word[flag.size()] == '=' ? 2 : 0;
}

std::string attached(std::string_view word, std::string_view flag) {
  word.remove_prefix(flag.size());
  if (!word.empty() && word[0] == '=') word.remove_prefix(1);
  return std::string(word);
}

std::size_t erase(Argv& argv, std::size_t at, std::size_t count) {
  const auto first = argv.begin() + static_cast<std::ptrdiff_t>(at);
  argv.erase(first, first + static_cast<std::ptrdiff_t>(count));
  return count;
}

}  // namespace

std::string base_name(std::string_view path) {
  const std::size_t slash = path.find_last_of('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

bool is_python_name(std::string_view name) {
  if (name.substr(0, 6) != "python") return name == "pypy" || name == "pypy3";
  return name.find_first_not_of("0123456789.t", 6) == std::string_view::npos;
}

std::vector<std::string_view> words_of(std::string_view list) {
  std::vector<std::string_view> words;
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(' '), list.size());
    if (end > 0) words.push_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return words;
}

bool has_word(std::string_view list, std::string_view word) {
  const auto words = words_of(list);
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::optional<Program> find_program_word(const Argv& argv) {
  if (argv.empty()) return std::nullopt;
  std::size_t at = 0;
  for (std::size_t next = past_wrapper(argv, at); next != at; next = past_wrapper(argv, at)) at = next;
  const std::string name = base_name(argv[at]);
  if (is_python_name(name)) return python_program(argv, at);
  Program program{at, name, false, {}};
  if (name.size() > 3 && name.substr(name.size() - 3) == ".py") {
    program.python = true;
    program.script = argv[at];
  }
  return program;
}

std::optional<std::string> flag_value(const Argv& argv, std::size_t from, std::size_t to,
                                      std::string_view flags) {
  std::optional<std::string> found;
  for (std::size_t i = from; i < to; ++i) {
    for (const std::string_view flag : words_of(flags)) {
      const int match = matches(argv[i], flag);
      if (match == 2) found = attached(argv[i], flag);
      if (match == 1 && i + 1 < to) found = argv[i + 1];
    }
  }
  return found;
}

std::size_t drop_flags(Argv& argv, std::size_t from, std::size_t to, std::string_view flags) {
  const auto words = words_of(flags);
  const auto drops = [&](const std::string& word) {
    return std::any_of(words.begin(), words.end(), [&](std::string_view flag) {
      return word == flag || (flag.back() == '=' && word.substr(0, flag.size()) == flag);
    });
  };
  std::size_t gone = 0;
  for (std::size_t i = to; i-- > from;) {
    if (drops(argv[i])) gone += erase(argv, i, 1);
  }
  return gone;
}

std::size_t drop_valued_flags(Argv& argv, std::size_t from, std::size_t to, std::string_view flags) {
  const auto words = words_of(flags);
  std::size_t gone = 0;
  for (std::size_t i = from; i < to - gone;) {
    int match = 0;
    for (const std::string_view flag : words) match = std::max(match, matches(argv[i], flag));
    if (match == 0) {
      ++i;
    } else {
      gone += erase(argv, i, match == 1 && i + 1 < to - gone ? 2 : 1);
    }
  }
  return gone;
}

std::size_t end_of_own_words(const Argv& argv, std::size_t from) {
  for (std::size_t i = from; i < argv.size(); ++i) {
    if (has_word(kOtherValued, argv[i])) {
      ++i;
    } else if (!is_flag(argv[i])) {
      return i + 1;
    }
  }
  return argv.size();
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

std::optional<unsigned short> port_number(std::string_view text) {
  unsigned short port = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (fault != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

}  // namespace runmain::config
