"""Reloaders within the program, of Werkzeug, Django, Uvicorn: off, runmain reloads; and their servers on our socket.

Invariant: what a program asks for to know that it is in a reloader's child is true, since it is in the process that
serves. Non-goal: who claims (_serving).
"""
import functools
import os
import sys

from . import _environment


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


def werkzeug(module):
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


def werkzeug_reloader(module):
    """Who calls it without run_simple(), as Flask-SocketIO does."""
    original = module.run_with_reloader
    if getattr(original, "_runmain", False) or not _is_reloader_needless():
        return

    @functools.wraps(original)
    def run_with_reloader(main_func, *_, **__):
        main_func()

    run_with_reloader._runmain = True
    module.run_with_reloader = run_with_reloader


def uvicorn(module):
    """uvicorn.run(…, reload=True) of a program; what its command line says, runmain has read before."""
    original = module.Config.__init__
    if getattr(original, "_runmain", False) or not _is_reloader_needless():
        return

    @functools.wraps(original)
    def __init__(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.reload = False
        if self.fd is None and self.uds is None:
            self.fd = own_fd(self.port)

    __init__._runmain = True
    module.Config.__init__ = __init__


def django_reloader(module):
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


def django_server(module):
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
