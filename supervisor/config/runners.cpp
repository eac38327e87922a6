#include "config/runners.hpp"

#include <algorithm>

#include "config/runner_table.hpp"
#include "config/runner_words.hpp"
#include "config/words.hpp"

namespace runmain::config {
namespace {

constexpr std::string_view kPackageManagers = "npm pnpm yarn bun";

std::string variable(const RunnerFacts& facts, std::string_view name) {
  for (const auto& [known, value] : facts.env) {
    if (known == name) return value;
  }
  return {};
}

const Row& row_named(std::string_view name) {
  const auto& rows = runner_rows();
  return *std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.name == name; });
}

struct Where {
  std::string host;
  std::string port;
  std::string whole;  // "unix:…" as it is
};

// "HOST:PORT", "PORT", "[::1]:PORT"; what is missing stays as it was.
void take_bind(const std::string& text, Where& where) {
  if (text.substr(0, 5) == "unix:") {
    where.whole = text;
  } else if (is_number(text)) {
    where.port = text;
  } else if (const std::size_t colon = text.rfind(':'); colon != std::string::npos) {
    where.port = text.substr(colon + 1);
    if (colon > 0) where.host = text.substr(0, colon);
  } else {
    where.host = text;
  }
}

// The word behind `runserver`, or behind the module http.server, that says where to listen.
std::size_t positional(const Argv& argv, const Row& row, std::size_t at) {
  const bool django = row.sub == "runserver";
  if (!django && row.name != "http.server") return 0;
  std::size_t i = at + 1;
  if (django) i = static_cast<std::size_t>(std::find(argv.begin(), argv.end(), row.sub) - argv.begin()) + 1;
  for (; i < argv.size(); ++i) {
    if (argv[i][0] == '-') continue;
    const std::size_t colon = argv[i].rfind(':');
    return is_number(std::string_view(argv[i]).substr(colon == std::string::npos ? 0 : colon + 1)) ? i : 0;
  }
  return 0;
}

Where where_of(const Argv& argv, const Row& row, const Program& program, const RunnerFacts& facts) {
  Where where{std::string(row.host), row.port == 0 ? "" : std::to_string(row.port), {}};
  if (const std::string host = variable(facts, row.host_env); !host.empty()) where.host = host;
  if (const std::string port = variable(facts, row.port_env); is_number(port)) {
    where.port = port;
    if (row.name == "gunicorn") where.host = "0.0.0.0";  // its own default with PORT
  }
  const std::size_t from = program.at + 1;
  if (auto host = flag_value(argv, from, argv.size(), row.host_flags)) where.host = *host;
  if (auto port = flag_value(argv, from, argv.size(), row.port_flags)) where.port = *port;
  if (auto bind = flag_value(argv, from, argv.size(), row.bind_flags)) take_bind(*bind, where);
  if (const std::size_t i = positional(argv, row, program.at); i != 0) take_bind(argv[i], where);
  return where;
}

std::string address_of(const Where& where) {
  if (!where.whole.empty()) return where.whole;
  if (where.port.empty()) return {};
  const bool v6 = where.host.find(':') != std::string::npos && where.host[0] != '[';
  return (v6 ? "[" + where.host + "]" : where.host) + ":" + where.port;
}

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
  const bool on = drop_flags(runner.argv, from, end(), row.drop) > 0;
  drop_valued_flags(runner.argv, from, end(), row.drop_valued);
  if (!row.add.empty() && std::find(runner.argv.begin(), runner.argv.end(), row.add) == runner.argv.end())
    runner.argv.emplace_back(row.add);
  add_env(row.env, runner);
  const bool always = !row.add.empty() || !row.env.empty() || on;
  if (always && !row.off.empty()) runner.promise = "its own " + std::string(row.off) + " is off";
}

