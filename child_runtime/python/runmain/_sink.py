"""Where the spans of this process go: they wait for the role, and are in the mailbox then.

Invariants: a span that has ended is in the mailbox before its end returns, once the role is there; before, at most
WAITING_MAX wait, and what finds no room is counted. One lane for each resource, under one lock for all threads: an
uncontended lock costs 0.1 us and a thread's lane would have to be given back at the thread's end. A signal handler or
finalizer that ends a span in the middle of another's end hands it over to that one. Nothing raises into the program: a
span that cannot be written is counted as lost, its slot is free again, and the first of a kind is told, outside of the
lock. There is a thread only while spans wait that may claim, for IMPLICIT_AFTER. Non-goal: OTLP (_encode).
"""
import os
import sys
import time
from _thread import RLock
from collections import deque

from . import _encode, _environment, _mailbox, _process
from ._lanes import Lanes

WAITING_MAX = 2048
DEFERRED_MAX = 256
OPEN_MAX = 65536  # open spans that are known
IMPLICIT_AFTER = 1.0  # seconds that spans wait in a service that has no listener before they claim
WITHHELD_MAX = 60.0  # seconds for a program's own exporter to hand on something of what is withheld

_SERVER = 1  # SpanKind
WAITING, ON, ELSEWHERE = "waiting", "on", "elsewhere"  # elsewhere: no mailbox, the program's exporters work
_NO_PARENT = bytes(8)
when_elsewhere = []  # called with what waited if a role came without a mailbox


