"""Where a case runs: a folder with the programs, a living collector, dead ones, and what was started, all gone afterwards.

Invariant: close() ends every process that has this place's mark in its environment, and no other.
"""
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import load
import sink

HERE = os.path.dirname(os.path.abspath(__file__))
MARK = "DOCTOR_CASE"
CLOSE_S = 5         # for the end of what was killed


class Dead:
    """Two addresses of loopback: at one a listener has a full backlog and never accepts, at the other nobody listens."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.waiting = []
        for _ in range(4):      # the kernel takes one or two more than asked for
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(self.listener.getsockname())
            self.waiting.append(one)
        self.bound = socket.socket()    # keeps the port from others
        self.bound.bind(("127.0.0.1", 0))

    def endpoints(self):
        return [f"http://127.0.0.1:{one.getsockname()[1]}" for one in (self.listener, self.bound)]

    def close(self):
        for one in self.waiting + [self.listener, self.bound]:
            one.close()


def injector(build):
    """The library of injector.c, made if it is not there yet. Raises OSError or CalledProcessError without a compiler."""
    path = build + "/injector/libotelinject.so"
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", path, HERE + "/injector.c"], check=True)
    return path


class Place:
    def __init__(self, case, environment, build):
        self.case, self.port = case, load.free_port()
        self.home = tempfile.mkdtemp(prefix="doctor-")
        self.folder = self.home + "/project"
        shutil.copytree(HERE + "/programs", self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        self.sink, self.audit, self.dead = sink.Sink(), sink.Sink(), Dead()
        self.process = None
        self.environment = self.made_environment(environment, build)

    def made_environment(self, environment, build):
        made = {name: value for name, value in os.environ.items()
                if not name.startswith(("OTEL_", "RUNMAIN_", "PYTHON", "NODE_", "npm_", "LISTEN_", "LD_", "WERKZEUG_", "FLASK_"))}
        made |= {MARK: self.home, "HOME": self.home, "PORT": str(self.port), "OTEL_SERVICE_NAME": "shop",
                 "OTEL_EXPORTER_OTLP_ENDPOINT": self.sink.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                 "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none",
                 "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
        if self.case.framework == "Node":
            os.symlink(environment + "/node_modules", self.folder + "/node_modules")
            made["PATH"] = environment + "/node_modules/.bin:" + made["PATH"]
        else:
            made |= {"PATH": environment + "/bin:" + made["PATH"], "VIRTUAL_ENV": environment}
        dead, refused = self.dead.endpoints()
        signs = {"@DEAD@": dead, "@REFUSED@": refused, "@AUDIT@": self.audit.endpoint, "@INJECTOR@": injector(build)}
        return made | {name: signs.get(value, value) for name, value in self.case.environment.items()}

    def start(self, before, more=()):
        """The case's command behind these words. Its output goes to files of `home`."""
        preloaded = self.environment.pop("LD_PRELOAD", None)    # for the program, not for what starts it
        words = (["env", "LD_PRELOAD=" + preloaded] if preloaded else []) + shlex.split(self.case.words(self.port))
        with open(self.home + "/out", "w") as out, open(self.home + "/err", "w") as err:
            self.process = subprocess.Popen([*before, *words], cwd=self.folder, env=self.environment | dict(more),
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)

    def text(self, name):
        with open(f"{self.home}/{name}", errors="replace") as file:
            return file.read()

    def wait(self, seconds):
        """Its exit status, or None if it has not ended."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def pids(self):
        """Of all that was started here and lives."""
        mark = f"{MARK}={self.home}".encode()
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        found.append(int(pid))
            except OSError:
                pass
        return found

    def close(self):
        end = time.monotonic() + CLOSE_S
        while (left := self.pids()) and time.monotonic() < end:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            time.sleep(0.05)
        if self.process is not None:
            self.process.wait()
        for one in (self.sink, self.audit, self.dead):
            one.close()
        shutil.rmtree(self.home, ignore_errors=True)
