"""Runners: who of their processes serves, and who only starts others.

Invariants: an arbiter, supervisor or reloader's parent never claims; a worker claims explicitly, since several of one
program may serve. Reloaders within the program are off: runmain reloads. Non-goal: programs that just listen
(_serving).
"""
import functools
import os
import sys

from . import _environment, _imports, _process


def install():
    hooks = {
        "gunicorn.arbiter": _gunicorn_arbiter,
        "gunicorn.workers.base": _gunicorn_worker,
        "uvicorn.supervisors.multiprocess": lambda m: _launches(m.Multiprocess, "run"),
        "uvicorn.supervisors.basereload": lambda m: _launches(m.BaseReload, "run"),
        "uvicorn.server": lambda m: _serves_async(m.Server, "startup"),
        "hypercorn.run": _hypercorn,
        "hypercorn.asyncio.run": lambda m: _serves(m, "asyncio_worker", "uvloop_worker"),
        "hypercorn.trio.run": lambda m: _serves(m, "trio_worker"),
        "granian.server.mp": lambda m: _serves(m, "ASGIWorker", "RSGIWorker", "WSGIWorker"),
        "granian.server.mt": lambda m: _serves(m, "ASGIWorker", "RSGIWorker", "WSGIWorker"),
        "celery.concurrency.prefork": lambda m: _launches(m.TaskPool, "on_start"),
        "celery.signals": _celery,
        "watchfiles.run": lambda m: _launches(m, "run_process"),
        "werkzeug.serving": _werkzeug,
        "django.utils.autoreload": _django_reloader,
        "django.core.servers.basehttp": _django_server,
        "opentelemetry.instrumentation.auto_instrumentation": _opentelemetry_instrument,
    }
    for module, hook in hooks.items():
        _imports.when_imported(module, hook)


def launch():
    _process.current().is_launcher = True


def serve():
    return _process.current().claim(explicit=True)


def _wrap(owner, name, before):
    original = getattr(owner, name, None)
    if original is None or getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    def call(*args, **kwargs):
        before()
        return original(*args, **kwargs)

    call._runmain = True
    setattr(owner, name, call)


def _launches(owner, *names):
    for name in names:
        _wrap(owner, name, launch)


def _serves(owner, *names):
    for name in names:
        _wrap(owner, name, serve)


def _serves_async(owner, name):
    original = getattr(owner, name)
    if getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    async def call(*args, **kwargs):
        serve()
        return await original(*args, **kwargs)

    call._runmain = True
    setattr(owner, name, call)


# ---- gunicorn, hypercorn, celery


def _gunicorn_arbiter(module):
    _launches(module.Arbiter, "start")


def _gunicorn_worker(module):
    # After the fork; the application is loaded in here, unless it was preloaded.
    _serves(module.Worker, "init_process")


def _hypercorn(module):
    original = module.run
    if getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    def run(config):
        if config.workers != 0:
            launch()
        return original(config)

    run._runmain = True
    module.run = run


def _celery(module):
    module.worker_process_init.connect(celery_process_init, weak=False)
    module.worker_ready.connect(celery_ready, weak=False)


def celery_process_init(*args, **kwargs):
    """A pool's process is ready for tasks; also sent by the solo pool."""
    serve()


def celery_ready(*args, **kwargs):
    """Of a pool of threads, the main process serves; of a prefork pool, it does not."""
    if not _process.current().is_launcher:
        serve()


# ---- Werkzeug and Django: their reloaders, and our socket


def own_fd(port):
    """The listening socket of runmain for this port, or None."""
    import socket
    import stat

    for fd in _environment.environment.fds:
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            with socket.socket(fileno=os.dup(fd)) as sock:
                if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    continue
                name = sock.getsockname()
                if isinstance(name, tuple) and name[1] == port:
                    return fd
        except OSError:
            continue
    return None


def _is_reloader_needless():
    return _environment.environment.supervised and not _environment.environment.void


def _werkzeug(module):
    original = module.run_simple
    if getattr(original, "_runmain", False) or not _is_reloader_needless():
        return
    from_outside = os.environ.get("WERKZEUG_RUN_MAIN") == "true"
    if not from_outside:
        # What programs ask for before they start their tracing. run_simple() wants both variables or none.
        os.environ["WERKZEUG_RUN_MAIN"] = "true"

    @functools.wraps(original)
    def run_simple(hostname, port, application, *args, **kwargs):
        if args:
            args = (False,) + args[1:]
        else:
            kwargs["use_reloader"] = False
        if not from_outside or "WERKZEUG_SERVER_FD" not in os.environ:
            fd = own_fd(port)
            if fd is not None:
                os.environ["WERKZEUG_SERVER_FD"] = str(fd)
            else:
                os.environ.pop("WERKZEUG_RUN_MAIN", None)
        return original(hostname, port, application, *args, **kwargs)

    run_simple._runmain = True
    module.run_simple = run_simple


def _django_reloader(module):
    original = module.run_with_reloader
    if getattr(original, "_runmain", False) or not _is_reloader_needless():
        return
    os.environ.setdefault("RUN_MAIN", "true")

    @functools.wraps(original)
    def run_with_reloader(main_func, *args, **kwargs):
        import signal

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as theirs does
        main_func(*args, **kwargs)

    run_with_reloader._runmain = True
    module.run_with_reloader = run_with_reloader


def _django_server(module):
    import socket

    server = module.WSGIServer
    if getattr(server, "_runmain", False):
        return
    server._runmain = True
    bind = server.server_bind

    def server_bind(self):
        fd = own_fd(self.server_address[1]) if isinstance(self.server_address, tuple) else None
        if fd is None:
            return bind(self)
        self.socket.close()
        self.socket = socket.socket(fileno=os.dup(fd))
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = socket.getfqdn(self.server_address[0]), self.server_address[1]
        return self.setup_environ()

    server.server_bind = server_bind


# ---- opentelemetry-instrument


def _opentelemetry_instrument(module):
    """Its run() puts its own folder, with a sitecustomize, in front of ours and executes the program."""
    execute = getattr(module, "execl", None)
    if execute is None or getattr(execute, "_runmain", False):
        return
    theirs = os.path.dirname(os.path.abspath(module.__file__))
    ours = bootstrap_folder()

    def execl(*args):
        parts = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p not in (theirs, ours)]
        # Ours does what theirs would do, once, and in who serves only.
        os.environ["PYTHONPATH"] = os.pathsep.join([ours] + parts)
        os.environ["RUNMAIN_AUTO"] = "1"
        execute(*args)

    execl._runmain = True
    module.execl = execl


def bootstrap_folder():
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bootstrap")
