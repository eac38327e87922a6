"""Runs a program of a few lines under a channel of the tests' own, and reads what it left in the mailbox."""
import os
import subprocess
import sys
import textwrap
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import channel

BOOTSTRAP = os.path.join(os.path.dirname(HERE), "bootstrap")
HEAD = """
import os, sys, time, threading, signal
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, ConsoleSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
import runmain
def exporter(): return OTLPSpanExporter(endpoint=os.environ.get("SINK", "http://127.0.0.1:9/v1/traces"))
def tracer(): return trace.get_tracer("t")
def span(name): tracer().start_span(name).end()
def accept():
    import socket
    s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
    other = socket.create_connection(s.getsockname())
    return s, other, s.accept()[0]
"""


class InProcess(unittest.TestCase):
    def setUp(self):
        self.channel = channel.Channel()

    def tearDown(self):
        self.channel.close()

    def run_code(self, code, check=0, head=HEAD, supervised=True, **more):
        environment = dict(os.environ)
        if supervised:
            environment.update(self.channel.environment(PYTHONPATH=BOOTSTRAP, **more))
        source = head + textwrap.dedent(code)
        done = subprocess.run([sys.executable, "-c", source], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, cwd=os.path.dirname(HERE))
        if check is not None:
            self.assertEqual(done.returncode, check, (done.stdout + done.stderr).decode())
        return done.stdout.decode()

    def spans(self):
        """(span, attributes of the resource) of all in the mailbox, and whether each lane balances."""
        reader, out = self.channel.reader(), []
        self.requests = []
        for lane in reader.in_use():
            resource = Resource.FromString(reader.entries(lane)[0][1])
            attributes = {a.key: a.value.string_value for a in resource.attributes}
            records = reader.records(lane)
            self.requests += [p for k, p in records if k == 3]
            lost = sum(reader.lost(lane))
            self.assertEqual(reader.word(lane, "ended"), len([r for r in records if r[0] == 2]) + lost)
            out += [(Span.FromString(p[8:]), attributes) for k, p in records if k == 2]
        return out

    def handed(self):
        """After spans(): (span, attributes of the resource) of the requests."""
        out = []
        for payload in self.requests:
            self.assertEqual(int.from_bytes(payload[:4], "little"), 0)
            for one in ExportTraceServiceRequest.FromString(payload[8:]).resource_spans:
                attributes = {a.key: a.value.string_value for a in one.resource.attributes}
                out += [(span, attributes) for scope in one.scope_spans for span in scope.spans]
        return out

    def names(self):
        """Instrumentations before 0.42 leave the method out."""
        return sorted("GET /x" if s.name == "/x" else s.name for s, _ in self.spans())
