#include "config/runner_launch.hpp"

#include <algorithm>

#include "config/runner_watchers.hpp"

namespace runmain::config {
namespace {

constexpr std::string_view kEnvironmentTools = "uv poetry pipenv hatch pdm";

// Nobody watches. SIGTERM: no more is taken, what was taken is finished; a connection that says nothing for
// 100 ms (browsers open some ahead) is no request. An app that `flask run` could not import ends the process
// instead of being served as its traceback, so that the generation before it goes on.
constexpr const char* kWerkzeug = R"(import os, runpy, select, shutil, signal, sys, threading
import werkzeug, werkzeug.serving as serving
run, serve = serving.run_simple, serving.BaseWSGIServer.serve_forever
handle = serving.WSGIRequestHandler.handle
stopping = threading.Event()
def run_simple(hostname, port, application, use_reloader=False, *arguments, **options):
    if getattr(application, "__module__", "") == "flask.cli":
        sys.exit(1)
    run(hostname, port, application, False, *arguments, **options)
def serve_forever(server, *arguments, **options):
    def stop(*_):
        stopping.set()
        threading.Thread(target=server.shutdown).start()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
    serve(server, *arguments, **options)
def handle_when_asked(handler):
    readable = select.poll()
    readable.register(handler.connection, select.POLLIN)
    while not readable.poll(100):
        if stopping.is_set():
            return
    handle(handler)
werkzeug.run_simple = serving.run_simple = run_simple
serving.BaseWSGIServer.serve_forever = serve_forever
serving.WSGIRequestHandler.handle = handle_when_asked
serving.ThreadedWSGIServer.daemon_threads = False
)";

// The listener is left to the next generation; what was accepted has 100 ms to say what it wants.
constexpr const char* kUvicorn = R"(import asyncio, os, runpy, shutil, sys
import uvicorn
shutdown = uvicorn.Server.shutdown
async def shutdown_when_read(server, *arguments, **options):
    for listening in getattr(server, "servers", []):
        listening.close()
    for _ in range(10):
        await asyncio.sleep(0.01)
        if all(getattr(c, "cycle", c) for c in server.server_state.connections):
            break
    await shutdown(server, *arguments, **options)
uvicorn.Server.shutdown = shutdown_when_read
)";

// For programs that call uvicorn.run() and have no flag for a socket.
constexpr const char* kUvicornSocket = R"(configure = uvicorn.Config.__init__
def configure_with_socket(config, *arguments, **options):
    configure(config, *arguments, **{**options, "fd": 3})
uvicorn.Config.__init__ = configure_with_socket
)";

// A traceback begins with the user's own lines. What follows as words: "-m MODULE", "-p PROGRAM" or a script.
// A PROGRAM is looked for beside the interpreter and in PATH; one that is no script of Python is executed as
// it is.
constexpr const char* kRun = R"(def without_launcher(kind, value, trace):
    while trace and trace.tb_frame.f_code.co_filename in ("<string>", "<frozen runpy>", runpy.__file__):
        trace = trace.tb_next
    sys.__excepthook__(kind, value.with_traceback(trace), trace)
sys.excepthook = without_launcher
del sys.argv[0]
if sys.argv[0] == "-m":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    if sys.argv[0] == "-p":
        del sys.argv[0]
        beside = os.path.join(os.path.dirname(sys.executable), sys.argv[0])
        program = beside if os.path.exists(beside) else shutil.which(sys.argv[0]) or sys.argv[0]
        with open(program, "rb") as file:
            head = file.read(512)
        if head[:2] != b"#!" or b"python" not in head.split(b"\n")[0] and b"\n'''exec' " not in head:
            os.execvp(sys.argv[0], sys.argv)
        sys.argv[0] = program
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")
)";

std::string text_of(Launcher launcher) {
  switch (launcher) {
    case Launcher::werkzeug: return std::string(kWerkzeug) + kRun;
    case Launcher::uvicorn: return std::string(kUvicorn) + kRun;
    case Launcher::uvicorn_socket: return std::string(kUvicorn) + kUvicornSocket + kRun;
    case Launcher::none: break;
  }
  return {};
}

