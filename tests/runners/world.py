"""One run of a case: a folder with the program, a collector, a client, and what was started, all gone afterwards.

Invariant: close() ends every process that has this world's mark in its environment, and no other.
"""
import os
import shutil
import signal
import subprocess
import tempfile
import time

import load
import sink

HERE = os.path.dirname(os.path.abspath(__file__))
STOP_S = 20             # for the end of what was started
ARRIVAL_S = 8           # for the last spans; plain ones come from processes that are gone
PLAIN_ARRIVAL_S = 1.5
RATE = 60               # requests a second


class World:
    def __init__(self, case, environment, options):
        self.case, self.options = case, options
        self.port = load.free_port()
        self.home = tempfile.mkdtemp(prefix="runners-")
        self.folder = self.home + "/project"
        os.mkdir(self.folder)
        for name in case.files:
            os.makedirs(os.path.dirname(f"{self.folder}/{name}"), exist_ok=True)
            with open(f"{HERE}/programs/{name}") as source, open(f"{self.folder}/{name}", "w") as copy:
                copy.write(source.read().replace("@PORT@", str(self.port)))
        for name in ("queue", "control") if "tasks.py" in case.files else ():
            os.mkdir(f"{self.folder}/{name}")
        self.sink = sink.Sink()
        self.witness_path = self.home + "/witness"
        self.saves = 0
        self.process = None
        self.log_path = self.home + "/log"
        self.environment = self.made_environment(environment)

    def made_environment(self, environment):
        made = {name: value for name, value in os.environ.items()
                if not name.startswith(("OTEL_", "RUNMAIN_", "PYTHON", "NODE_", "npm_", "LISTEN_"))}
        made |= {"RUNNERS_WITNESS": self.witness_path,
                 "OTEL_EXPORTER_OTLP_ENDPOINT": self.sink.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                 "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none", "OTEL_SERVICE_NAME": "matrix",
                 "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
        made |= dict(self.case.environment)
        if self.case.language == "node":
            os.symlink(environment + "/node_modules", self.folder + "/node_modules")
            made["PATH"] = environment + "/node_modules/.bin:" + made["PATH"]
            made["NODE_OPTIONS"] = "--require " + HERE + "/witness/witness.js"
        else:
            made |= {"PATH": environment + "/bin:" + made["PATH"], "VIRTUAL_ENV": environment}
        return made

    def publish(self):
        return ["python", "publish.py"]

    def client(self):
        if self.case.name.startswith("celery"):
            quiet = {name: value for name, value in self.environment.items() if name != "RUNNERS_WITNESS"}
            return load.Tasks(self.folder, self.publish(), quiet)
        return load.Load(self.port, RATE)

    # ---- start

    def start_plain(self):
        environment = dict(self.environment, OTEL_EXPERIMENTAL_RESOURCE_DETECTORS="otel,process")
        prefix = "opentelemetry-instrument "
        if self.case.language == "node":
            environment["NODE_OPTIONS"] += " --require @opentelemetry/auto-instrumentations-node/register"
            environment["OTEL_NODE_RESOURCE_DETECTORS"] = "env,process,serviceinstance"
            prefix = ""
        words = self.case.words(self.port, True)
        if "watchfiles" in words:       # as its guide says: the command that is watched is instrumented
            words, prefix = words.replace("'uvicorn", "'opentelemetry-instrument uvicorn"), ""
        self.start("exec " + prefix + words, environment)

    def start_under(self, auto="1"):
        o = self.options
        under, _, rest = self.case.under.partition(" ")
        env = {} if o.auto else {"RUNMAIN_AUTO": auto}
        if o.bootstrap_python and self.case.language == "python":
            env["PYTHONPATH"] = o.bootstrap_python + "/bootstrap"
        if o.bootstrap_node and self.case.language == "node":
            env["NODE_OPTIONS"] = self.environment["NODE_OPTIONS"] + f" --require {o.bootstrap_node}/register.js"
        with open(self.home + "/env", "w") as file:
            file.writelines(f'{name}="{value}"\n' for name, value in env.items())
        flags = f"{under} {self.folders()} --env-file {self.home}/env --name app {rest}".replace("@PORT@", str(self.port))
        if o.auto and auto == "1":
            flags += " --auto"
        self.start(f"exec {o.bin}/runmain {flags} -- {self.case.words(self.port, False)}", self.environment)

    def folders(self):
        return f"--runtime-dir {self.home}/run --state-dir {self.home}/state"

    def start(self, line, environment):
        self.log = open(self.log_path, "w")
        self.process = subprocess.Popen(["/bin/sh", "-c", line], cwd=self.folder, env=environment,
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        start_new_session=True)

    # ---- what happens meanwhile

    def save(self):
        """As editors do it, by a rename. The word that is new."""
        path = f"{self.folder}/{self.case.files[0]}"
        with open(path) as file:
            text = file.read()
        self.saves += 1
        word = f"save {self.saves}"
        with open(path + ".new~", "w") as file:
            file.write(text.replace(f"save {self.saves - 1}", word))
        os.rename(path + ".new~", path)
        return word

    def reload(self):
        subprocess.run([self.options.bin + "/runmain", "reload", "app", "--runtime-dir", self.home + "/run"],
                       cwd=self.folder, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, timeout=60)

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)

    def witness(self):
        if not os.path.exists(self.witness_path):
            return set()
        with open(self.witness_path) as file:
            return {(int(pid), what) for pid, what in (line.split() for line in file)}

    def log_tail(self, lines=15):
        with open(self.log_path, errors="replace") as file:
            return "".join(file.readlines()[-lines:])

    # ---- the end

    def stop(self):
        """Asks it to end. The time that it took, or None if it had to be killed."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
            return time.monotonic() - started
        except subprocess.TimeoutExpired:
            return None

    def arrived(self, answers):
        """The spans, once each answered request has one, or nothing more came for a while."""
        end = time.monotonic() + (PLAIN_ARRIVAL_S if self.options.plain else ARRIVAL_S)
        count = -1
        while time.monotonic() < end:
            spans = self.sink.of_programs()
            if set(answers.pids) <= {span.trace for span in spans} and len(spans) == count:
                break
            count = len(spans)
            time.sleep(0.1)
        return self.sink.of_programs()

    def pids(self):
        """Of all that was started here and lives."""
        mark = ("RUNNERS_WITNESS=" + self.witness_path).encode()
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if mark in file.read():
                        found.append(int(pid))
            except OSError:
                pass
        return found

    def close(self):
        for _ in range(5):
            left = self.pids()
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            if not left:
                break
            time.sleep(0.05)
        if self.process is not None:
            self.process.wait()
            self.log.close()
        self.sink.close()
        if not self.options.keep:
            shutil.rmtree(self.home, ignore_errors=True)


