"""One example in a world of its own: its folder on the world's port, a client that knows who answers, and the verdict."""
import collections
import os
import re
import secrets
import shutil
import subprocess
import time

import judge
import load
import sink
import sockets
import world

EXAMPLES = os.path.join(world.HERE, "../../examples")
GENERATIONS = 3
REQUESTS = 10           # in each generation, at least
SILENT_S = 0.08         # a server that drains closes a connection that says nothing for 100 ms: docs/sessions.md
ACCEPTED_S = 0.3        # for the others of connections at once
SETTLED_S = 0.3         # a generation that has answered lives for so long
TASKS = 10              # for Celery, in each generation
QUIET_S = 6             # plain: the SDK's own batches
NOBODY = "http://127.0.0.1:1"       # refuses
JOB_SPANS = 16          # of asyncio/: 4 requests with 3 images each


class ExampleWorld(world.World):
    def __init__(self, example, environment, options):
        super().__init__(example, environment, options)
        if example.language == "node":
            self.environment["PORT"] = str(self.port)
        source, self.file = f"{EXAMPLES}/{example.file}".rsplit("/", 1)
        shutil.copytree(source, self.folder, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("node_modules", "__pycache__", "queue", "control"))
        for folder, _, names in os.walk(self.folder):
            for name in names if "node_modules" not in folder else ():
                self.place(os.path.join(folder, name))

    def place(self, path):
        with open(path) as file:
            text = file.read()
        for word in ("port=8000", "127.0.0.1:8000"):
            text = text.replace(word, word.replace("8000", str(self.port)))
        text = text.replace("app.run(debug=True", f"app.run(debug=True, port={self.port}")
        text = text.replace("http://localhost:4318", self.environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", NOBODY))
        with open(path, "w") as file:
            file.write(text)

    def begin(self):
        if not self.options.plain:
            self.start_under("1" if self.case.auto else "0")
        elif self.case.auto:
            self.start_plain()
        else:
            self.environment["OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"] = "otel,process"
            self.start("exec " + self.case.words(self.port, True), self.environment)

    def save(self):
        """As editors do it, by a rename; another text, so that it is a change."""
        path = f"{self.folder}/{self.file}"
        self.saves += 1
        with open(path) as file:
            text = file.read()
        with open(path + ".new~", "w") as file:
            file.write(f"{text}\n{'//' if path.endswith('.js') else '#'} save {self.saves}\n")
        os.rename(path + ".new~", path)

    def renew(self):
        """New code, and who has to be told is told."""
        self.save()
        if not self.case.under.startswith("dev"):
            self.reload()


class Client(load.Answers):
    """Asks, and looks up which process has accepted the connection: examples do not say who they are."""

    def __init__(self, w):
        super().__init__()
        self.world = w

    def served(self):
        return set(self.pids.values())

    def accepted(self, connection, patience):
        """The pid, or None if nobody accepts within so many seconds, or the connection is gone."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            inode = sockets.inode_of(connection, self.world.port)
            found = sockets.holders(inode, self.world.pids()) if inode else []
            if len(found) == 1:
                return found[0]
            if inode is None:
                break
            time.sleep(0.01)
        return None

    def ask(self):
        """As many requests at once as processes serve: each is to get one, also where one process takes one at a time."""
        waiting = []
        for _ in range(self.world.case.processes):
            try:
                waiting.append((load.connected(self.world.port), time.monotonic()))
            except OSError as fault:
                self.miss(fault)
        known = [(self.accepted(connection, ACCEPTED_S), connection, opened) for connection, opened in waiting]
        for pid, connection, opened in sorted(known, key=lambda one: one[0] is None):
            self.exchange(connection, opened, pid)

    def exchange(self, connection, opened, pid):
        trace = secrets.token_hex(16)
        with connection:
            pid = pid or self.accepted(connection, load.TIMEOUT_S)
            silent = time.monotonic() - opened
            try:
                load.answer(connection, trace)
                self.pids[trace] = pid
            except OSError as fault:
                if silent < SILENT_S:       # else it was we who took too long to find out whose it is
                    self.miss(fault, trace)

    def miss(self, fault, trace=""):
        if self.pids:           # before the first answer nothing is lost
            self.lost.append((trace, f"{type(fault).__name__}: {fault}"))
        time.sleep(0.02)

    def until(self, processes, old):
        """True once so many have answered that are not of the old ones; they then answer some more."""
        end = time.monotonic() + load.GUARD_S
        while len(self.served() - old) < processes:
            if time.monotonic() > end:
                return False
            self.ask()
        count = len(self.pids)
        while len(self.pids) < count + REQUESTS and time.monotonic() < end:
            self.ask()
        return True


def serve(w):
    """(verdict, answers) of a server: asked and reloaded."""
    client, case = Client(w), w.case
    generations = 0
    for number in range(1 if w.options.plain else GENERATIONS):
        old = client.served()
        if number:
            time.sleep(SETTLED_S)
            w.renew()
        if not client.until(case.processes, old):
            break
        generations += 1
    time.sleep(QUIET_S if w.options.plain else SETTLED_S)
    stopped = w.stop()
    verdict = judge.judged(case, client, w.arrived(client), w.witness(), generations)
    verdict.faults[:0] = {0: ["nobody serves"], GENERATIONS: []}.get(generations, [f"reload {generations} did not come"])
    if stopped is None:
        verdict.faults.append("did not end at SIGTERM")
    if case.printed:
        look_at_terminal(w, client, verdict)
    verdict.lost_why = sorted({why for _, why in client.lost})[:3]
    return verdict


def look_at_terminal(w, client, verdict):
    """What the program prints by itself is there as often as without anybody in between."""
    with open(w.log_path, errors="replace") as file:
        printed = collections.Counter(re.findall(r'"trace_id": "0x([0-9a-f]{32})"', file.read()))
    wrong = [trace for trace in client.pids if printed[trace] != w.case.printed]
    if wrong:
        counts = sorted({printed[trace] for trace in wrong})
        verdict.faults.append(f"{len(wrong)} requests with {counts} spans on the terminal, not {w.case.printed}")


# ---- programs that are asked for nothing


def until_spans(w, count):
    """Waits for so many spans, and for more that should not come."""
    end = time.monotonic() + load.GUARD_S
    while len(w.sink.of_programs()) < count and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(SETTLED_S)


def figures(w, spans, generations):
    """A verdict of what holds for every program: nothing twice, and who has spans has an instance id of its own."""
    once = {(span.trace, span.id): span for span in spans}
    ids = {(span.resource.get("process.pid"), span.resource.get("service.instance.id")) for span in once.values()}
    providers = {pid for pid, what in w.witness() if what == "provider"}
    v = judge.Verdict(requests=len(once), serving=len({pid for pid, _ in ids}), generations=generations,
                      initialised=len(providers | {pid for pid, _ in ids}), ids=len({one for _, one in ids}),
                      copies=len(spans) - len(once))
    v.lost_why = []
    if v.copies:
        v.faults.append(f"{v.copies} spans came twice")
    if not v.ids == len(ids) == v.serving:
        v.faults.append(f"{v.serving} processes with {v.ids} instance ids")
    return v


def job(w):
    """A program that ends by itself: it runs once a generation. Its "resize" spans nest, or are the program's fault."""
    generations = 1 if w.options.plain else GENERATIONS
    for number in range(generations):
        if number:
            w.renew()
        until_spans(w, JOB_SPANS * (number + 1))
    w.stop()
    spans = w.sink.of_programs()
    v = figures(w, spans, generations)
    if len(spans) != JOB_SPANS * generations:
        v.faults.append(f"{len(spans)} spans, not {JOB_SPANS} × {generations}")
    if v.initialised != v.serving or v.ids != generations:
        v.faults.append(f"{v.initialised} processes initialised, {v.ids} instance ids in {generations} runs")
    look_at_nesting(w.case, spans, v)
    return v


def look_at_nesting(case, spans, v):
    """Mended: each is below the request that wants its image. Broken: each is a trace of its own."""
    requests = {span.id: span for span in spans if span.name == "request"}
    images = [span for span in spans if span.name == "resize"]
    below = 0
    for span in images:
        parent = requests.get(span.parent)
        below += (parent is not None and parent.trace == span.trace
                  and span.attributes["image"].startswith(f"{parent.attributes['number']}-"))
    alone = len({span.trace for span in images if not span.parent} - {span.trace for span in requests.values()})
    v.note = f"{below} of {len(images)} below their request, {alone} a trace of their own"
    expected = (len(images), 0) if case.nested else (0, len(images))
    if (below, alone) != expected:
        v.faults.append(f"{expected[0]} should be below their request, and {expected[1]} a trace of their own")


PUBLISH = f"from tasks import add\nfor n in range({TASKS}): print(add.delay(n, 1).id)"


def parents(pids):
    found = set()
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as file:
                found.add(int(file.read().rsplit(")", 1)[1].split()[1]))
        except OSError:
            pass
    return found


def tasks(w):
    """Celery's: each child serves one task, and others wait for the next one, with their SDK started."""
    quiet = {name: value for name, value in w.environment.items() if name != "RUNNERS_WITNESS"}
    generations = 1 if w.options.plain else GENERATIONS
    sent, fathers = [], set()
    for number in range(generations):
        if number:
            w.renew()
        done = subprocess.run(["python", "-c", PUBLISH], cwd=w.folder, env=quiet, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, timeout=60, check=True)
        sent += done.stdout.split()
        until_spans(w, len(sent))
        fathers |= parents({pid for pid, what in w.witness() if what == "provider"})
    stopped = w.stop()
    time.sleep(world.PLAIN_ARRIVAL_S)
    spans = w.sink.of_programs()
    v = figures(w, spans, generations)
    of_task = collections.Counter(span.attributes.get("messaging.message.id") for span in spans if span.kind == sink.CONSUMER)
    v.requests, v.unseen = len(sent), sum(of_task[one] == 0 for one in sent)
    v.twice = sum(of_task[one] > 1 for one in sent)
    idle = v.initialised - v.serving
    v.note = f"{idle} children waited"
    for wrong, text in ((v.unseen, f"{v.unseen} tasks without a span"), (v.twice, f"{v.twice} tasks with more than one"),
                        (v.ids != len(sent), f"{v.ids} instance ids of {len(sent)} children for one task each"),
                        (idle > w.case.processes * generations, f"{idle} processes initialised that have no task"),
                        (fathers & {pid for pid, what in w.witness() if what == "provider"}, "the main process is initialised"),
                        (stopped is None, "did not end at SIGTERM")):
        if wrong:
            v.faults.append(text)
    return v


def one(example, environment, options):
    """The verdict; `log` is the end of what was printed, if it is wrong."""
    w = ExampleWorld(example, environment, options)
    started = time.monotonic()
    try:
        w.begin()
        v = {"server": serve, "job": job, "tasks": tasks}[example.kind](w)
        v.log = w.log_tail() if v.faults else ""
        v.took_s = time.monotonic() - started
        return v
    finally:
        w.close()
