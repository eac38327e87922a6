"""The channel to runmain: the claim and its answer, then words in both directions (docs/contract.md).

Invariant: nothing waits longer than TIMEOUT; a nonce goes to root and to our own user only. Non-goals: when to claim
(_serving, _runners), what a role is used for (_process).
"""
import array
import os
import socket
import struct
import time

TIMEOUT = 5.0
LINE_MAX = 4096
_FDS_MAX = 66  # 64 listeners, a mailbox and its wake fd
_RETRY = 0.01  # a unix socket with a full backlog cannot be polled


class Role:
    """What was granted. `mailbox` and `wake` are fds, or -1."""

    def __init__(self, said, fds):
        self.service = str(said.get("service", ""))
        self.slot = int(said.get("slot", 0))
        self.generation = int(said.get("generation", 0))
        self.instance_id = str(said.get("instance_id", ""))
        self.listeners = list(said.get("listeners", []))
        count = len(self.listeners)
        if len(fds) < count:
            raise OSError("the answer names more sockets than came")
        self.fds = fds[:count]
        self.mailbox = self.wake = -1
        rest = fds[count:]
        if said.get("mailbox") and len(rest) >= 2:
            self.mailbox, self.wake = rest[0], rest[1]
            rest = rest[2:]
        for fd in rest:
            os.close(fd)


class Refused(Exception):
    pass


class Channel:
    """A connection whose first line was the claim."""

    def __init__(self, name, nonce, explicit, version):
        self._in = b""
        self._fds = []
        self._deadline = time.monotonic() + TIMEOUT
        self.sock = self._connect(name)
        try:
            self._check_peer()
            claim = {"nonce": nonce, "pid": os.getpid(), "runtime": "python", "version": version, "explicit": explicit}
            self.say({"claim": claim})
            self.role = self._await_role()
        except BaseException:
            self.close()
            raise

    def close(self):
        for fd in self._fds:
            os.close(fd)
        self._fds = []
        self.sock.close()

    def say(self, words):
        import json  # a process that never claims does not pay for it

        line = json.dumps(dict({"v": 1}, **words), separators=(",", ":")).encode() + b"\n"
        if len(line) <= LINE_MAX:
            self.sock.sendall(line)

    def read(self, timeout):
        """The next message as a dict, or None after `timeout` seconds. OSError at the end of the connection."""
        import json

        deadline = time.monotonic() + timeout
        while True:
            line, newline, rest = self._in.partition(b"\n")
            if newline:
                self._in = rest
                try:
                    said = json.loads(line)
                except ValueError:
                    continue  # what is not understood is ignored
                if isinstance(said, dict):
                    return said
                continue
            if len(self._in) >= LINE_MAX:
                raise OSError("a line that is too long")
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.sock.settimeout(left)
            try:
                self._receive()
            except socket.timeout:
                return None

    def _connect(self, name):
        address = "\0" + name[1:] if name.startswith("@") else name
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(TIMEOUT)
            try:
                sock.connect(address)
                return sock
            except BlockingIOError:
                sock.close()
                if time.monotonic() > self._deadline:
                    raise
                time.sleep(_RETRY)
            except BaseException:
                sock.close()
                raise

    def _check_peer(self):
        peer = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        uid = struct.unpack("3i", peer)[1]
        if uid not in (0, os.geteuid(), os.getuid()):
            raise OSError("the channel is held by a foreign user")

    def _await_role(self):
        while True:
            said = self.read(self._deadline - time.monotonic())
            if said is None:
                raise OSError("no answer")
            if "role" in said:
                fds, self._fds = self._fds, []
                return Role(said["role"], fds)
            if "refused" in said:
                raise Refused(str(said["refused"].get("why", "")))

    def _receive(self):
        fds = array.array("i")
        room = socket.CMSG_SPACE(_FDS_MAX * fds.itemsize)
        data, control, _, _ = self.sock.recvmsg(LINE_MAX - len(self._in), room, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        self._fds.extend(fds)
        if not data:
            raise OSError("the channel was closed")
        self._in += data
