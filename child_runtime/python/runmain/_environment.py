"""What runmain told this process in its environment (docs/contract.md).

Invariant: read once, before anybody can change it; a forked child knows it too, after the parent has wiped the nonce.
Non-goal: what the channel answers (_channel).
"""
import os
import sys

VERSION = "0.1.0"
LISTEN_FDS_START = 3

# What the file or runmain itself says of the process, by Python's own variable names.
_TOKEN = "RUNMAIN_TOKEN"


class Environment:
    def __init__(self, environ):
        token = environ.get(_TOKEN, "")
        self.supervised = token != ""
        # 1:SERVICE:SLOT:GENERATION:NONCE:PID, read from the end: no name of a service can move it.
        parts = token.rsplit(":", 2) if token.startswith("1:") else []
        self.nonce = parts[1] if len(parts) == 3 else ""
        self.started_pid = _number(parts[2]) if len(parts) == 3 else -1
        # Wiped by a process that holds the role: this is a helper of it.
        self.void = self.supervised and self.nonce.strip("-") == ""
        self.channel = environ.get("RUNMAIN_CHANNEL", "")
        self.service = environ.get("RUNMAIN_SERVICE", "")
        self.worker = _number(environ.get("RUNMAIN_WORKER", ""))
        self.generation = _number(environ.get("RUNMAIN_GENERATION", ""))
        self.auto = environ.get("RUNMAIN_AUTO", "") == "1"
        self.ports, self.paths = _addresses(environ.get("SERVER_STARTER_PORT", ""))
        self.fds = _fds(environ)

    @property
    def has_listeners(self):
        return bool(self.ports or self.paths)


def _number(text):
    try:
        return int(text)
    except ValueError:
        return -1


def _addresses(text):
    """The ports and the unix paths of 127.0.0.1:8000=3;/run/web.sock=4."""
    ports, paths = set(), set()
    for one in text.split(";"):
        address = one.rpartition("=")[0]
        if address.startswith(("/", "@")):
            paths.add(address)
        elif address:
            ports.add(_number(address.rpartition(":")[2]))
    return ports, paths


def _fds(environ):
    count = _number(environ.get("LISTEN_FDS", ""))
    return list(range(LISTEN_FDS_START, LISTEN_FDS_START + count)) if 0 < count < 64 else []


def wipe_nonce():
    """Helpers that are started from now on see that the role is taken. Hygiene, not proof."""
    token = os.environ.get(_TOKEN, "")
    parts = token.rsplit(":", 2)
    if len(parts) == 3:
        os.environ[_TOKEN] = ":".join((parts[0], "-" * len(parts[1]), parts[2]))


# The bootstrap has kept it.
environment = Environment(getattr(sys, "runmain_environ", os.environ))
