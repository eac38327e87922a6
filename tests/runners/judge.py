"""What the spans say: a Verdict of one run.

Every answered request must have one server span; no span may come twice; who serves has an instance id of its own, and
nobody else has started an SDK.
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
    generations: int = 0
    faults: list = field(default_factory=list)


def judged(case, answers, spans, witness, generations):
    """The figures of a run; `faults` says what is wrong with them under runmain."""
    v = Verdict(requests=len(answers.pids), lost=len(answers.lost), generations=generations)
    kind = sink.CONSUMER if answers.__class__.__name__ == "Tasks" else sink.SERVER
    once, server, ids_of_pid = set(), collections.Counter(), collections.defaultdict(set)
    start_ups_of_id = collections.Counter()
    for span in spans:
        if (span.trace, span.id) in once:
            v.copies += 1
            continue
        once.add((span.trace, span.id))
        if span.kind == kind:
            server[span.trace] += 1
        ids_of_pid[span.resource.get("process.pid")].add(span.resource.get("service.instance.id"))
        if span.name == "start-up":
            v.start_ups += 1
            start_ups_of_id[span.resource.get("service.instance.id")] += 1
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
    look(v, case, serving, ours - serving if case.preload else idle, ids_of_pid, start_ups_of_id)
    return v


def look(v, case, serving, idle, ids_of_pid, start_ups_of_id):
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
    fault(any(n > 1 for n in start_ups_of_id.values()), "a start-up span twice in a process")
    fault(v.start_ups > expected, f"{v.start_ups} start-up spans of {expected} processes")
