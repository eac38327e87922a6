#include "graceful/fixes.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace runmain::graceful {
namespace {

using Text = std::string;

Text socket_fix(Kind kind) {
  switch (kind) {
    case Kind::gunicorn:
      return "Leave -b away: gunicorn takes LISTEN_FDS by itself if nothing stands in front of it; else -b "
             "fd://{fd}.";
    case Kind::uvicorn:
      return "Give it the socket: uvicorn --fd {fd} app:app, without --host, --port, --workers and --reload.";
    case Kind::hypercorn: return "Give it the socket: hypercorn --workers 0 --bind fd://{fd} app:app.";
    case Kind::python:
      return "Take the socket instead of binding: socket.socket(fileno=3); asyncio: start_server(…, "
             "sock=that). "
             "Its number is also {fd} in the command.";
    case Kind::node: return "Listen on the socket instead of a port: server.listen({fd: 3, backlog: 65535}).";
    default:
      return "Accept from fd 3 (LISTEN_FDS, or {fd} in the command) instead of socket, bind and listen. A "
             "program that "
             "cannot: --port auto, and {port} in the command; then it is not there while it restarts.";
  }
}

Text ready_fix(Kind kind) {
  if (kind == Kind::gunicorn)
    return "gunicorn says READY=1 before the application is loaded: give --health /path, which is asked "
           "first.";
  return "Say READY=1 (sd_notify) when everything is loaded and the accept loop runs, not before; or say "
         "nothing and "
         "give --health /path, which has to be answered first.";
}

Text sigterm_fix(Kind kind) {
  switch (kind) {
    case Kind::python:
      return "asyncio: loop.add_signal_handler(SIGTERM, …) that closes the server, waits for the tasks that "
             "answer, and lets "
             "the loop end. Threads: a handler that ends the accept loop; daemon=True for those that never "
             "end.";
    case Kind::node:
      return "process.on('SIGTERM', …): server.close(), then closeIdleConnections(), and exit when both are "
             "through.";
    case Kind::gunicorn: return "Set --graceful-timeout below runmain's --stop-timeout.";
    case Kind::uvicorn: return "Set --timeout-graceful-shutdown below runmain's --stop-timeout.";
    case Kind::shell:
      return "Put exec in front of the server, so that the shell is not in the way of its signals.";
    default:
      return "Handle SIGTERM: let the handler write to a pipe or a signalfd that the loop waits for, accept "
             "no more, answer what "
             "is in flight, and exit with 0.";
  }
}

Text in_flight_fix(Kind kind) {
  switch (kind) {
    case Kind::python:
      return "At SIGTERM only stop accepting (server.close()); keep the tasks or threads that answer, wait "
             "for them, and exit "
             "then. No sys.exit or os._exit in the handler.";
    case Kind::node:
      return "At SIGTERM call server.close() and exit in its callback; no process.exit() in the handler, no "
             "closeAllConnections().";
    case Kind::gunicorn:
      return "A --graceful-timeout as long as the longest request, and below --stop-timeout.";
    case Kind::uvicorn:
      return "A --timeout-graceful-shutdown as long as the longest request, or none; and below "
             "--stop-timeout.";
    default:
      return "At the stop signal take only the listener out of the loop; exit when the last connection with "
             "a request has "
             "its answer.";
  }
}

Text accepted_fix(Kind kind) {
  if (kind == Kind::uvicorn)
    return "uvicorn closes such connections at once. `runmain serve -- uvicorn app:app` without --fd puts a "
           "launcher in "
           "front that leaves them time; docs/servers.md.";
  return "In the drain treat a connection that was accepted and has not spoken as one in flight: wait for "
         "its first request, a "
         "second at most, answer it with Connection: close. And accept without blocking until nothing waits "
         "before the "
         "listener is let go.";
}

Text kept_fix(Kind kind) {
  switch (kind) {
    case Kind::node:
      return "server.close() closes idle connections at once (Node 19 and newer). Look once more: "
             "examples/pool-node/server.js, closeLater().";
    case Kind::uvicorn:
    case Kind::hypercorn:
      return "It closes idle connections without a look at what has come. `runmain serve -- uvicorn app:app` "
             "has a launcher that "
             "does; docs/servers.md.";
    case Kind::gunicorn:
      return "gunicorn 27 and newer looks once more before it closes (gthread); sync closes after each "
             "answer.";
    default:
      return "Before close(2) of an idle connection look once more (recv with MSG_DONTWAIT) and answer what "
             "is there; then "
             "shutdown(SHUT_WR), and read until the client's end. No SO_LINGER of 0.";
  }
}

Text keeps_fix(Kind kind) {
  switch (kind) {
    case Kind::node:
      return "At SIGTERM after server.close(): server.closeIdleConnections(), and "
             "response.setHeader('Connection', 'close') in each answer from then on.";
    case Kind::uvicorn:
      return "Set --timeout-graceful-shutdown, and a --timeout-keep-alive of a few seconds.";
    case Kind::gunicorn: return "Set --keep-alive to a few seconds, well below runmain's --stop-timeout.";
    case Kind::python:
      return "In the drain answer with Connection: close, and close connections on which nothing is asked; "
             "asyncio's "
             "wait_closed() waits for them for ever (3.12 and newer): close_clients(), or keep a list of "
             "them.";
    default:
      return "In the drain answer with Connection: close, and close connections on which no request is after "
             "a short wait.";
  }
}

Text silent_fix(Kind kind) {
  const Text python = kind == Kind::python ? " (asyncio.wait_for, or settimeout on the connection)" : "";
  return "Give a connection in the drain a deadline" + python +
         ": a second for its first request, a few for the rest of one that has begun; then close it.";
}

}  // namespace

