"""A channel for the tests: grants every claim (but the first `refuse`, and with `as_runmain` those that are not explicit
while another process has the role), with a mailbox; and the environment of a worker."""
import array
import json
import os
import socket
import threading

import mailbox_reader


class Channel:
    def __init__(self, with_mailbox=True, **layout):
        self.name = "@runmain-test-%d-%d" % (os.getpid(), id(self))
        self.memfd = mailbox_reader.make(**layout) if with_mailbox else -1
        self.wake_read, self.wake = os.pipe()
        self.claims = []
        self.refuse = 0
        self.as_runmain = False
        self.holders = []
        self._held = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.bind("\0" + self.name[1:])
        self._sock.listen(64)
        self._with_mailbox = with_mailbox
        threading.Thread(target=self._serve, daemon=True).start()

    def reader(self):
        return mailbox_reader.Reader(self.memfd)

    def environment(self, **more):
        token = "1:web:0:1:%s:%d" % ("a" * 32, os.getpid())
        base = {"RUNMAIN_TOKEN": token, "RUNMAIN_CHANNEL": self.name, "RUNMAIN_SERVICE": "web", "RUNMAIN_WORKER": "0"}
        return dict(dict(base, RUNMAIN_GENERATION="1", RUNMAIN_AUTO="0"), **more)

    def close(self):
        self._sock.close()
        for one in self._held:
            one.close()
        for fd in (self.memfd, self.wake_read, self.wake):
            if fd >= 0:
                os.close(fd)

    def _is_another_s(self, claim):
        others = self.as_runmain and not claim["explicit"] and set(self.holders) - {claim["pid"]}
        return bool(others)

    def _serve(self):
        while True:
            try:
                one, _ = self._sock.accept()
            except OSError:
                return
            self._held.append(one)
            line = one.makefile("rb").readline()
            if not line:
                continue
            self.claims.append(json.loads(line)["claim"])
            if self.refuse > 0 or self._is_another_s(self.claims[-1]):
                self.refuse -= self.refuse > 0
                one.sendall(b'{"v":1,"refused":{"why":"the role is another one\'s"}}\n')
                continue
            self.holders.append(self.claims[-1]["pid"])
            role = {"service": "web", "slot": 0, "generation": 1, "listeners": [], "mailbox": self._with_mailbox}
            role["instance_id"] = "11111111-2222-4333-8444-555555555555"
            said = json.dumps({"v": 1, "role": role}).encode() + b"\n"
            fds = array.array("i", [self.memfd, self.wake] if self._with_mailbox else [])
            one.sendmsg([said], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if fds else [])