bool is_module(const Argv& argv, const Program& program) {
  return program.python && program.script.empty() && program.at > 0 && argv[program.at - 1] == "-m";
}

bool has_interpreter(const Argv& argv, const Program& program) {
  const auto end = argv.begin() + static_cast<std::ptrdiff_t>(program.at);
  return std::any_of(argv.begin(), end,
                     [](const std::string& word) { return is_python_name(base_name(word)); });
}

// `uv run flask`: the tool makes the environment in which `python` and `flask` belong together.
bool is_in_environment(const Argv& argv, const Program& program) {
  const auto end = argv.begin() + static_cast<std::ptrdiff_t>(program.at);
  return std::any_of(argv.begin(), end,
                     [](const std::string& word) { return has_word(kEnvironmentTools, base_name(word)); });
}

}  // namespace

bool launch_by(Launcher launcher, const Program& program, const RunnerFacts& facts, Runner& runner) {
  if (launcher == Launcher::none) return false;
  Argv& argv = runner.argv;
  const std::string text = text_of(launcher);
  const auto at = argv.begin() + static_cast<std::ptrdiff_t>(program.at);
  if (is_module(argv, program)) {
    argv.insert(at - 1, {"-c", text});
  } else if (!program.script.empty() && has_interpreter(argv, program)) {
    argv.insert(at, {"-c", text});
  } else if (!program.script.empty() && is_in_environment(argv, program)) {
    argv.insert(at, {"python", "-c", text});
  } else if (program.python) {
    return false;  // ./app.py names its own interpreter
  } else if (is_in_environment(argv, program)) {
    argv.insert(at, {"python", "-c", text, "-p"});
  } else if (!facts.interpreter.empty()) {
    Argv words = facts.interpreter;
    words.insert(words.end(), {"-c", text});
    if (facts.is_shim) {
      words.emplace_back("-p");
      *at = base_name(*at);
    } else {
      *at = facts.program;
    }
    argv.insert(at, words.begin(), words.end());
  } else {
    return false;
  }
  return true;
}

std::string console_script_of(const Argv& given) {
  const Argv argv = watched_words(given);
  const auto program = find_program_word(argv);
  if (!program || program->python || is_in_environment(argv, *program)) return {};
  const Row* row = row_of(argv, *program);
  // What `env PATH=… flask` finds is found by env.
  const bool other_path = std::any_of(argv.begin(), argv.begin() + static_cast<std::ptrdiff_t>(program->at),
                                      [](const std::string& word) { return word.substr(0, 5) == "PATH="; });
  return row != nullptr && row->launcher != Launcher::none && !other_path ? argv[program->at] : std::string();
}

// Installers write "#!PYTHON", and where that would be too long or have blanks in it,
// "#!/bin/sh" and "'''exec' "PYTHON" "$0" "$@"" below it.
Argv interpreter_of(std::string_view text) {
  if (text.substr(0, 2) != "#!") return {};
  std::string_view line = text.substr(2, text.find('\n') - 2);
  constexpr std::string_view kExec = "\n'''exec' ";
  if (const std::size_t exec = text.find(kExec); exec != std::string_view::npos) {
    line = text.substr(exec + kExec.size());
    const bool quoted = !line.empty() && line[0] == '"';
    if (quoted) line.remove_prefix(1);
    const std::size_t end = line.find(quoted ? '"' : ' ');
    if (end == std::string_view::npos) return {};
    Argv one{std::string(line.substr(0, end))};
    return is_python_name(base_name(one[0])) ? one : Argv{};
  }
  Argv words;
  for (const std::string_view word : words_of(line)) words.emplace_back(word);
  if (!words.empty() && base_name(words[0]) == "env") words.erase(words.begin());
  const bool flags_only = std::all_of(words.begin() + (words.empty() ? 0 : 1), words.end(),
                                      [](const std::string& word) { return word[0] == '-'; });
  return !words.empty() && flags_only && is_python_name(base_name(words[0])) ? words : Argv{};
}

}  // namespace runmain::config