Kind kind_of(const Observation& o) {
  const std::array<std::pair<std::string_view, Kind>, 10> kNames{{{"gunicorn", Kind::gunicorn},
                                                                  {"uvicorn", Kind::uvicorn},
                                                                  {"hypercorn", Kind::hypercorn},
                                                                  {"node", Kind::node},
                                                                  {"npm", Kind::node},
                                                                  {"npx", Kind::node},
                                                                  {"sh", Kind::shell},
                                                                  {"bash", Kind::shell},
                                                                  {"flask", Kind::python},
                                                                  {"python", Kind::python}}};
  for (const auto& [name, kind] : kNames) {
    const auto is = [name = name, kind = kind](const std::string& word) {
      const std::string_view last = std::string_view(word).substr(word.rfind('/') + 1);
      return kind == Kind::python ? last.starts_with(name) : last == name;
    };
    // `python -m uvicorn`, `poetry run gunicorn`.
    const auto end =
        o.command.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(o.command.size(), 4));
    if (std::any_of(o.command.begin(), end, is)) return kind;
  }
  return Kind::other;
}

std::string fix_of(Cause cause, const Observation& o) {
  const Kind kind = kind_of(o);
  switch (cause) {
    case Cause::own_socket: return socket_fix(kind);
    case Cause::ready_too_early: return ready_fix(kind);
    case Cause::worker_idle:
      return socket_fix(kind) + " Every worker, not only the first (RUNMAIN_WORKER 0).";
    case Cause::plain_fails:
      return "This is about the program itself: see what it writes under `runmain serve`. Another path: "
             "--request /path.";
    case Cause::crashes: return "See why it ends: `runmain serve`, and `runmain why NAME`.";
    case Cause::reload_fails:
      return "See why it does not start a second time beside the first: a lock, a file, a port of its own?";
    case Cause::listener_shut:
      return "close(2) the listener instead of shutdown(2): the socket is shared with all other workers, and "
             "shutdown ends it "
             "for them, too.";
    case Cause::socket_unlinked:
      return "Leave the path of the socket alone: it is runmain's, and other workers serve on it.";
    case Cause::sigterm_ignored: return sigterm_fix(kind);
    case Cause::exit_status:
      return "End with status 0 when the drain is through: an exception or sys.exit(1) on the way out looks "
             "like a crash.";
    case Cause::child_left:
      return "End what it has started in the drain, and wait(2) for it before it exits.";
    case Cause::in_flight_cut: return in_flight_fix(kind);
    case Cause::accepted_lost: return accepted_fix(kind);
    case Cause::refuses_draining:
      return "What a draining worker has accepted has no other way: answer it as always. A health check that "
             "turns to 503 is no "
             "use here, runmain sends no new connections.";
    case Cause::kept_lost: return kept_fix(kind);
    case Cause::keeps_connections: return keeps_fix(kind);
    case Cause::waits_for_silent:
    case Cause::waits_for_half: return silent_fix(kind);
    case Cause::holds_others_up:
      return kind == Kind::gunicorn
                 ? "A sync worker has one client at a time: -k gthread --threads 8, or a proxy in front."
                 : "One slow client takes a whole worker: threads, an event loop, or a proxy in front.";
  }
  return "";
}

}  // namespace runmain::graceful
