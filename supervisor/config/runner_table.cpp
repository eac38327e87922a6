#include "config/runner_table.hpp"

#include <algorithm>

namespace runmain::config {
namespace {

constexpr std::string_view kNodeReload = "--watch --watch-preserve-output --watch-path=";
constexpr std::string_view kPages =
    "package.json *.config.js *.config.ts *.config.mjs *.config.cjs .env .env.*";

std::vector<Row> python_rows() {
  std::vector<Row> rows;
  // Tried with Flask 3.1 and Werkzeug 3.1.
  rows.push_back({.name = "flask",
                  .sub = "run",
                  .way = Way::werkzeug,
                  .launcher = Launcher::werkzeug,
                  .host = "127.0.0.1",
                  .port = 5000,
                  .host_flags = "-h --host",
                  .port_flags = "-p --port",
                  .host_env = "FLASK_RUN_HOST",
                  .port_env = "FLASK_RUN_PORT",
                  .drop = "--reload",
                  .add = "--no-reload",
                  .env = "FLASK_RUN_RELOAD=0",
                  .off = "reloader"});
  // Tried with Uvicorn 0.54.
  rows.push_back({.name = "uvicorn",
                  .way = Way::fd_flag,
                  .launcher = Launcher::uvicorn,
                  .host = "127.0.0.1",
                  .port = 8000,
                  .host_flags = "--host",
                  .port_flags = "--port",
                  .host_env = "UVICORN_HOST",
                  .port_env = "UVICORN_PORT",
                  .drop = "--reload",
                  .drop_valued = "--reload-dir --reload-include --reload-exclude --reload-delay",
                  .worker_flags = "--workers",
                  .worker_env = "WEB_CONCURRENCY",
                  .env = "UVICORN_RELOAD=false",
                  .off = "--reload"});
  // Tried with FastAPI's CLI 0.0.34, which has no flag for a socket; what it calls takes one.
  rows.push_back({.name = "fastapi",
                  .sub = "dev run",
                  .way = Way::launcher,
                  .launcher = Launcher::uvicorn_socket,
                  .host = "127.0.0.1",
                  .port = 8000,
                  .host_flags = "--host",
                  .port_flags = "--port",
                  .port_env = "PORT",
                  .drop = "--reload",
                  .drop_valued = "--reload-dir",
                  .worker_flags = "--workers",
                  .worker_env = "WEB_CONCURRENCY",
                  .add = "--no-reload",
                  .off = "--reload",
                  .note = "`uvicorn MODULE:app` would take a socket"});
  // Tried with Gunicorn 27. It takes LISTEN_FDS by itself; fd://3 beside them would be the same socket twice.
  rows.push_back({.name = "gunicorn",
                  .way = Way::listen_fds,
                  .host = "127.0.0.1",
                  .port = 8000,
                  .bind_flags = "-b --bind",
                  .port_env = "PORT",
                  .drop = "--reload",
                  .drop_valued = "--reload-engine --reload-extra-file",
                  .worker_flags = "-w --workers",
                  .worker_env = "WEB_CONCURRENCY",
                  .off = "--reload"});
  // Tried with Hypercorn 0.18.
  rows.push_back({.name = "hypercorn",
                  .way = Way::bind_fd,
                  .host = "127.0.0.1",
                  .port = 8000,
                  .bind_flags = "-b --bind",
                  .drop = "--reload",
                  .worker_flags = "-w --workers",
                  .off = "--reload"});
  // Tried with Daphne 4.2.
  rows.push_back({.name = "daphne",
                  .way = Way::fd_flag,
                  .host = "127.0.0.1",
                  .port = 8000,
                  .host_flags = "-b --bind",
                  .port_flags = "-p --port"});
  // Tried with Granian 2.8: no flag for a socket.
  rows.push_back({.name = "granian",
                  .host = "127.0.0.1",
                  .port = 8000,
                  .host_flags = "--host",
                  .port_flags = "--port",
                  .host_env = "GRANIAN_HOST",
                  .port_env = "GRANIAN_PORT",
                  .drop = "--reload",
                  .drop_valued = "--reload-paths --reload-ignore-dirs --reload-tick",
                  .worker_flags = "--workers",
                  .worker_env = "GRANIAN_WORKERS",
                  .env = "GRANIAN_RELOAD=false",
                  .off = "--reload"});
  // Tried with Waitress 3.0: sockets only from code.
  rows.push_back({.name = "waitress-serve",
                  .host = "0.0.0.0",
                  .port = 8080,
                  .host_flags = "--host",
                  .port_flags = "--port",
                  .bind_flags = "--listen"});
  // Tried with Django 5.2.
  rows.push_back({.name = "manage.py",
                  .sub = "runserver",
                  .host = "127.0.0.1",
                  .port = 8000,
                  .add = "--noreload",
                  .off = "reloader"});
  rows.push_back({.name = "django-admin",
                  .sub = "runserver",
                  .host = "127.0.0.1",
                  .port = 8000,
                  .add = "--noreload",
                  .off = "reloader"});
  // Tried with Celery 5.7: SIGTERM lets the main process finish its tasks, and ends a process of its pool in
  // the middle of one.
  rows.push_back({.name = "celery",
                  .sub = "worker beat",
                  .worker_flags = "-c --concurrency",
                  .binds = false,
                  .stop_main = true});
  // Tried with uWSGI 2.0.30. SIGTERM means reload to its master, or without one an end at once.
  rows.push_back(
      {.name = "uwsgi",
       .way = Way::uwsgi,
       .host = "0.0.0.0",
       .bind_flags = "--http-socket --http --socket -s --uwsgi-socket",
       .drop_valued = "--py-autoreload --py-auto-reload --python-autoreload --python-auto-reload",
       .worker_flags = "-p --processes --workers",
       .off = "--py-autoreload",
       .always = {"--master", "--need-app", "--hook-master-start=unix_signal:15 gracefully_kill_them_all"},
       .stop_main = true});
  rows.push_back({.name = "http.server", .host = "0.0.0.0", .port = 8000, .host_flags = "-b --bind"});
  return rows;
}

void add_javascript(std::vector<Row>& rows) {
  // Tried with Node 20. A script may listen on fd 3 by itself: `--listen` and {fd} are for that.
  rows.push_back(
      {.name = "node", .port_env = "PORT", .drop = kNodeReload, .off = "--watch", .own_words = true});
  // Not tried.
  rows.push_back(
      {.name = "bun", .port_env = "PORT", .drop = "--watch --hot", .off = "--watch", .own_words = true});
  rows.push_back({.name = "deno",
                  .sub = "serve",
                  .host = "0.0.0.0",
                  .port = 8000,
                  .host_flags = "--host",
                  .port_flags = "--port",
                  .drop = "--watch --watch-hmr --watch= --watch-hmr=",
                  .off = "--watch"});
  rows.push_back({.name = "deno", .drop = "--watch --watch-hmr --watch= --watch-hmr=", .off = "--watch"});
  // Tried with tsx 4; ts-node: not tried.
  rows.push_back({.name = "tsx", .port_env = "PORT", .drop = "watch", .off = "watch", .own_words = true});
  rows.push_back({.name = "ts-node", .port_env = "PORT"});
  // They put changed modules into the page by themselves: a restart would only be slower. Tried with Vite 8;
  // Next: not tried.
  rows.push_back({.name = "vite",
                  .sub = "preview",
                  .host = "127.0.0.1",
                  .port = 4173,
                  .host_flags = "--host",
                  .port_flags = "--port"});
  rows.push_back({.name = "vite",
                  .host = "127.0.0.1",
                  .port = 5173,
                  .host_flags = "--host",
                  .port_flags = "--port",
                  .include = kPages});
  rows.push_back({.name = "next",
                  .sub = "dev",
                  .host = "0.0.0.0",
                  .port = 3000,
                  .host_flags = "-H --hostname",
                  .port_flags = "-p --port",
                  .port_env = "PORT",
                  .ignore = ".next/",
                  .include = kPages});
}

void add_others(std::vector<Row>& rows) {
  // Rails, Puma and PHP: not tried. Puma would take LISTEN_FDS where its own address is exactly ours, and
  // bind a second socket where it is not: with --listen they are there.
  rows.push_back({.name = "rails",
                  .sub = "server s",
                  .host = "127.0.0.1",
                  .port = 3000,
                  .host_flags = "-b --binding",
                  .port_flags = "-p --port",
                  .port_env = "PORT"});
  rows.push_back({.name = "puma",
                  .host = "0.0.0.0",
                  .port = 9292,
                  .port_flags = "-p --port",
                  .port_env = "PORT",
                  .worker_flags = "-w --workers",
                  .worker_env = "WEB_CONCURRENCY"});
  rows.push_back({.name = "php", .bind_flags = "-S", .own_words = true});
  // Tried with Go 1.26 and Cargo 1.95: compiler and program are one child.
  rows.push_back({.name = "go",
                  .sub = "run",
                  .port_env = "PORT",
                  .note = "with --build 'go build -o app' -- ./app the old one serves while it builds"});
  rows.push_back(
      {.name = "cargo",
       .sub = "run r",
       .port_env = "PORT",
       .note = "with --build 'cargo build' -- target/debug/NAME the old one serves while it builds",
       .ignore = "target/ Cargo.lock"});
}

}  // namespace

const std::vector<Row>& runner_rows() {
  static const std::vector<Row> rows = [] {
    std::vector<Row> all = python_rows();
    add_javascript(all);
    add_others(all);
    return all;
  }();
  return rows;
}

const Row* row_of(const Argv& argv, const Program& program) {
  for (const Row& row : runner_rows()) {
    if (row.name != program.name) continue;
    const auto fits = [&](const std::string& word) { return has_word(row.sub, word); };
    const auto rest = argv.begin() + static_cast<std::ptrdiff_t>(program.at) + 1;
    if (row.sub.empty() || std::any_of(rest, argv.end(), fits)) return &row;
  }
  return nullptr;
}

}  // namespace runmain::config
