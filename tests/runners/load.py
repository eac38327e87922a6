"""A client that makes each request a trace of its own, and knows afterwards which ones were answered by whom.

Invariant: a trace id is used for one request only, so that the server spans of a trace are those of that request.
"""
import os
import re
import secrets
import socket
import subprocess
import threading
import time

GUARD_S = 40            # for the first answer, and for each save
OTHERS_S = 3            # for the other workers, once the first one has answered
TIMEOUT_S = 15
ANSWER = re.compile(r"(save \d+) (\d+)")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def connected(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    # Where nobody listens the kernel may choose this very port for our end, too, and connect us with ourselves.
    if connection.getsockname() == connection.getpeername():
        connection.close()
        raise ConnectionRefusedError("nobody but we ourselves")
    return connection


def asked(port, trace):
    """The body of GET / as a request of this trace, or an OSError."""
    with connected(port) as connection:
        return answer(connection, trace)


def answer(connection, trace):
    """The same over a connection that is there already."""
    parent = f"00-{trace}-{secrets.token_hex(8)}-01"
    request = f"GET / HTTP/1.1\r\nHost: localhost\r\nTraceparent: {parent}\r\nConnection: close\r\n\r\n"
    connection.sendall(request.encode())
    data = b""
    while part := connection.recv(65536):
        data += part
    if b" 200 " not in data.split(b"\r\n", 1)[0]:
        raise OSError("no answer" if not data else data.split(b"\r\n", 1)[0].decode("latin-1"))
    if b"\r\n\r\n" not in data:
        raise OSError("half an answer")
    return data.split(b"\r\n\r\n", 1)[1].decode()


class Answers:
    """What was answered: trace id to pid, and which pids have said which word."""

    def __init__(self):
        self.pids, self.words, self.lost, self.times = {}, {}, [], {}
        self.news = threading.Condition()

    def take(self, trace, body):
        found = ANSWER.search(body)
        if not found:
            raise OSError("another answer: " + body[:60])
        word, pid = found.group(1), int(found.group(2))
        with self.news:
            self.pids[trace] = pid
            self.times[trace] = time.monotonic()
            self.words.setdefault(word, set()).add(pid)
            self.news.notify_all()

    def wait(self, word, processes=1):
        """True once somebody has said the word; all `processes` of them are waited for, but not for long."""
        with self.news:
            if not self.news.wait_for(lambda: word in self.words, GUARD_S):
                return False
            self.news.wait_for(lambda: len(self.words[word]) >= processes, OTHERS_S)
            return True


class Load(Answers):
    """Requests at about `rate` a second, a new connection each, from two threads, until stop()."""

    def __init__(self, port, rate):
        super().__init__()
        self.port, self.pause, self.going = port, 2 / rate, True
        self.counting = False       # before the first answer nothing is lost
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(2)]
        for thread in self.threads:
            thread.start()

    def run(self):
        due = time.monotonic()
        while self.going:
            trace = secrets.token_hex(16)
            try:
                self.take(trace, asked(self.port, trace))
                self.counting = True
            except OSError as fault:
                if self.counting:
                    self.lost.append((trace, type(fault).__name__ + ": " + str(fault)))
            due = max(due + self.pause, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))

    def stop(self):
        self.going = False
        for thread in self.threads:
            thread.join(TIMEOUT_S + 1)


class Tasks(Answers):
    """Tasks for Celery in place of requests: published in batches, answered in the file `answers`."""
    BATCH = 10

    def __init__(self, folder, publish, environment):
        super().__init__()
        self.folder, self.publish, self.environment, self.going = folder, publish, environment, True
        self.sent = []
        self.threads = [threading.Thread(target=what, daemon=True) for what in (self.run, self.follow)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while self.going:
            traces = [secrets.token_hex(16) for _ in range(self.BATCH)]
            lines = [f"{len(self.sent) + i} 00-{trace}-{secrets.token_hex(8)}-01" for i, trace in enumerate(traces)]
            self.sent += traces
            subprocess.run(self.publish, input="\n".join(lines), text=True, cwd=self.folder, env=self.environment,
                           timeout=60, check=True)

    def follow(self):
        path, at = self.folder + "/answers", 0
        end = None
        while self.going or len(self.pids) < len(self.sent):
            end = end or (None if self.going else time.monotonic() + GUARD_S / 2)
            if end and time.monotonic() > end:
                break
            if os.path.exists(path):
                with open(path) as file:
                    file.seek(at)
                    text = file.read()
                text = text[:text.rfind("\n") + 1]
                at += len(text)
                for line in text.splitlines():
                    number, body = line.split(" ", 1)
                    self.take(self.sent[int(number)], body)
            time.sleep(0.02)

    def stop(self):
        self.going = False
        self.threads[0].join(60)
        self.threads[1].join(GUARD_S)
        self.lost = [(trace, "not done") for trace in self.sent if trace not in self.pids]
