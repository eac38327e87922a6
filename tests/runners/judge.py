"""What the spans say: a Verdict of one run.

Every answered request must have one server span; no span may come twice; who serves has an instance id of its own, and
nobody else has started an SDK. What a program makes once at its start, before it serves, must come once from each process
that served, and from no other: a start-up span that is lost is as wrong as one that comes twice.
"""
import collections
from dataclasses import dataclass, field

import sink


@dataclass
class Verdict:
    requests: int = 0
    lost: int = 0
    serving: int = 0
    initialised: int = 0
    idle: int = 0           # initialised, and serve not
    ids: int = 0
    unseen: int = 0         # answered requests without a server span
    twice: int = 0          # answered requests with more than one
    copies: int = 0         # spans that came again
    start_ups: int = 0
    start_ups_lost: int = 0     # processes that served, and whose start-up span did not come
    generations: int = 0
    faults: list = field(default_factory=list)


def judged(case, answers, spans, witness, generations):
    """The figures of a run; `faults` says what is wrong with them under runmain."""
    v = Verdict(requests=len(answers.pids), lost=len(answers.lost), generations=generations)
    kind = sink.CONSUMER if answers.__class__.__name__ == "Tasks" else sink.SERVER
    once, server, ids_of_pid = set(), collections.Counter(), collections.defaultdict(set)
    start_ups = collections.Counter()   # by pid
    for span in spans:
        if (span.trace, span.id) in once:
            v.copies += 1
            continue
        once.add((span.trace, span.id))
        if span.kind == kind:
            server[span.trace] += 1
        ids_of_pid[span.resource.get("process.pid")].add(span.resource.get("service.instance.id"))
        if case.start_up and span.name == case.start_up:
            start_ups[span.resource.get("process.pid")] += 1
    serving = set(answers.pids.values())
    initialised = {pid for pid in ids_of_pid if pid} | {pid for pid, what in witness if what == "provider"}
    v.serving, v.initialised = len(serving), len(initialised)
    idle = initialised - serving
    v.idle = len(idle)
    v.unseen = sum(1 for trace in answers.pids if server[trace] == 0)
    v.twice = sum(1 for trace in answers.pids if server[trace] > 1)
    ids = {one for many in ids_of_pid.values() for one in many if one}
    v.ids = len(ids)
    ours = {pid for pid, what in witness if what != "provider"} | {pid for pid in ids_of_pid if pid}
    look(v, case, serving, ours - serving if case.preload else idle, ids_of_pid)
    look_at_starts(v, case, serving, start_ups)
    return v


def look_at_starts(v, case, serving, start_ups):
    v.start_ups = sum(start_ups.values())
    strangers = sum(n for pid, n in start_ups.items() if pid not in serving)
    twice = sum(n > 1 for n in start_ups.values())
    if strangers:
        v.faults.append(f"{strangers} start-up spans of processes that do not serve")
    if twice:
        v.faults.append(f"{twice} processes with more than one start-up span")
    if case.start_up and not case.preload:      # with preload the import is the master's, which does not serve
        v.start_ups_lost = sum(start_ups[pid] == 0 for pid in serving)
    if v.start_ups_lost:
        v.faults.append(f"{v.start_ups_lost} of {len(serving)} processes without their start-up span")


def look(v, case, serving, idle, ids_of_pid):
    def fault(wrong, text):
        if wrong:
            v.faults.append(text)

    expected = case.processes * v.generations
    shared = sum(len(many) != 1 for pid, many in ids_of_pid.items() if pid in serving)
    fault(v.requests == 0, "nothing was answered")
    allowed = expected if case.drops else 0     # one for each process that ended
    fault(case.owned and v.lost > allowed, f"{v.lost} requests lost")
    fault(v.unseen, f"{v.unseen} requests without a server span")
    fault(v.twice, f"{v.twice} requests with more than one")
    fault(v.copies, f"{v.copies} spans came twice")
    fault(idle, f"{len(idle)} processes initialised that do not serve")
    fault(v.serving > v.ids, f"{v.serving} processes served with {v.ids} instance ids")
    fault(shared, f"{shared} processes have not one instance id")
    fault(v.ids != expected, f"{v.ids} instance ids, not {case.processes} × {v.generations}")
