#include "doctor/fixes.hpp"

#include <algorithm>

#include "doctor/look.hpp"

namespace runmain::doctor {
namespace {

using Framework = Kind::Framework;
using Server = Kind::Server;

std::string command_text(const Evidence& e) {
  std::string text;
  for (const std::string& word : e.command) text += (text.empty() ? "" : " ") + word;
  return text;
}

// The command without what instruments it from outside.
std::string bare_command(const Evidence& e) {
  std::string text = command_text(e);
  const std::string launcher = "opentelemetry-instrument ";
  const std::size_t at = text.find(launcher);
  if (at == std::string::npos) return text;
  return text.substr(at + launcher.size());
}

// Of two sides the second one's place, where it goes another way than the first.
std::string second_place(const Finding& f) {
  return f.sides.size() > 1 ? place_apart(f.sides[0].stack, f.sides[1].stack) : std::string();
}

const char* app_line(const Kind& kind) {
  switch (kind.framework) {
    case Framework::flask: return "FlaskInstrumentor().instrument_app(app)";
    case Framework::fastapi: return "FastAPIInstrumentor.instrument_app(app)";
    case Framework::django: return "DjangoInstrumentor().instrument()";
    case Framework::node: return "instrumentations: [getNodeAutoInstrumentations()]";
    case Framework::none: break;
  }
  return "the instrumentation of the framework";
}

std::string fix_double_init(const Kind& kind, const Finding& f) {
  const std::string second = second_place(f);
  const std::string where = second.empty() ? "the second start" : "the start at " + second;
  if (kind.framework == Framework::node)
    return "Start the SDK once: either by `--require @opentelemetry/auto-instrumentations-node/register` or "
           "by a NodeSDK "
           "in the program. Remove " +
           where + ".";
  if (kind.instrument_command)
    return "opentelemetry-instrument starts the SDK. Remove " + where +
           ", or start the program without opentelemetry-instrument.";
  return "Start it in one place that runs once. Remove " + where +
         "; a module that is imported under two names (`__main__` and its own) runs twice.";
}

std::string fix_auto_and_manual(const Kind& kind, const Finding& f) {
  const std::string second = second_place(f);
  if (kind.framework == Framework::node)
    return "Register each instrumentation once: the register file has them all. Take it out of the program" +
           (second.empty() ? std::string() : " (" + second + ")") + ", or drop the register.";
  return std::string("Keep one of them: ") +
         (kind.instrument_command ? "opentelemetry-instrument instruments the app already. "
                                  : "the instrumentation puts its middleware in by itself. ") +
         "Remove " +
         (second.empty() ? std::string("what the program adds by hand") : "the one at " + second) + ".";
}

std::string fix_exporter_twice(const Finding& f) {
  const std::string second = second_place(f);
  return "Add one processor for each exporter and address" +
         (second.empty() ? std::string(".") : ": remove the one at " + second + ".") +
         " For a look at the spans use ConsoleSpanExporter.";
}

std::string fix_reloader_both(const Kind& kind, const Evidence& e) {
  const std::string ours =
      " Or let runmain reload, where only the process that serves starts telemetry: runmain dev -- " +
      bare_command(e);
  if (kind.server == Server::werkzeug)
    return "Start telemetry only in the reloader's child: if os.environ.get(\"WERKZEUG_RUN_MAIN\") == "
           "\"true\"." +
           (kind.instrument_command
                ? std::string(" opentelemetry-instrument cannot do that: start the SDK in the program, or "
                              "run without the reloader (--no-reload).")
                : std::string()) +
           ours;
  if (kind.server == Server::runserver)
    return "Start telemetry only where os.environ.get(\"RUN_MAIN\") == \"true\", or use --noreload." + ours;
  if (kind.server == Server::uvicorn)
    return std::string(
               "uvicorn's parent only watches or supervises: start telemetry where only its children come, "
               "in the app's "
               "lifespan (the app itself is instrumented where it is made), ") +
           (kind.instrument_command
                ? "not by opentelemetry-instrument around the parent, or run without --reload and --workers."
                : "not in what the parent imports.") +
           ours;
  if (kind.framework == Framework::node)
    return "NODE_OPTIONS reaches the watcher, npm and all children: give --require to the program's own node "
           "only." +
           ours;
  return "Start telemetry in the process that serves only, not in its parent." + ours;
}

std::string fix_preload_fork(const Kind& kind) {
  if (kind.server == Server::gunicorn)
    return "Start telemetry in gunicorn's post_fork hook only, not in what --preload imports. Or drop "
           "--preload, or serve it "
           "by runmain: each worker starts its own, once.";
  return "Start telemetry after the fork only: os.register_at_fork(after_in_child=…), or the server's worker "
         "hook.";
}

std::string fix_wrong_process(const Kind& kind, const Evidence& e) {
  const std::string ours = " runmain dev (or serve) -- " + bare_command(e) + " starts it where it serves.";
  if (kind.instrument_command && kind.framework != Framework::node)
    return "opentelemetry-instrument (below 0.63) instruments the parent and hides itself from the children. "
           "Start the SDK in "
           "the program, or run without the reloader and with one worker." +
           ours;
  if (kind.server == Server::gunicorn) return "Start it in the post_fork hook of gunicorn." + ours;
  return "Start it in the process that answers." + ours;
}

std::string fix_lost(const Finding& f) {
  const bool by_exit = !f.sides.empty() && f.sides.front().what.find("called here") != std::string::npos;
  if (by_exit)
    return "Call provider.force_flush() before it, or end by returning; under runmain a finished span needs "
           "neither.";
  if (!f.sides.empty() && f.sides.front().what.rfind("killed", 0) == 0)
    return "SIGKILL gives no time to flush: end it by SIGTERM first. Under runmain a finished span outlives "
           "its process.";
  return "Let it end by returning from its main function, so that what is registered for the end runs.";
}

}  // namespace

Kind kind_of(const Evidence& e) {
  Kind kind;
  const auto any = [&](const std::string& part) {
    return has_argument(e.command, part) ||
           std::any_of(e.processes.begin(), e.processes.end(),
                       [&](const Process& p) { return has_argument(p.argv, part); });
  };
  const auto loaded = [&](const char* package) { return e.packages.count(package) != 0; };
  const bool is_node = std::any_of(e.processes.begin(), e.processes.end(), [](const Process& p) {
    return p.requests > 0 && p.runtime.rfind("node", 0) == 0;
  });
  kind.instrument_command = any("opentelemetry-instrument");
  for (const Process& p : e.processes) {
    for (const std::string& hook : p.hooks)
      kind.instrument_command = kind.instrument_command || hook.find("auto") != std::string::npos;
  }
  if (is_node) {
    kind.framework = Framework::node;
    kind.server = Server::node;
    return kind;
  }
  if (loaded("fastapi") || loaded("starlette")) kind.framework = Framework::fastapi;
  if (any("manage.py") || loaded("django")) kind.framework = Framework::django;
  if (loaded("flask")) kind.framework = Framework::flask;
  if (any("gunicorn")) {
    kind.server = Server::gunicorn;
  } else if (any("uwsgi") || any("waitress-serve") || any("hypercorn") || any("granian")) {
    kind.server = Server::other;
  } else if (any("uvicorn") || any("fastapi") || loaded("uvicorn")) {
    kind.server = Server::uvicorn;
  } else if (any("runserver")) {
    kind.server = Server::runserver;
  } else if (kind.framework == Framework::flask) {
    kind.server = Server::werkzeug;
  }
  return kind;
}

std::string stop_signal_of(const Evidence& e) {
  // Who handles it wants to be ended by it. Werkzeug's reloader does so for itself.
  const bool handles_term = std::any_of(e.signals.begin(), e.signals.end(), [](const SignalHandled& s) {
    return s.signal == "SIGTERM" && !s.stack.empty() && !is_library_frame(s.stack.front());
  });
  if (handles_term) return "SIGTERM";
  const Server server = kind_of(e).server;
  if (server == Server::werkzeug || server == Server::runserver) return "SIGINT";
  for (const char* word : {"--reload", "--watch", "nodemon", "watchfiles", "tsx", "dev"}) {
    if (has_argument(e.command, word)) return "SIGINT";
  }
  return "SIGTERM";
}

std::string fix_of(const Finding& f, const Evidence& e) {
  const Kind kind = kind_of(e);
  switch (f.cause) {
    case Cause::double_init: return fix_double_init(kind, f);
    case Cause::auto_and_manual: return fix_auto_and_manual(kind, f);
    case Cause::exporter_twice: return fix_exporter_twice(f);
    case Cause::reloader_both: return fix_reloader_both(kind, e);
    case Cause::preload_fork: return fix_preload_fork(kind);
    case Cause::wrong_process: return fix_wrong_process(kind, e);
    case Cause::too_late:
      return std::string("Call ") + app_line(kind) +
             " right after the app is made, not in its lifespan or start-up hook.";
    case Cause::nothing_instrumented:
      return std::string("Add ") + app_line(kind) + " where the provider is set" +
             (kind.server == Server::gunicorn ? " (in post_fork, for the app of the worker)." : ".");
    case Cause::shared_instance_id:
      return "Take service.instance.id out of OTEL_RESOURCE_ATTRIBUTES and of code that runs before the "
             "fork; give each worker "
             "its own, for example uuid.uuid4() where its provider is made.";
    case Cause::refused_after_fork:
      return "Set the provider once in each process: not before the fork, but in the worker's hook only.";
    case Cause::sigterm_swallowed:
      return kind.framework == Framework::node
                 ? "A listener for SIGTERM turns Node's own exit off (the register file of "
                   "auto-instrumentations adds one). Add "
                   "your own: process.on('SIGTERM', () => server.close(() => process.exit(0)))."
                 : "End the process in the handler: call sys.exit(0), or the server's own stop.";
    case Cause::lost_at_exit: return fix_lost(f);
    case Cause::dead_collector:
      return "Start the collector or correct its address. Shorter delays: OTEL_EXPORTER_OTLP_TIMEOUT, "
             "OTEL_BSP_EXPORT_TIMEOUT. "
             "Under runmain no collector delays a stop or a reload.";
    case Cause::never_activated:
      return kind.framework == Framework::node
                 ? "Use tracer.startActiveSpan(name, span => { …; span.end() })."
                 : "Use `with tracer.start_as_current_span(name):`; start_span only makes a span, and "
                   "nothing finds it as parent.";
    case Cause::never_ended:
      return kind.framework == Framework::node
                 ? "Call span.end() in a finally."
                 : "Use `with tracer.start_as_current_span(name):`, or call span.end() in a finally.";
    case Cause::repeated_ids:
      return "Do not call random.seed() with a fixed number (or seed in each worker after the fork, by "
             "os.urandom): the SDK's ids "
             "come from the same generator.";
    case Cause::sdk_and_injector:
      return "Keep one of them: exclude this program from the injector, or take the SDK out of the program.";
    case Cause::no_telemetry:
      if (f.evidence.size() > 1 && f.evidence[1].rfind("its environment says ", 0) == 0)
        return "Take it out of the environment, if spans are wanted here.";
      if (f.evidence.front().find("nothing exports") != std::string::npos)
        return "Add a BatchSpanProcessor with an OTLPSpanExporter to the provider.";
      return "Start an SDK in the process that serves; or without touching the program: runmain dev --auto "
             "-- " +
             bare_command(e);
  }
  return {};
}

}  // namespace runmain::doctor
