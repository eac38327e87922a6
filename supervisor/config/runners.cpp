#include "config/runners.hpp"

#include <algorithm>
#include <array>

#include "config/runner_launch.hpp"
#include "config/runner_table.hpp"
#include "config/runner_watchers.hpp"
#include "config/runner_where.hpp"
#include "config/runner_words.hpp"
#include "config/words.hpp"

namespace runmain::config {
namespace {

constexpr std::string_view kAdopted = "given to it when it binds";
constexpr std::string_view kPackageManagers = "npm pnpm yarn bun";

// The user has said which socket it serves on.
bool has_own_socket(const Argv& argv, std::size_t from) {
  return std::any_of(
      argv.begin() + static_cast<std::ptrdiff_t>(from), argv.end(), [](const std::string& word) {
        return word.find("{fd") != std::string::npos || word.find("fd://") != std::string::npos ||
               word == "--fd" || word.substr(0, 5) == "--fd=" || word == "--uds";
      });
}

void add_env(std::string_view list, Runner& runner) {
  for (const std::string_view word : words_of(list)) {
    const std::size_t equals = word.find('=');
    runner.env.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
}

void turn_reloader_off(const Row& row, const Program& program, Runner& runner) {
  const std::size_t from = program.at + 1;
  const auto end = [&] { return row.own_words ? end_of_own_words(runner.argv, from) : runner.argv.size(); };
  const std::size_t dropped = drop_flags(runner.argv, from, end(), row.drop);
  // With these alone nothing would be watched, unless they are all that turns it on.
  const std::size_t valued = drop_valued_flags(runner.argv, from, end(), row.drop_valued);
  const bool on = dropped + (row.drop.empty() ? valued : 0) > 0;
  const auto append = [&](std::string_view word) {
    if (!word.empty() && std::find(runner.argv.begin(), runner.argv.end(), word) == runner.argv.end())
      runner.argv.emplace_back(word);
  };
  append(row.add);
  for (const std::string_view word : row.always) append(word);
  add_env(row.env, runner);
  const bool always = !row.add.empty() || !row.env.empty() || on;
  if (always && !row.off.empty()) runner.promise = "its own " + std::string(row.off) + " is off";
}

// How uWSGI shall speak on its socket; empty: a file says it, or it has several.
std::string http_or_socket(const Row& row, const Program& program, const Argv& argv) {
  std::string flag;
  std::size_t count = 0;
  for (const std::string_view each : words_of(row.bind_flags)) {
    if (!flag_value(argv, program.at + 1, argv.size(), each)) continue;
    ++count;
    flag = each == "--http" || each == "--http-socket" ? "--http-socket" : "--socket";
  }
  return count == 1 ? flag : std::string();
}

// Its socket is given to it.
void give_socket(const Row& row, const Program& program, Runner& runner) {
  runner.takes_socket = true;
  switch (row.way) {
    case Way::fd_flag:  // Daphne would bind what it is told beside it
      drop_valued_flags(runner.argv, program.at + 1, runner.argv.size(), row.host_flags);
      drop_valued_flags(runner.argv, program.at + 1, runner.argv.size(), row.port_flags);
      runner.argv.insert(runner.argv.end(), {"--fd", "{fd}"});
      runner.how = "--fd 3";
      return;
    case Way::bind_fd:
      drop_valued_flags(runner.argv, program.at + 1, runner.argv.size(), row.bind_flags);
      runner.argv.insert(runner.argv.end(), {"--bind", "fd://{fd}"});
      runner.how = "--bind fd://3";
      return;
    case Way::uwsgi: {
      const std::string flag = http_or_socket(row, program, runner.argv);
      drop_valued_flags(runner.argv, program.at + 1, runner.argv.size(), row.bind_flags);
      runner.argv.insert(runner.argv.end(), {flag, "fd://{fd}"});
      runner.how = flag + " fd://3";
      return;
    }
    case Way::werkzeug:
      add_env("WERKZEUG_RUN_MAIN=true WERKZEUG_SERVER_FD=3", runner);
      runner.how = "WERKZEUG_SERVER_FD";
      return;
    case Way::listen_fds:
      drop_valued_flags(runner.argv, program.at + 1, runner.argv.size(), row.bind_flags);
      runner.how = "LISTEN_FDS";
      return;
    case Way::launcher: runner.how = "fd 3"; return;
    case Way::own: runner.takes_socket = false;
  }
}

bool gets_socket(const Row& row, const Program& program, const RunnerFacts& facts, Runner& runner) {
  if (row.way == Way::own) return false;
  if (row.way == Way::uwsgi && http_or_socket(row, program, runner.argv).empty()) return false;
  Runner with = runner;
  give_socket(row, program, with);
  if (!launch_by(row.launcher, program, facts, with) && row.way == Way::launcher) return false;
  runner = std::move(with);
  return true;
}

Runner known(const Argv& argv, const Row& row, const Program& program, const RunnerFacts& facts,
             const RunnerAsked& asked) {
  Runner runner;
  runner.name = row.name;
  runner.argv = argv;
  runner.binds = row.binds;
  runner.stop_main = row.stop_main;
  for (const std::string_view glob : words_of(row.include)) runner.include.emplace_back(glob);
  for (const std::string_view glob : words_of(row.ignore)) runner.ignore.emplace_back(glob);
  const Where where = where_of(argv, row, program, facts);
  runner.own_workers = own_workers_of(argv, row, program, facts);
  const bool own_socket = has_own_socket(argv, program.at + 1);
  const bool bound = flag_value(argv, program.at + 1, argv.size(), row.bind_flags).has_value();
  const bool elsewhere = !asked.listen && !bound && is_computed(row, facts);  // only it knows where
  turn_reloader_off(row, program, runner);
  if (own_socket) {
    runner.takes_socket = true;
  } else if (asked.port) {
    runner.port = asked.port;
    tell_port(row, program, where, runner);
  } else if (asked.adopt && !elsewhere) {
    if (asked.listen) tell_port(row, program, where, runner);
    if (!asked.listen) runner.listen = address_of(where);
    runner.how = std::string(kAdopted);
  } else if (elsewhere) {
    runner.promise = "its file of settings computes where it listens: say --listen";
  } else if (gets_socket(row, program, facts, runner)) {
    runner.listen = address_of(where);
    return runner;
  } else if (const auto port = port_number(where.port)) {
    runner.port = port;
  }
  if (!row.note.empty()) runner.promise += (runner.promise.empty() ? "" : "; ") + std::string(row.note);
  return runner;
}

// Modules whose run() starts no application of Flask.
constexpr std::string_view kOtherRuns = "subprocess asyncio uvicorn anyio trio";

bool is_other_run(const std::string& script, std::size_t dot) {
  std::size_t begin = dot;
  while (begin > 0 && script[begin - 1] >= 'a' && script[begin - 1] <= 'z') --begin;
  return has_word(kOtherRuns, std::string_view(script).substr(begin, dot - begin));
}

// The text between the parentheses of the first `.run(`, as far as it is on record.
std::string run_call(const std::string& script) {
  std::size_t at = script.find(".run(");
  while (at != std::string::npos && is_other_run(script, at)) at = script.find(".run(", at + 1);
  if (at == std::string::npos) return {};
  const std::size_t open = at + 5;
  int depth = 1;
  std::size_t end = open;
  for (; end < script.size() && depth > 0; ++end) {
    if (script[end] == '(') ++depth;
    if (script[end] == ')') --depth;
  }
  std::string call = script.substr(open, end - open);
  std::erase_if(call, [](char c) { return c == ' ' || c == '\n' || c == '\t'; });
  return call;
}

// Between the commas of a call, but for those within brackets and strings.
std::vector<std::string> arguments_of(const std::string& call) {
  std::vector<std::string> arguments{{}};
  int depth = 0;
  char quote = '\0';
  for (const char c : call) {
    if (quote != '\0') {
      if (c == quote) quote = '\0';
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '(' || c == '[' || c == '{') {
      ++depth;
    } else if (c == ')' || c == ']' || c == '}') {
      if (--depth < 0) break;
    } else if (c == ',' && depth == 0) {
      arguments.emplace_back();
      continue;
    }
    arguments.back() += c;
  }
  return arguments;
}

bool is_text(const std::string& value) {
  return value.size() > 2 && (value[0] == '"' || value[0] == '\'') &&
         value.find(value[0], 1) == value.size() - 1;
}

// Where app.run() listens; nothing where that is known only when it runs.
std::optional<Where> where_of_call(const std::string& call) {
  constexpr std::array<std::string_view, 2> kPositions{"host", "port"};
  Where where{"127.0.0.1", "5000", {}};
  std::size_t position = 0;
  for (const std::string& argument : arguments_of(call)) {
    if (argument.empty()) continue;
    if (argument[0] == '*' || argument.find('#') != std::string::npos) return std::nullopt;
    const std::size_t equals = argument.find('=');
    const std::string value = equals == std::string::npos ? argument : argument.substr(equals + 1);
    std::string name = argument.substr(0, equals);
    if (equals == std::string::npos) name = position < 2 ? kPositions.at(position++) : "";
    if (value == "None" || (name != "host" && name != "port")) continue;
    if (name == "host" ? !is_text(value) : !is_number(value)) return std::nullopt;
    (name == "host" ? where.host : where.port) = name == "host" ? value.substr(1, value.size() - 2) : value;
  }
  return where;
}

// python app.py, where the script calls app.run() of Flask.
Runner flask_script(const Argv& argv, const Program& program, const std::string& call,
                    const RunnerAsked& asked) {
  Runner runner;
  runner.name = "flask app.run";
  runner.argv = argv;
  if (asked.port) {
    runner.port = asked.port;
    runner.promise = "the port is in the script";
    return runner;
  }
  const auto where = where_of_call(call);
  if (asked.adopt) {
    if (where && !asked.listen) runner.listen = address_of(*where);
    runner.how = std::string(kAdopted);
    if (launch_by(Launcher::werkzeug, program, {}, runner)) runner.promise = "its own reloader is off";
    return runner;
  }
  if (!where) {
    launch_by(Launcher::werkzeug, program, {}, runner);
    runner.promise = "as its host and port are no literals in app.run()";
    return runner;
  }
  Row row;
  row.way = Way::werkzeug;
  give_socket(row, program, runner);
  runner.listen = address_of(*where);
  // Not for ./app.py, whose interpreter is in its first line: there only the bootstrap turns it off.
  if (launch_by(Launcher::werkzeug, program, {}, runner)) runner.promise = "its own reloader is off";
  return runner;
}

// What npm would run is known by package.json only, and nothing but its environment can be changed.
Runner packaged(const Argv& argv, const std::string& manager, const RunnerFacts& facts,
                const RunnerAsked& asked) {
  RunnerFacts inside = facts;
  inside.package_script.clear();
  const Argv line = split_words(facts.package_script).words;
  RunnerAsked as_it_is;
  as_it_is.adopt = asked.adopt;
  Runner inner = choose_runner(line, inside, as_it_is);
  const bool has_watcher = without_watcher(line).has_value();
  if (inner.name.empty()) return {};
  Runner runner;
  runner.name = manager + ": " + inner.name;
  runner.argv = argv;
  runner.include = inner.include;
  runner.ignore = inner.ignore;
  runner.port = inner.port;
  runner.binds = inner.binds;
  runner.stop_main = inner.stop_main;
  for (const auto& [name, value] : inner.env) {
    if (name.substr(0, 8) != "WERKZEUG") runner.env.emplace_back(name, value);
  }
  runner.how = asked.adopt ? inner.how : std::string();
  if (asked.adopt) {
    if (!asked.listen) runner.listen = inner.listen;
  } else if (!inner.listen.empty())
    runner.port = port_number(std::string_view(inner.listen).substr(inner.listen.rfind(':') + 1));
  if (asked.port) {
    runner.port = asked.port;
    const auto program = find_program_word(line);
    const Row* row = program ? row_of(line, *program) : nullptr;
    if (row != nullptr && !row->port_flags.empty()) {
      if (manager == "npm") runner.argv.emplace_back("--");
      runner.argv.insert(runner.argv.end(), {std::string(words_of(row->port_flags).back()), "{port}"});
    }
  }
  const bool own_watch = has_watcher || facts.package_script.find("--watch") != std::string::npos ||
                         facts.package_script.find("tsx watch") != std::string::npos ||
                         facts.package_script.find("--reload") != std::string::npos;
  if (own_watch) runner.promise = "its own watcher is in package.json and stays: name the program itself";
  return runner;
}

// Watchers that are started by hand: what they start is what `dev` wants to see.
constexpr std::string_view kWatchers =
    "nodemon ts-node-dev air watchexec entr watchfiles watchmedo cargo-watch";

Runner choose_program(const Argv& argv, const RunnerFacts& facts, const RunnerAsked& asked) {
  Runner runner;
  if (!facts.package_script.empty()) runner = packaged(argv, base_name(argv[0]), facts, asked);
  if (!runner.name.empty()) return runner;
  const auto program = find_program_word(argv);
  if (program) {
    if (const Row* row = row_of(argv, *program)) return known(argv, *row, *program, facts, asked);
    const std::string call = run_call(facts.script);
    if (!call.empty() && facts.script.find("Flask(") != std::string::npos)
      return flask_script(argv, *program, call, asked);
    if (has_word(kWatchers, program->name))
      runner.promise = program->name + " watches by itself, too: name the program that it starts";
  }
  runner.argv = argv;
  runner.port = asked.port;
  return runner;
}

}  // namespace

std::string script_of(const Argv& given) {
  const auto program = find_program_word(watched_words(given));
  return program && program->python ? program->script : std::string();
}

std::string settings_of(const Argv& given) {
  const Argv argv = watched_words(given);
  const auto program = find_program_word(argv);
  if (!program || program->name != "gunicorn") return {};
  std::string file =
      flag_value(argv, program->at + 1, argv.size(), "-c --config").value_or("gunicorn.conf.py");
  if (file.substr(0, 5) == "file:") file.erase(0, 5);
  return file.substr(0, 7) == "python:" ? std::string() : file;
}

std::string package_script_of(const Argv& given) {
  const Argv argv = watched_words(given);
  if (argv.size() < 2 || !has_word(kPackageManagers, base_name(argv[0]))) return {};
  const bool run = argv[1] == "run" || argv[1] == "run-script";
  if (run) return argv.size() > 2 ? argv[2] : std::string();
  const bool plain = argv[1] == "start" || base_name(argv[0]) == "yarn" || base_name(argv[0]) == "pnpm";
  return plain && argv[1] != "exec" && argv[1] != "dlx" && argv[1][0] != '-' ? argv[1] : std::string();
}

Runner choose_runner(const Argv& argv, const RunnerFacts& facts, const RunnerAsked& asked) {
  const auto inner = without_watcher(argv);
  if (!inner) return choose_program(argv, facts, asked);
  if (inner->watcher == "nodemon" && facts.has_nodemon_file) {
    RunnerFacts others;  // what is known is of the program that it might start
    others.env = facts.env;
    return choose_program(argv, others, asked);
  }
  Runner runner = choose_program(inner->argv, facts, asked);
  runner.promise =
      inner->watcher + " itself is left out" + (runner.promise.empty() ? "" : ", " + runner.promise);
  return runner;
}

}  // namespace runmain::config
