"""Programs under the doctor's probe: their records, and what its receiver got."""
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HERE = os.path.dirname(os.path.abspath(__file__))
PROBE = os.path.join(os.path.dirname(HERE), "probe")
BIN = os.path.dirname(sys.executable)
START_TIMEOUT_S, END_TIMEOUT_S = 60.0, 30.0
HEADER = ("runmain-doctor", "secret")
# Called by opentelemetry-instrument in each process that it initialises, whether there is a probe or not.
WITNESS = """
import json, os, sys
def note():
    with open(os.environ["WITNESS"], "a") as file:
        file.write(json.dumps([sys.orig_argv, os.environ.get("PYTHONPATH"), sys.path]) + "\\n")
"""


class Receiver:
    def __init__(self):
        self.requests, self.lock = [], threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.lock:
                    receiver.requests.append((self.path, self.headers[HEADER[0]], self.client_address, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def spans(self):
        """Names, sorted."""
        with self.lock:
            bodies = [body for path, _, _, body in self.requests if path == "/v1/traces"]
        messages = [ExportTraceServiceRequest.FromString(one) for one in bodies]
        return sorted(s.name for m in messages for r in m.resource_spans for scope in r.scope_spans for s in scope.spans)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Probed(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="runmain-probe-")
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.receiver = Receiver()
        self.addCleanup(self.receiver.close)
        self.fresh()

    def fresh(self):
        """A new folder of records and of notes."""
        self.said = tempfile.mkdtemp(dir=self.folder)
        self.notes = os.path.join(self.said, "witness")

    def environment(self, probe=True, path=(), **more):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "RUNMAIN_"))}
        environment["PATH"] = BIN + os.pathsep + os.environ["PATH"]
        environment["WITNESS"] = self.notes
        environment["HOME"] = self.folder  # gunicorn's control socket
        environment["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        path = list(path)
        if probe:
            environment.update(
                RUNMAIN_DOCTOR=self.said,
                RUNMAIN_DOCTOR_ENDPOINT=self.receiver.endpoint,
                RUNMAIN_DOCTOR_HEADERS="=".join(HEADER),
            )
            path.insert(0, PROBE)
        environment.pop("PYTHONPATH", None)
        if path:
            environment["PYTHONPATH"] = os.pathsep.join(path)
        environment.update(more)
        return environment

    def write(self, name, source):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(textwrap.dedent(source))
        return path

    def run_code(self, source, code=0, before=(), quiet=True, **options):
        """Runs program.py; `quiet`: nothing of ours on stderr."""
        command = [*before, sys.executable, self.write("program.py", source)]
        environment = self.environment(**options)
        done = subprocess.run(command, env=environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        self.stderr = done.stderr.decode()
        self.assertEqual(done.returncode, code, done.stdout.decode() + self.stderr)
        if quiet:
            self.assertNotIn("runmain:", self.stderr)
        return done.stdout.decode()

    def by_process(self):
        """pid -> records, in their order."""
        found = {}
        for name in os.listdir(self.said):
            if name.endswith(".jsonl"):
                with open(os.path.join(self.said, name)) as file:
                    found[int(name[: -len(".jsonl")])] = [json.loads(line) for line in file]
        return found

    def records(self, kind):
        return [one for _, records in sorted(self.by_process().items()) for one in records if one["k"] == kind]

    def only(self, kind):
        found = self.records(kind)
        self.assertEqual(len(found), 1, found)
        return found[0]

    def line_of(self, text):
        """program.py:LINE of the only line with this text."""
        with open(os.path.join(self.folder, "program.py")) as file:
            numbers = [number for number, line in enumerate(file, 1) if text in line]
        self.assertEqual(len(numbers), 1, text)
        return "%s/program.py:%d" % (self.folder, numbers[0])

    def witness(self):
        """The folder for PYTHONPATH that has the witness's entry point."""
        self.write("witness/runmain_witness.py", WITNESS)
        self.write("witness/runmain_witness-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: runmain-witness\nVersion: 1\n")
        self.write("witness/runmain_witness-1.dist-info/entry_points.txt", "[opentelemetry_pre_instrument]\nnote = runmain_witness:note\n")
        return os.path.join(self.folder, "witness")

    def noted(self):
        try:
            with open(self.notes) as file:
                return sorted(json.loads(line) for line in file)
        except FileNotFoundError:
            return []


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    """A command that serves {PORT}, in a session of its own; ended with what it started at the end of the block."""

    def __init__(self, command, port, environment, folder, signals=(signal.SIGTERM,)):
        self.port, self.signals = port, signals
        self.output = tempfile.TemporaryFile()
        command = [one.replace("{PORT}", str(port)) for one in command]
        self.process = subprocess.Popen(command, env=environment, cwd=folder, stdout=self.output, stderr=self.output, start_new_session=True)

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def answer(self, path):
        """Of the first request that is answered."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                return self.get(path)
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise AssertionError(self.text())
                time.sleep(0.05)  # between two tries

    def wait_until(self, is_true):
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_true():
            if time.monotonic() > deadline:
                raise AssertionError(self.text())
            time.sleep(0.05)  # between two looks

    def text(self):
        self.output.seek(0)
        return self.output.read().decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self.signals:
            os.killpg(self.process.pid, one)
        try:
            self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.text())
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            self.output.close()