// Its socket is given to it.
void give_socket(const Row& row, const Program& program, Runner& runner) {
  runner.takes_socket = true;
  switch (row.way) {
    case Way::fd_flag:
      runner.argv.insert(runner.argv.end(), {"--fd", "{fd}"});
      runner.how = "--fd 3";
      return;
    case Way::bind_fd:
      drop_valued_flags(runner.argv, program.at + 1, runner.argv.size(), row.bind_flags);
      runner.argv.insert(runner.argv.end(), {"--bind", "fd://{fd}"});
      runner.how = "--bind fd://3";
      return;
    case Way::werkzeug:
      add_env("WERKZEUG_RUN_MAIN=true WERKZEUG_SERVER_FD=3", runner);
      runner.how = "WERKZEUG_SERVER_FD";
      return;
    case Way::listen_fds:
      drop_valued_flags(runner.argv, program.at + 1, runner.argv.size(), row.bind_flags);
      runner.how = "LISTEN_FDS";
      return;
    case Way::own: runner.takes_socket = false;
  }
}

// The port is the user's: it is told to the program, in its own words.
void tell_port(const Row& row, const Program& program, const Where& where, Runner& runner) {
  const std::size_t from = program.at + 1;
  const std::string host = where.host.empty() ? "127.0.0.1" : where.host;
  if (const std::size_t i = positional(runner.argv, row, program.at); i != 0) {
    runner.argv[i] = host + ":{port}";
    if (row.name == "http.server") runner.argv[i] = "{port}";
  } else if (row.sub == "runserver" || row.name == "http.server") {
    runner.argv.emplace_back("{port}");
  } else if (!row.port_flags.empty()) {
    drop_valued_flags(runner.argv, from, runner.argv.size(), row.port_flags);
    runner.argv.insert(runner.argv.end(), {std::string(words_of(row.port_flags).back()), "{port}"});
  } else if (row.name == "php") {
    drop_valued_flags(runner.argv, from, end_of_own_words(runner.argv, from), row.bind_flags);
    const auto at = runner.argv.begin() + static_cast<std::ptrdiff_t>(from);
    runner.argv.insert(at, {"-S", host + ":{port}"});
  } else if (!row.bind_flags.empty()) {
    drop_valued_flags(runner.argv, from, runner.argv.size(), row.bind_flags);
    runner.argv.insert(runner.argv.end(), {std::string(words_of(row.bind_flags).back()), host + ":{port}"});
  }
}

Runner known(const Argv& argv, const Row& row, const Program& program, const RunnerFacts& facts,
             const RunnerAsked& asked) {
  Runner runner;
  runner.name = row.name;
  runner.argv = argv;
  for (const std::string_view glob : words_of(row.include)) runner.include.emplace_back(glob);
  for (const std::string_view glob : words_of(row.ignore)) runner.ignore.emplace_back(glob);
  const Where where = where_of(argv, row, program, facts);
  const bool own_socket = has_own_socket(argv, program.at + 1);
  turn_reloader_off(row, program, runner);
  if (!row.note.empty()) runner.promise += (runner.promise.empty() ? "" : "; ") + std::string(row.note);
  if (own_socket) {
    runner.takes_socket = true;
  } else if (asked.port) {
    runner.port = asked.port;
    tell_port(row, program, where, runner);
  } else if (row.way != Way::own) {
    give_socket(row, program, runner);
    runner.listen = address_of(where);
  } else if (const auto port = port_number(where.port)) {
    runner.port = port;
  }
  return runner;
}

// The text between the parentheses of the first `.run(`, as far as it is on record.
std::string run_call(const std::string& script) {
  const std::size_t at = script.find(".run(");
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

std::string literal(const std::string& call, const std::string& name) {
  const std::size_t at = call.find(name + "=");
  if (at == std::string::npos) return {};
  std::string text = call.substr(at + name.size() + 1, call.find_first_of(",)", at) - at - name.size() - 1);
  std::erase_if(text, [](char c) { return c == '"' || c == '\''; });
  return text;
}

// Runs the script that follows as `python` would, with two things changed in Werkzeug's server: it does not
// watch (no variable can keep debug=True from it, and its watcher ends the old generation of a broken save),
// and SIGTERM lets it finish what it has accepted.
constexpr const char* kWerkzeugLauncher = R"(import os, runpy, signal, sys, threading
import werkzeug.serving as serving
run, serve = serving.run_simple, serving.BaseWSGIServer.serve_forever
def run_simple(*arguments, **options):
    run(*arguments[:3], **{**options, "use_reloader": False})
def serve_forever(server, *arguments, **options):
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    serve(server, *arguments, **options)
serving.run_simple = run_simple
serving.BaseWSGIServer.serve_forever = serve_forever
serving.ThreadedWSGIServer.daemon_threads = False
del sys.argv[0]
sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
)";

