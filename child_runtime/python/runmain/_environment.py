"""What runmain told this process in its environment (docs/contract.md).

Invariant: read once, before anybody can change it; a forked child knows it too, after the parent has wiped the nonce;
and so does the same process when it has executed another program, which nothing that it starts is taken for.
Non-goal: what the channel answers (_channel).
"""
import os
import sys

VERSION = "0.1.0"
LISTEN_FDS_START = 3

# What the file or runmain itself says of the process, by Python's own variable names.
_TOKEN = "RUNMAIN_TOKEN"
_HELD = "RUNMAIN_HELD"  # PID:START:NONCE of who has wiped the nonce


class Environment:
    def __init__(self, environ):
        token = environ.get(_TOKEN, "")
        self.supervised = token != ""
        # 1:SERVICE:SLOT:GENERATION:NONCE:PID, read from the end: no name of a service can move it.
        parts = token.rsplit(":", 2) if token.startswith("1:") else []
        self.nonce = parts[1] if len(parts) == 3 else ""
        self.started_pid = _number(parts[2]) if len(parts) == 3 else -1
        # Wiped by a process that holds the role: this is a helper of it, or itself, after an exec.
        self.void = self.supervised and self.nonce.strip("-") == ""
        held = _held_nonce(environ.get(_HELD, "")) if self.void and len(parts) == 3 else ""
        self.is_executed = held != ""
        if self.is_executed:
            self.nonce, self.void = held, False
            os.environ[_TOKEN] = ":".join((parts[0], held, parts[2]))  # what this program starts may serve
        self.channel = environ.get("RUNMAIN_CHANNEL", "")
        self.service = environ.get("RUNMAIN_SERVICE", "")
        self.worker = _number(environ.get("RUNMAIN_WORKER", ""))
        self.generation = _number(environ.get("RUNMAIN_GENERATION", ""))
        self.auto = environ.get("RUNMAIN_AUTO", "") == "1"
        # Its telemetry is none of runmain's: unsupervised, off, or direct.
        self.is_plain = not self.supervised or environ.get("RUNMAIN_AUTO", "") == ""
        self.ports, self.paths = _addresses(environ.get("SERVER_STARTER_PORT", ""))
        self.fds = _fds(environ)

    @property
    def has_listeners(self):
        return bool(self.ports or self.paths)


def complain(text):
    """On stderr, if the program has one: nothing of ours raises for that it has none."""
    try:
        sys.stderr.write(text)
    except Exception:
        pass


def setting(name):
    return os.environ.get(name, "").strip()


def process_start():
    """/proc/self/stat, field 22; counted from the name's ")", which may hold anything."""
    try:
        with open("/proc/self/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19]) or 1  # 0 says that a lane is being taken
    except (OSError, ValueError, IndexError):
        return 1


def _held_nonce(held):
    """The nonce, if it was wiped by this very process; "": by another one."""
    pid, _, rest = held.partition(":")
    start, _, nonce = rest.partition(":")
    return nonce if pid == str(os.getpid()) and start == str(process_start()) else ""


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


_is_held = False


def wipe_nonce():
    """Helpers that are started from now on see that the role is taken. Hygiene, not proof."""
    global _is_held
    _is_held = True
    token = wiped(os.environ.get(_TOKEN, ""))
    if token is not None:
        os.environ[_HELD] = "%d:%d:%s" % (os.getpid(), process_start(), environment.nonce)
        os.environ[_TOKEN] = token


def wiped(token):
    """A token of ours as helpers find it; None: there is nothing to change, or this process, and who has forked it, has
    no role."""
    parts = token.rsplit(":", 2)
    if not _is_held or len(parts) != 3 or parts[1] != environment.nonce:
        return None
    return ":".join((parts[0], "-" * len(parts[1]), parts[2]))


# The bootstrap has kept it.
environment = Environment(getattr(sys, "runmain_environ", os.environ))
