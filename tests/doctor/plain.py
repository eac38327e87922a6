"""A case without the doctor: does the program show in plain life what it is said to suffer from?

For each cause a sign that can be seen from the spans at the collector, the program's output, its end or /proc. A sick
program must show the sign of each of its causes; a clean one none that tells of wrong spans.
"""
import collections
import concurrent.futures
import os
import secrets
import signal
import time

import load
import sink

REQUESTS, AT_A_TIME = 30, 8
SERVES_S = 60
STOP_S = 15
LATE_S = 4          # an end that takes so long was delayed
SETTLED_S = 3       # for the spans of the requests, before the last one and the end
MORE = {"OTEL_BSP_SCHEDULE_DELAY": "300", "OTEL_LOG_LEVEL": "error",
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "otel,process",
        "OTEL_NODE_RESOURCE_DETECTORS": "env,process,serviceinstance"}


class Seen:
    """What a run has shown."""

    def __init__(self, place):
        self.place = place
        self.traces, self.last, self.initialised, self.processes, self.injected = [], None, 0, 0, False
        self.stop_s = self.status = None

    def read(self):
        place = self.place
        self.spans = place.sink.of_programs()
        self.log = place.text("out") + place.text("err")
        self.audit = len(place.audit.of_programs())
        self.left = len(place.pids())
        self.by_id = collections.defaultdict(list)
        for span in self.spans:
            self.by_id[span.trace, span.id].append(span)
        self.server = collections.Counter(trace for (trace, _), many in self.by_id.items() if many[0].kind == sink.SERVER)

    def copies(self):
        return sum(len(many) - 1 for many in self.by_id.values())

    def pids(self):
        return {span.resource.get("process.pid") for span in self.spans}

    def ids(self):
        return {span.resource.get("service.instance.id") for span in self.spans}

    def unseen(self):
        return sum(self.server[trace] == 0 for trace in self.traces)

    def lost(self):
        """The last request, just before the end, has no span."""
        return (self.server[self.last] if self.last else 0) == 0

    def doubled(self):
        """How many requests have two spans of the server, or one within it of the same name."""
        inner = collections.Counter({trace: 1 for trace, n in self.server.items() if n > 1})
        for span in (many[0] for many in self.by_id.values()):
            above = span
            while above := self.by_id.get((above.trace, above.parent), [None])[0]:
                if above.kind == sink.SERVER and (span.kind == sink.SERVER or span.name == above.name):
                    inner[span.trace] += 1
        return len(inner)

    def named(self, name):
        return [many[0] for many in self.by_id.values() if many[0].name == name]

    def told(self):
        names = collections.Counter((span.scope.rsplit(".", 1)[-1], span.name, span.kind) for span in self.spans)
        words = [f"{n} × {scope}: {name} ({kind})" for (scope, name, kind), n in sorted(names.items())]
        end = "killed" if self.stop_s is None else f"status {self.status} after {self.stop_s:.1f} s"
        return (f"{len(self.traces)} requests, {len(self.spans)} spans of {len(self.pids())} pids, {len(self.ids())} instance ids; "
                f"{self.unseen()} requests without, {self.doubled()} with two; {self.copies()} copies; "
                f"{self.initialised} of {self.processes} processes initialised; {end}, {'without' if self.lost() else 'with'} the last request; {self.left} left"
                + (f"; audit {self.audit}" if self.audit else "") + ("; " + ", ".join(words) if words else ""))


def maps(pid, word):
    try:
        with open(f"/proc/{pid}/maps") as file:
            return word in file.read()
    except OSError:
        return False


def words(pid, word):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return word in file.read().split("\0")
    except OSError:
        return False


def look(place, seen):
    """At the processes while they serve. Initialised: OTLP's protobuf is loaded, or Node's register was asked for."""
    live = place.pids()
    seen.processes = len(live)
    node = "register" in place.environment.get("NODE_OPTIONS", "")
    # Node's own watcher loads no --require in its parent.
    seen.initialised = sum(not words(pid, "--watch") for pid in live) if node else sum(maps(pid, "google/_upb") for pid in live)
    seen.injected = any(maps(pid, "libotelinject.so") for pid in live)


