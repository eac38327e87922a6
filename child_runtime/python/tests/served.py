"""A service under a real runmain, with an OTLP sink of the tests' own as its destination.

Needs RUNMAIN_BIN (the folder of runmain's programs) and, in this Python, the packages of the test.
"""
import collections
import gzip
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
import threading
import time
import urllib.parse

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HERE = os.path.dirname(os.path.abspath(__file__))
APPS = os.path.join(HERE, "apps")
BIN = os.path.dirname(sys.executable)

Span = collections.namedtuple("Span", "trace id parent name kind attributes resource scope status")


def plain(attributes):
    return {a.key: getattr(a.value, a.value.WhichOneof("value") or "string_value") for a in attributes}


class Sink:
    def __init__(self):
        self.spans, self.metrics, self.logs, self.lock = [], [], [], threading.Lock()
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                sink.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path, body):
        with self.lock:
            if path.endswith("traces"):
                for r in ExportTraceServiceRequest.FromString(body).resource_spans:
                    resource = plain(r.resource.attributes)
                    for s in r.scope_spans:
                        for x in s.spans:
                            self.spans.append(Span(x.trace_id.hex(), x.span_id.hex(), x.parent_span_id.hex(), x.name, x.kind, plain(x.attributes), resource, s.scope.name, x.status.code))
            elif path.endswith("metrics"):
                for r in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    self.metrics += [(m.name, plain(r.resource.attributes)) for s in r.scope_metrics for m in s.metrics]
            else:
                for r in ExportLogsServiceRequest.FromString(body).resource_logs:
                    self.logs += [(x.body.string_value, plain(r.resource.attributes)) for s in r.scope_logs for x in s.log_records]

    def of(self, service="web"):
        with self.lock:
            return [s for s in self.spans if s.resource.get("service.name") == service]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Served:
    def __init__(self, command, auto=True, listen=True, port_key=False, env=None, watch=None, workers=1, answers=True):
        self.answers = answers
        self.folder = tempfile.mkdtemp(prefix="runmain-python-")
        self.sink = Sink()
        self.port = free_port()
        environment = {
            "PYTHONPATH": APPS,
            "PATH": BIN + os.pathsep + os.environ["PATH"],
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.sink.endpoint,
            "PYTHONUNBUFFERED": "1",
            "TEST_PORT": str(self.port),
        }
        environment.update(env or {})
        lines = ["[service.web]", "command = %s" % json.dumps(command.replace("{PORT}", str(self.port)))]
        lines += ['listen = "127.0.0.1:%d"' % self.port] if listen else []
        lines += ["port = %d" % self.port] if port_key else []
        lines += ["watch = %s" % json.dumps([watch]) if watch else "watch = false", "workers = %d" % workers]
        lines += ["env = { %s }" % ", ".join("%s = %s" % (k, json.dumps(v)) for k, v in environment.items())]
        lines += ["[service.web.telemetry]", "auto = %s" % ("true" if auto else "false")]
        self.config = os.path.join(self.folder, "supervisor.toml")
        with open(self.config, "w") as file:
            file.write("\n".join(lines) + "\n")
        self.log = open(os.path.join(self.folder, "log"), "w+b")
        self.process = None

    def _command(self, *words):
        folders = ["--runtime-dir", self.folder + "/r", "--state-dir", self.folder + "/s"]
        return [os.environ["RUNMAIN_BIN"] + "/runmain", "-c", self.config] + folders + list(words)

    def __enter__(self):
        self.process = subprocess.Popen(self._command("up"), stdout=self.log, stderr=subprocess.STDOUT, cwd=self.folder)
        try:
            if self.answers:
                self.wait_for(lambda: self.get("/up") is not None, "an answer", 30)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        self.sink.close()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def wait_for(self, condition, what, seconds=10):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.05)
        raise AssertionError("no %s after %s s; it printed:\n%s" % (what, seconds, self.printed()))

    def printed(self):
        with open(self.log.name, "rb") as file:
            return file.read().decode("utf-8", "replace")[-4000:]

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def status(self, *words):
        return subprocess.run(self._command("status", *words), stdout=subprocess.PIPE, timeout=10).stdout.decode()

    def paths(self):
        """How often there is a server span of each path; that of the first answer may have been asked for twice."""
        found = collections.Counter()
        for span in self.sink.of():
            if span.kind == 2:
                path = span.attributes.get("http.target") or span.attributes.get("url.path")
                found[path or urllib.parse.urlsplit(span.attributes.get("http.url", "")).path] += 1
        found.pop("/up", None)
        return found
