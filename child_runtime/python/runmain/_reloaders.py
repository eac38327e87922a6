"""Reloaders within the program, of Werkzeug, Django, Uvicorn: off, runmain reloads; and their servers on our socket.

Invariant: what a program asks for to know that it is in a reloader's child is true in the process that serves by that
runner, and nowhere else: not under another server, not in a command of Django's that does not serve, not in what such a
process starts. Non-goals: who claims (_serving), which command it is (_command).
"""
import functools
import os
import sys
import types

from . import _children, _command, _environment

_WERKZEUG, _WERKZEUG_FD, _DJANGO = "WERKZEUG_RUN_MAIN", "WERKZEUG_SERVER_FD", "RUN_MAIN"
_told_early = False  # WERKZEUG_RUN_MAIN is ours, and no run_simple() was seen yet


def own_fd(port):
    """The listening socket of runmain for this port, or None."""
    for fd in _environment.environment.fds:
        name = _address(fd)
        if isinstance(name, tuple) and name[1] == port:
            return fd
    return None


def _address(fd):
    """Of a listening socket; None: it is none."""
    import socket
    import stat

    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return None
        with socket.socket(fileno=os.dup(fd)) as sock:
            return sock.getsockname() if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) else None
    except OSError:
        return None


def _is_reloader_needless():
    return _environment.environment.supervised and not _environment.environment.void


def _say_here(name, value):
    """For this program's eyes: what it starts has the environment of C, which does not get it, nor do copies."""
    try:
        os.environ._data[os.environ.encodekey(name)] = os.environ.encodevalue(value)
    except AttributeError:  # not CPython's os.environ
        os.environ[name] = value
    _children.said(name, value)


def werkzeug(module):
    global _told_early
    original = module.run_simple
    if getattr(original, "_runmain", False):
        return
    from_outside = os.environ.get(_WERKZEUG) == "true"
    if not _is_reloader_needless():
        if from_outside and not _has_server_fd():  # a helper of who serves, with a copy of its environment
            _forget_werkzeug()
        return
    if not from_outside and _command.may_run_werkzeug() and not _is_other_server():
        _say_here(_WERKZEUG, "true")  # what programs ask for before they start their tracing
        _told_early = True

    @functools.wraps(original)
    def run_simple(hostname, port, application, *args, **kwargs):
        global _told_early
        _raise_hidden(application)
        _told_early = False
        if args:
            args = (False,) + args[1:]
        else:
            kwargs["use_reloader"] = False
        if not from_outside or not _has_server_fd():
            _tell_server_fd(own_fd(port))
        return original(hostname, port, application, *args, **kwargs)

    run_simple._runmain = True
    module.run_simple = run_simple


def _has_server_fd():
    text = os.environ.get(_WERKZEUG_FD, "")
    return text.isdigit() and _address(int(text)) is not None


def _tell_server_fd(fd):
    """run_simple() wants both variables or none."""
    if fd is None:
        _forget_werkzeug()
    else:
        _say_here(_WERKZEUG, "true")
        _say_here(_WERKZEUG_FD, str(fd))


def _forget_werkzeug():
    for name in (_WERKZEUG, _WERKZEUG_FD):
        os.environ.pop(name, None)


def _raise_hidden(application):
    """In a reloader's child `flask run` would serve an app that could not be imported as its traceback, and take the
    place of the generation that works."""
    if getattr(application, "__module__", "") != "flask.cli":
        return
    if isinstance(application, types.FunctionType):
        for cell in application.__closure__ or ():
            if isinstance(cell.cell_contents, BaseException):
                raise cell.cell_contents from None  # as the command would have
    elif hasattr(application, "_load_unlocked"):  # before Flask 2.2 it is imported in a thread
        with application._lock:
            if application._app is None:
                application._flush_bg_loading_exception()
                application._load_unlocked()


def _is_other_server():
    runners = sys.modules.get(__package__ + "._runners")
    return runners is not None and runners.is_known


def not_werkzeug():
    """Another server runs the program, though it was no known command."""
    global _told_early
    if _told_early:
        _told_early = False
        os.environ.pop(_WERKZEUG, None)


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
    if _command.runs_django_server() and _DJANGO not in os.environ:
        _say_here(_DJANGO, "true")

    @functools.wraps(original)
    def run_with_reloader(main_func, *args, **kwargs):
        import signal

        if _DJANGO not in os.environ:  # another command that wants to be reloaded
            _say_here(_DJANGO, "true")
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