def answers(place, seen):
    """Sends a request of a trace of its own; true, and noted, if it is answered."""
    trace = secrets.token_hex(16)
    try:
        load.asked(place.port, trace)
    except OSError:
        return False
    seen.traces.append(trace)
    return True


def run(place):
    """Starts the case's command, sends it requests, ends it by SIGTERM: a Seen, or None if it never served."""
    seen = Seen(place)
    place.start([], MORE.items())
    end = time.monotonic() + SERVES_S
    while not answers(place, seen):
        if time.monotonic() > end or place.process.poll() is not None:
            return None
        time.sleep(0.1)
    # Several at a time, so that each of the workers has some.
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as threads:
        if not all(threads.map(lambda _: answers(place, seen), range(REQUESTS))):
            return None
    look(place, seen)
    time.sleep(SETTLED_S)
    seen.last = secrets.token_hex(16)
    load.asked(place.port, seen.last)
    started = time.monotonic()
    os.kill(place.process.pid, signal.SIGTERM)
    seen.status = place.wait(STOP_S)
    if seen.status is not None:
        while len(place.pids()) and time.monotonic() < started + STOP_S:    # those whom it left to end by themselves
            time.sleep(0.05)
        seen.stop_s = time.monotonic() - started
    time.sleep(0.2)
    seen.read()
    return seen


def refused(seen):
    return "Overriding of current TracerProvider" in seen.log or "duplicate registration of API: trace" in seen.log


def nothing(seen):
    return seen.unseen() == len(seen.traces)


def siblings(seen):
    return any(a.parent == b.parent for a in seen.named("checkout") for b in seen.named("charge") if a.trace == b.trace)


def forked(seen):
    return refused(seen) or seen.copies() > 0


SIGNS = {
    "double-init": refused,
    "auto-and-manual": lambda s: s.doubled() > 0,
    "exporter-twice": lambda s: s.copies() > 0,
    "reloader-both": lambda s: s.initialised > 1,
    "preload-fork": forked,
    "wrong-process": nothing, "too-late": nothing, "nothing-instrumented": nothing, "refused-after-fork": nothing,
    "shared-instance-id": lambda s: len(s.pids()) > 1 and len(s.ids()) == 1,
    "sigterm-swallowed": lambda s: s.stop_s is None,
    "lost-at-exit": lambda s: s.lost() or (s.named("GET /") and not s.named("resize")),
    "dead-collector": lambda s: (s.stop_s or STOP_S) > LATE_S,
    "never-activated": siblings,
    "never-ended": lambda s: len(s.traces) > s.unseen() and not s.named("greet"),
    "repeated-ids": lambda s: len({span.resource.get("process.pid") for span in s.named("load the catalogue")}) < 2
    and s.copies() > 0,
    "sdk-and-injector": lambda s: s.injected,
}


WITH_SPANS = {"double-init", "auto-and-manual", "exporter-twice", "preload-fork", "shared-instance-id", "never-activated",
              "never-ended", "repeated-ids", "sdk-and-injector", "lost-at-exit", "sigterm-swallowed"}


def faults(case, which, seen):
    """What this run does not show, or shows though it should not."""
    if seen is None:
        return ["it never served"]
    expected = case.expects(which)
    wrong = [f"no sign of {cause}" for cause in sorted(expected) if not SIGNS[cause](seen)]
    if expected & WITH_SPANS and seen.unseen():
        wrong.append(f"{seen.unseen()} requests without a span")
    if not expected:
        wrong += [f"{n} {what}" for n, what in ((seen.copies(), "spans came twice"), (seen.doubled(), "requests with two spans"),
                                                (seen.left, "processes left"), (seen.unseen(), "requests without a span")) if n]
    return wrong
