"""This process: whether it serves, and where its spans go.

Invariant: everything here belongs to one pid. A fork, seen by a hook or by the pid, makes a fresh Process: the child
has no role, no lane, no lock and nothing waiting of its parent's. Nothing in a claim raises into the program.
Non-goals: what leads to a claim (_serving, _runners, _sink).
"""
import os
import sys
from _thread import RLock

from . import _environment

when_granted = []  # called without arguments, in each process that gets a role
at_ends = []  # called without arguments, behind the ends of the program's providers

UNASKED, GRANTED, REFUSED, UNREACHABLE = "unasked", "granted", "refused", "unreachable"


class Process:
    def __init__(self, inherited_spans=frozenset(), parent_served=False, is_of_job=False):
        self.parent_served = parent_served
        self.is_of_job = is_of_job  # forked, and nobody it comes from has served but by its spans
        self.has_forked = False
        self.has_listened = False
        self.has_insisted = False  # asked explicitly
        self.serves_by_spans = False
        self.is_ending = False
        self.pid = os.getpid()
        self.is_launcher = False
        self.state = UNASKED
        self.why = ""
        self.role = None
        self.channel = None
        self.inherited_spans = inherited_spans  # the parent's to end
        self.lock = RLock()
        self._sink = None

    @property
    def sink(self):
        sink = self._sink
        if sink is None:
            with self.lock:
                if self._sink is None:
                    from ._sink import Sink

                    self._sink = Sink(self)
                    _at_exit_once()
                sink = self._sink
        return sink

    @property
    def serves(self):
        return self.state == GRANTED or not _environment.environment.supervised

    @property
    def is_settled(self):
        """Whether a connection that it gets says nothing new."""
        if self.state == GRANTED:
            return not self.serves_by_spans
        return self.state == UNREACHABLE or self.has_insisted or _environment.environment.void

    def claim(self, explicit, by_spans=False):
        """Asks for the role, once granted never again. Returns whether this process serves."""
        settings = _environment.environment
        if not settings.supervised:
            return True
        if self.state == GRANTED:
            self.serves_by_spans = self.serves_by_spans and by_spans
            return True
        if self.is_launcher and not explicit:
            return False
        with self.lock:
            if self.state != GRANTED:
                self.serves_by_spans = by_spans
                self._ask(settings, explicit)
        return self.state == GRANTED

    def _ask(self, settings, explicit):
        self.has_insisted = self.has_insisted or explicit
        if settings.void or not settings.channel:
            self.state, self.why = REFUSED, "the role is another process's, which started this one"
            return
        try:
            from . import _channel, _children
            import json  # noqa: F401: the channel's
        except ImportError as error:  # the program has changed its user or root, and files are out of reach
            self.state, self.why = UNREACHABLE, str(error)
            return
        try:
            self.channel = _channel.Channel(settings.channel, settings.nonce, explicit, _environment.VERSION)
        except _channel.Refused as error:
            self.state, self.why = REFUSED, str(error)
            return
        except Exception as error:  # no answer, or one of no known form
            self.state, self.why = UNREACHABLE, str(error)
            self.sink.go_elsewhere()  # a program that has changed its user may not connect
            return
        self.role = self.channel.role
        self.is_launcher = False
        _environment.wipe_nonce()
        _children.watch()
        self.sink.open(self.role)
        self.state = GRANTED
        for call in list(when_granted):
            try:
                call()
            except Exception as error:  # not the listening program's
                tell("at the claim", error)

    def leave_to_child(self):
        """What a forked child closes of its parent's."""
        if self.channel is not None:
            self.channel.sock.close()
        if self._sink is not None:
            self._sink.forget()


_told = set()


def tell(what, error=None):
    """Once for each `what`. Not by logging: it may lead back to us, with locks held."""
    if what in _told:
        return
    _told.add(what)
    _environment.complain("runmain: %s%s\n" % (what, "" if error is None else ": %s, ignoring" % _shown(error)))


def _shown(error):
    try:
        return repr(error)
    except Exception:  # a value of the program's is in it
        return type(error).__name__


_exit_pid = 0


def _at_exit_once():
    global _exit_pid
    if _exit_pid == 0:
        import atexit

        atexit.register(_at_exit)
    _exit_pid = os.getpid()


def _at_exit():
    """The spans of a short program that never listened. What ends after this waits for nothing."""
    process = current()
    process.is_ending = True
    with process.lock:  # a claim that is under way in another thread writes what has waited
        pass
    if process._sink is not None and process._sink.waiting:
        if process.state == REFUSED:  # who had the role may have ended
            process.state = UNASKED
        process._sink.claim_by_the_way()


def at_last():
    """Behind the ends of the program's providers."""
    for call in at_ends:
        try:
            call()
        except Exception as error:  # the others end all the same
            tell("a provider that was made for the program could not be ended", error)
    process = current()
    if process._sink is not None:
        process._sink.end_of_process()


_current = Process()


def current():
    if _current.pid != os.getpid():  # a fork in C that no hook saw
        _renew()
    return _current


def _renew():
    global _current
    parent = _current
    if parent.pid == os.getpid():
        return
    inherited = parent._sink.open_ids() if parent._sink is not None else frozenset()
    has_served = parent.has_listened or (parent.state == GRANTED and not parent.serves_by_spans)
    is_of_job = (parent.is_of_job or not parent.parent_served) and not has_served
    served = parent.parent_served or parent.has_listened or parent.state == GRANTED
    _current = Process(inherited | parent.inherited_spans, served, is_of_job)
    parent.leave_to_child()
    context = sys.modules.get("opentelemetry.context")
    if hasattr(context, "_RUNTIME_CONTEXT_LOCK"):  # SDKs before 1.24 take it in every call; a thread may have had it
        context._RUNTIME_CONTEXT_LOCK = RLock()
    random = sys.modules.get("random")
    if random is not None:
        random.seed()  # span ids come from here


def _note_fork():
    _current.has_forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew, after_in_parent=_note_fork)