// python app.py, where the script calls app.run() of Flask.
Runner flask_script(const Argv& argv, const Program& program, const std::string& call,
                    const RunnerAsked& asked) {
  Runner runner;
  runner.name = "flask app.run";
  runner.argv = argv;
  if (asked.port) {
    runner.port = asked.port;
    runner.promise = "the port is in the script; its own reloader is not touched";
    return runner;
  }
  Where where{"127.0.0.1", "5000", {}};
  if (const std::string host = literal(call, "host"); !host.empty()) where.host = host;
  if (const std::string port = literal(call, "port"); is_number(port)) where.port = port;
  give_socket(row_named("flask"), {}, runner);
  runner.listen = address_of(where);
  if (program.at > 0 && argv[program.at] == program.script) {
    const auto at = runner.argv.begin() + static_cast<std::ptrdiff_t>(program.at);
    runner.argv.insert(at, {"-c", kWerkzeugLauncher});
    runner.promise = "its own reloader is off";
  } else if (literal(call, "debug") == "True") {  // ./app.py: its interpreter is in its first line
    runner.promise = "its own watcher stays, say `python " + program.script + "`";
  }
  return runner;
}

// What npm would run is known by package.json only, and nothing but its environment can be changed.
Runner packaged(const Argv& argv, const std::string& manager, const RunnerFacts& facts,
                const RunnerAsked& asked) {
  RunnerFacts inside = facts;
  inside.package_script.clear();
  const Argv line = split_words(facts.package_script).words;
  Runner inner = choose_runner(line, inside, {});
  if (inner.name.empty()) return {};
  Runner runner;
  runner.name = manager + ": " + inner.name;
  runner.argv = argv;
  runner.include = inner.include;
  runner.ignore = inner.ignore;
  runner.port = inner.port;
  for (const auto& [name, value] : inner.env) {
    if (name.substr(0, 8) != "WERKZEUG") runner.env.emplace_back(name, value);
  }
  if (!inner.listen.empty())
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
  const bool own_watch = facts.package_script.find("--watch") != std::string::npos ||
                         facts.package_script.find("tsx watch") != std::string::npos ||
                         facts.package_script.find("--reload") != std::string::npos;
  if (own_watch) runner.promise = "its own watcher is in package.json and stays: name the program itself";
  return runner;
}

// Watchers that are started by hand: what they start is what `dev` wants to see.
constexpr std::string_view kWatchers =
    "nodemon ts-node-dev air watchexec entr watchfiles watchmedo cargo-watch";

}  // namespace

std::string script_of(const Argv& argv) {
  const auto program = find_program_word(argv);
  return program && program->python ? program->script : std::string();
}

std::string package_script_of(const Argv& argv) {
  if (argv.size() < 2 || !has_word(kPackageManagers, base_name(argv[0]))) return {};
  const bool run = argv[1] == "run" || argv[1] == "run-script";
  if (run) return argv.size() > 2 ? argv[2] : std::string();
  const bool plain = argv[1] == "start" || base_name(argv[0]) == "yarn" || base_name(argv[0]) == "pnpm";
  return plain && argv[1] != "exec" && argv[1] != "dlx" && argv[1][0] != '-' ? argv[1] : std::string();
}

Runner choose_runner(const Argv& argv, const RunnerFacts& facts, const RunnerAsked& asked) {
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

}  // namespace runmain::config