class Sink:
    def __init__(self, process):
        self._process = process
        self.pid = process.pid
        self.state = WAITING
        self.waiting = deque()
        self._waiting_since = 0.0
        self._has_served = False  # a span of a server waits
        self._has_timer = False
        self._withheld = 0  # nothing of the program's own exporters has come out so far
        self._withheld_since = 0.0
        self._has_handed = False
        self._lock = RLock()
        self._busy = False
        self._deferred = deque()
        self._open = {}  # span id -> (lane, slot), or None before there is a lane
        self._started = 0
        self._not_serving = 0
        self._mailbox = None
        self._instance_id = ""
        self._lanes = None  # with the mailbox
        self._troubles = []  # (what, error) to be told when the lock is free

    # ---- of spans

    def start(self, span):
        try:
            self._start(span)
        except Exception as error:
            _process.tell("the start of a span could not be written", error)
        if self._troubles:
            self._tell_troubles()

    def _start(self, span):
        context = span.get_span_context()
        if not context.trace_flags.sampled:
            return
        with self._lock:
            if self._busy or self.state is not ON:
                self._started += 1
                if len(self._open) < OPEN_MAX:
                    self._open[context.span_id] = span if self.state is WAITING else None
                return
            self._busy = True
            try:
                self._begin(span, context)
            finally:
                self._busy = False
                if self._deferred:
                    self._put_deferred()

    def _begin(self, span, context):
        lane = self._lanes.of(span.resource)
        if lane is None:
            return
        lane.count_started(1 + self._started)
        self._started = 0
        if len(self._open) >= OPEN_MAX:
            return
        parent = span.parent
        slot = lane.open_span(
            _encode.time_of(span.start_time),
            context.trace_id.to_bytes(16, "big"),
            context.span_id.to_bytes(8, "big"),
            parent.span_id.to_bytes(8, "big") if parent is not None else _NO_PARENT,
            self._lanes.scope(lane, span.instrumentation_scope),
            _encode.flags_of(context, parent),
            span.kind.value + 1,
            _encode.text_bytes(span.name or ""),
        )
        self._open[context.span_id] = (lane, slot) if slot >= 0 else None

    def end(self, span):
        try:
            self._end(span)
        except Exception as error:
            _process.tell("the end of a span could not be written", error)
        if self._troubles:
            self._tell_troubles()

    def _end(self, span):
        context = span.context
        if not context.trace_flags.sampled:
            return
        if self._process.inherited_spans and context.span_id in self._process.inherited_spans:
            self._open.pop(context.span_id, None)
            return  # of the process that forked this one, which ends it, too
        if self.state is WAITING:
            self._wait(span)
            return
        if self.state is not ON:
            self._open.pop(context.span_id, None)
            return
        self._put_now((span.resource, span.instrumentation_scope, context.span_id, self._encoded(span)))

    def _encoded(self, span):
        """None: it cannot be."""
        try:
            return _encode.encode_span(span)
        except Exception as error:  # a span of no known form
            self._troubles.append(("a span could not be encoded and is lost", error))
            return None

    def _note(self, what, error):
        self._troubles.append((what, error))

    def _tell_troubles(self):
        troubles, self._troubles = self._troubles, []
        for what, error in troubles:
            _process.tell(what, error)

    # ---- of spans that a program's own exporter hands on

    def withhold(self, span):
        """A span that is not to be seen as it is. One that began before that was known is counted as lost, and so is
        each as long as nothing ever comes out of the program's exporter: it may be none that hands on."""
        try:
            if not span.context.trace_flags.sampled:
                return
            if span.context.span_id in self._open:
                self._lose(span)
            elif not self._has_handed and self.state is not ELSEWHERE:
                self._count_withheld()
        except Exception as error:
            _process.tell("the end of a span could not be counted", error)

    def _lose(self, span):
        if self.state is WAITING:
            with self._lock:
                self._open.pop(span.context.span_id, None)
                self._not_serving += 1
        elif self.state is ON:
            self._put_now((span.resource, span.instrumentation_scope, span.context.span_id, None))

    def _count_withheld(self):
        with self._lock:
            if self._withheld_since == 0.0:
                self._withheld_since = time.monotonic()
            self._withheld += 1
            late = time.monotonic() - self._withheld_since > WITHHELD_MAX
        if late and self.state is ON and self._lose_withheld():
            _process.tell("nothing comes out of what the program has put around an OTLP exporter: its spans are lost")

    def note_handed(self):
        self._has_handed = True
        self._withheld = 0

    def _lose_withheld(self):
        """Whether there were some."""
        with self._lock:
            if self._busy or not self._withheld:
                return False
            self._busy = True
            try:
                lane = self._lanes.any()
                if lane is not None:
                    lane.count_started(self._withheld)
                    lane.count_lost(_mailbox.LOST_NOT_SERVING, self._withheld)
                    self._withheld = 0
            finally:
                self._busy = False
                if self._deferred:
                    self._put_deferred()
        return lane is not None

    def end_of_process(self):
        if self._withheld and not self._has_handed:
            self.claim_by_the_way()
            if self.state is ON:
                self._lose_withheld()

    # ---- into the mailbox

    def _put_now(self, ended):
        with self._lock:
            if self._busy:
                if len(self._deferred) < DEFERRED_MAX:
                    self._deferred.append(ended)
                else:
                    self._not_serving += 1
                return
            self._busy = True
            try:
                self._put(ended)
            finally:
                self._busy = False
                if self._deferred:
                    self._put_deferred()
        self._mailbox.wake_reader()

    def _put_deferred(self):
        while self._deferred:
            self._busy = True
            try:
                self._put(self._deferred.popleft())
            finally:
                self._busy = False

    def _put(self, ended):
        resource, scope, span_id, encoded = ended
        opened = self._open.pop(span_id, None)
        try:
            lane = self._lanes.of(resource)
            if lane is None:
                self._mailbox.count_no_lane()
            elif encoded is None:
                lane.count_lost(_mailbox.LOST_NO_MEMORY)
            else:
                lane.write_span(self._lanes.scope(lane, scope), encoded)
        finally:
            if type(opened) is tuple:
                opened[0].close_span(opened[1])

    # ---- before the role is there

    def _wait(self, span):
        process = self._process
        with self._lock:
            waits = self.state is WAITING
            if waits:
                self._open.pop(span.context.span_id, None)
                self._add_waiting(("span", span))
                self._has_served = self._has_served or getattr(span.kind, "value", None) == _SERVER
                late = time.monotonic() - self._waiting_since > IMPLICIT_AFTER
        if not waits:  # the role came meanwhile
            self._end(span)
        elif late or process.is_ending or "uwsgi" in sys.modules or self._is_fork_at_work():
            self.claim_by_the_way()
        elif self._may_claim() and not self._has_timer:
            self._claim_in_time()

    def _is_fork_at_work(self):
        """What is forked for some work may end in the middle of things, right after it."""
        process = self._process
        if _environment.environment.has_listeners or not process.is_of_job:
            return self._has_served and process.parent_served
        return True

    def _claim_in_time(self):
        """No other span may ever end, and no end of the process be seen (a signal's default action, os._exit)."""
        self._has_timer = True
        import threading

        try:
            # Not in the thread: a fork in the middle of its import would leave the child a lock that nobody opens.
            import json  # noqa: F401

            from . import _channel, _exporters  # noqa: F401
        except ImportError:
            pass  # out of reach; the claim says so
        try:
            threading.Thread(target=self._claim_later, name="runmain-claim", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter ends
            self.claim_by_the_way()

    def _claim_later(self):
        time.sleep(IMPLICIT_AFTER)
        if self.state is WAITING:
            self.claim_by_the_way()

    def _add_waiting(self, item):
        if not self.waiting:
            self._waiting_since = time.monotonic()
        if len(self.waiting) < WAITING_MAX:
            self.waiting.append(item)
        elif item[0] == "span":
            self._not_serving += 1

    def claim_by_the_way(self):
        """A service without a listener never listens, and some servers accept in C or let a forked child answer: their
        spans claim. Refused where another process has the role, but for forks: of one which has served, and among
        each other in a service that has no listener; and for who listens and answers."""
        process = self._process
        if not self._may_claim():
            return
        if "uwsgi" in sys.modules:  # it accepts in C; its module is there before any of our hooks could see it
            if getattr(sys.modules["uwsgi"], "worker_id", int)() > 0:
                process.claim(explicit=True)
            return
        has_peers = process.has_forked and not _environment.environment.has_listeners
        is_one_of_several = has_peers or self._is_fork_at_work() or process.state == _process.REFUSED
        process.claim(explicit=is_one_of_several, by_spans=not self._has_served)

    def _may_claim(self):
        process, settings = self._process, _environment.environment
        if process.is_launcher or settings.void:
            return False
        if process.state == _process.REFUSED:
            return self._has_served and process.has_listened and not process.is_settled
        if process.state != _process.UNASKED:
            return False
        return self._has_served or not settings.has_listeners or "uwsgi" in sys.modules

    # ---- of other signals

    def request(self, signal, encoded):
        """An Export...ServiceRequest, 0: traces, 1: metrics, 2: logs. False: it found no room."""
        with self._lock:
            if self._busy or self.state is not ON:
                return False
            self._busy = True
            try:
                lane = self._lanes.any()
                done = lane is not None and lane.write_request(signal, encoded)
            finally:
                self._busy = False
                if self._deferred:
                    self._put_deferred()
        self._mailbox.wake_reader()
        return done

    def wait_for_role(self, kind, item):
        """A "log", or a "handed" span, on from a program's exporter. False: it found no room."""
        with self._lock:
            found_room = self.state is WAITING and len(self.waiting) < WAITING_MAX
            if found_room:
                self._add_waiting((kind, item))
        return found_room

    # ---- the role

    def go_elsewhere(self):
        """There is no channel: the program exports by itself, to where its environment says."""
        with self._lock:
            if self.state is not WAITING:
                return
            waiting, self.waiting = self.waiting, deque()
            self.state = ELSEWHERE
        _call_elsewhere(waiting)

    def open(self, role):
        try:
            self._open_role(role)
        except Exception as error:
            _process.tell("what has waited for the role could not be written", error)
        self._tell_troubles()

    def _open_role(self, role):
        if self.state is ELSEWHERE:  # asked for again; its exporters work by now
            for fd in (role.mailbox, role.wake):
                if fd >= 0:
                    os.close(fd)
            return
        if role.mailbox >= 0:
            try:
                self._mailbox = _mailbox.Mailbox(role.mailbox, role.wake)
                if _environment.environment.is_executed:
                    self._mailbox.close_lanes_of_before()
            except Exception as error:
                _process.tell("the mailbox cannot be used", error)
        self._instance_id = self._own_instance_id(role.instance_id)
        self._lanes = Lanes(self._mailbox, self.resource_attributes(), self._note)
        with self._lock:
            self._busy = True
            waiting, self.waiting = self.waiting, deque()
            self.state = ON if self._mailbox is not None else ELSEWHERE
            try:
                if self.state is ON:
                    self._write_waiting(waiting)
            finally:
                self._busy = False
        if self.state is ON:
            self._put_requests(waiting)
            self._put_deferred()
            self._mailbox.wake_reader()
        else:
            _call_elsewhere(waiting)

    def _write_waiting(self, waiting):
        for kind, item in waiting:
            if kind == "span":
                self._put((item.resource, item.instrumentation_scope, item.context.span_id, self._encoded(item)))
        for span_id, span in list(self._open.items()):
            if span is None:
                continue
            self._open[span_id] = None
            self._started -= 1  # _begin counts it
            try:
                self._begin(span, span.get_span_context())
            except Exception as error:
                self._troubles.append(("the start of a span could not be written", error))
        if self._started or self._not_serving:
            lane = self._lanes.any()
            if lane is not None:
                lane.count_started(self._started)
                lane.count_lost(_mailbox.LOST_NOT_SERVING, self._not_serving)
                self._started = self._not_serving = 0

    def _put_requests(self, waiting):
        for kind, item in waiting:
            if kind != "span":
                from . import _exporters

                _exporters.write_waited(self, kind, item)

    def _own_instance_id(self, of_worker):
        """Each process that serves has an id of its own: the worker's, with another last group."""
        number = self._mailbox.number if self._mailbox is not None else 0
        head, _, group = of_worker.rpartition("-")
        if number == 0 or len(of_worker) != 36 or len(group) != 12:
            return of_worker
        try:
            return "%s-%012x" % (head, int(group, 16) ^ number)
        except ValueError:
            return of_worker

    def resource_attributes(self):
        """What replaces attributes of a program's resource."""
        settings = _environment.environment
        return {
            "service.instance.id": self._instance_id,
            "runmain.worker": settings.worker,
            "runmain.generation": settings.generation,
            "process.pid": self.pid,
        }

    # ---- a fork

    def open_ids(self):
        return frozenset(self._open)

    def forget(self):
        self.state = WAITING
        if self._mailbox is not None:
            self._mailbox.forget()


def _call_elsewhere(waiting):
    for call in when_elsewhere:
        try:
            call(waiting)
        except Exception as error:
            _process.tell("the program's exporters could not be made", error)
