"""Forks, signals, and ends: what decides whether spans are still sent."""
import atexit
import os
import sys

from . import _records, _wraps

_SIGNALS = {2: "SIGINT", 9: "SIGKILL", 15: "SIGTERM"}


def start():
    # The first one that is registered runs first in the child: the SDK's own has not emptied its queues yet.
    os.register_at_fork(after_in_child=_records.safely(_records.check_fork))
    os._exit = _before(os._exit, _on_exit)
    os.abort = _before(os.abort, _on_abort)
    os.kill = _before(os.kill, _on_kill)
    os.killpg = _before(os.killpg, _on_killpg)
    os.execv = _before(os.execv, _on_exec)
    os.execve = _before(os.execve, _on_exec)
    come_first()


def come_first():
    """What is registered last runs first at the end: called again after the SDK has registered its shutdown."""
    atexit.unregister(_at_end)
    atexit.register(_at_end)


def _before(original, call):
    call = _records.safely(call)

    @_wraps.like(original)
    def wrapper(*args, **kwargs):
        call(*args, **kwargs)
        return original(*args, **kwargs)

    if original in os.supports_fd:
        os.supports_fd.add(wrapper)
    return wrapper


def _end(how, code=None):
    _records.write("exit", how=how, code=code, stack=_records.stack(), left_out=_records.left_out or None)


def _at_end():
    _records.write("exit", how="atexit", left_out=_records.left_out or None)


def _on_exit(status):
    _end("os._exit", int(status))


def _on_abort():
    _end("os.abort")


def _on_exec(path, *_):
    """It skips what is registered for the end, too. execvp() tries some that are not there."""
    if isinstance(path, int) or os.access(path, os.X_OK):
        _end("os.exec")


def _on_kill(pid, number, /):
    if number in (9, 15):
        _records.write("kill", to=int(pid), signal=_SIGNALS[number], stack=_records.stack())


def _on_killpg(group, number, /):
    _on_kill(-int(group), number)


# ---- handlers


def on_signal(module):
    original = module.signal

    @_wraps.like(original)
    def signal(signalnum, handler):
        before = original(signalnum, handler)
        _say(signalnum, handler)
        return before

    module.signal = signal


def on_asyncio(module):
    """Its handlers are called by the loop; what it gives to signal.signal() is none."""
    cls = module._UnixSelectorEventLoop
    original = cls.add_signal_handler

    @_wraps.like(original)
    def add_signal_handler(self, sig, callback, *args):
        original(self, sig, callback, *args)
        _say(sig, callback)

    cls.add_signal_handler = add_signal_handler


@_records.safely
def _say(number, handler):
    if number in (2, 15) and getattr(handler, "__name__", "") != "_sighandler_noop":
        _records.write("signal", signal=_SIGNALS[number], handler=_named(handler), stack=_records.stack())


def _named(handler):
    signal = sys.modules["signal"]
    for name in ("SIG_DFL", "SIG_IGN"):
        if handler == getattr(signal, name):
            return name
    inner = handler
    while type(inner).__name__ == "partial" and hasattr(inner, "func"):
        inner = inner.func
    code = getattr(getattr(inner, "__func__", inner), "__code__", None)
    if code is not None:
        return "%s:%d" % (code.co_filename, code.co_firstlineno)
    return getattr(inner, "__qualname__", None) or type(inner).__name__
