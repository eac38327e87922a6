"""Exporters and processors of the program around an OTLP exporter: what comes out of them is what is sent, once."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

from in_process import HEAD, InProcess

HEAD = HEAD + """
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

def masked(s):
    return ReadableSpan(name=s.name, context=s.context, parent=s.parent, resource=s.resource, kind=s.kind, status=s.status,
        attributes=BoundedAttributes(attributes=dict(s.attributes, secret="***")), start_time=s.start_time, end_time=s.end_time, instrumentation_scope=s.instrumentation_scope)

class Masking(SpanExporter):
    def __init__(self, inner): self.inner = inner
    def export(self, spans): return self.inner.export([masked(s) for s in spans if s.name != "health"])
    def shutdown(self): self.inner.shutdown()
    def force_flush(self, timeout_millis=30000): return True

class Subclass(OTLPSpanExporter):
    def export(self, spans): return super().export([masked(s) for s in spans if s.name != "health"])

class Filtering(SpanProcessor):
    def __init__(self, inner): self.inner = inner
    def on_end(self, s):
        if s.name != "health": self.inner.on_end(masked(s))

class FilteringBatch(BatchSpanProcessor):
    def on_end(self, s):
        if s.name != "health": super().on_end(masked(s))

class Enriching(BatchSpanProcessor):
    def on_start(self, s, parent_context=None): s.set_attribute("more", 1)

def secret(name): tracer().start_span(name, attributes={"secret": "password"}).end()
def patched():
    one = exporter(); export = one.export
    one.export = lambda spans: export([masked(s) for s in spans if s.name != "health"])
    return one
def run(*processors):
    p = TracerProvider()
    for one in processors: p.add_span_processor(one)
    trace.set_tracer_provider(p)
    secret("before"); p.force_flush()
    runmain.serve()
    secret("after"); secret("health")
    p.force_flush(); p.force_flush()
    os._exit(0)
"""


class WrappedTest(InProcess):
    def check_masked(self, processor):
        self.run_code("run(%s)" % processor, head=HEAD, SERVER_STARTER_PORT="127.0.0.1:1=3")
        self.assertEqual(self.names(), [], processor)
        handed = self.handed()
        self.assertEqual(sorted(s.name for s, _ in handed), ["after", "before"], processor)
        self.assertEqual({a.value.string_value for s, _ in handed for a in s.attributes if a.key == "secret"}, {"***"})
        self.assertEqual({a["service.instance.id"] for _, a in handed}, {"11111111-2222-4333-8444-555555555555"})

    def test_an_exporter_around_it(self):
        self.check_masked("BatchSpanProcessor(Masking(exporter()))")

    def test_two_exporters_around_it(self):
        self.check_masked("SimpleSpanProcessor(Masking(Masking(exporter())))")

    def test_a_subclass(self):
        self.check_masked("BatchSpanProcessor(Subclass(endpoint='http://127.0.0.1:9/'))")

    def test_an_export_that_was_replaced(self):
        self.check_masked("SimpleSpanProcessor(patched())")

    def test_a_processor_around_one(self):
        self.check_masked("Filtering(BatchSpanProcessor(exporter()))")

    def test_a_processor_s_subclass(self):
        self.check_masked("FilteringBatch(exporter())")

    def test_with_a_direct_one_too_each_span_is_there_once_as_it_was(self):
        for processors in ("BatchSpanProcessor(Masking(exporter())), BatchSpanProcessor(exporter())", "Enriching(exporter())"):
            self.setUp()
            self.run_code("run(%s)" % processors, head=HEAD, SERVER_STARTER_PORT="127.0.0.1:1=3")
            self.assertEqual(self.names(), ["after", "before", "health"], processors)
            self.assertEqual(self.requests, [])

    def test_one_that_is_added_late(self):
        self.run_code("""
            p = TracerProvider()
            trace.set_tracer_provider(p)
            runmain.serve()
            secret("as it was")
            late = tracer().start_span("late", attributes={"secret": "password"})
            p.add_span_processor(SimpleSpanProcessor(Masking(exporter())))
            late.end(); secret("after")
            os._exit(0)
        """, head=HEAD)
        self.assertEqual(self.names(), ["as it was"])
        self.assertEqual(sorted(s.name for s, _ in self.handed()), ["after", "late"])
        reader = self.channel.reader()
        self.assertEqual(sum(reader.lost(reader.taken()[0])), 1)  # "late", as what it was


if __name__ == "__main__":
    unittest.main()
