"""The programs of tests/graceful: one planted fault each, or none, and what check-graceful has to name."""
from dataclasses import dataclass, field


@dataclass
class Case:
    name: str
    expected: set = field(default_factory=set)
    program: str = "server.py"
    environment: dict = field(default_factory=dict)
    flags: list = field(default_factory=list)
    may: set = field(default_factory=set)   # what is also true of it, and not always seen


def planted(fault, *expected, may=()):
    return Case(fault, set(expected), environment={"PLANTED": fault}, may=set(may))


CASES = [
    Case("clean: threads"),
    Case("clean: asyncio", program="loop.py"),
    Case("clean: over a unix socket", flags=["--listen", "unix:{folder}/socket"]),
    Case("clean: a long answer", environment={"BODY": "x" * 100_000}),
    planted("exits-at-once", "in-flight-cut"),
    planted("ignores-sigterm", "sigterm-ignored"),
    planted("shuts-listener", "listener-shut", may=("exit-status",)),   # its next worker fails at accept
    planted("keeps-idle", "keeps-connections"),
    planted("resets-kept", "kept-lost"),
    planted("exits-1", "exit-status"),
    planted("ready-too-early", "ready-too-early"),
    planted("answers-503", "refuses-draining"),
    planted("leaves-child", "child-left"),
    planted("own-socket", "own-socket"),
    planted("second-idle", "worker-idle"),
    planted("drops-unread", "accepted-lost"),
    planted("waits-for-silent", "waits-for-silent"),
    planted("waits-for-half", "waits-for-half"),
    planted("one-at-a-time", "holds-others-up", may=("waits-for-silent", "waits-for-half", "keeps-connections")),
]

# Those that are run at each build: kinds of faults that are seen in different ways.
BRIEF = {"clean: threads", "clean: asyncio", "exits-at-once", "keeps-idle", "resets-kept", "answers-503", "own-socket", "waits-for-half"}
