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

class Named(BatchSpanProcessor):
    def __init__(self): super().__init__(span_exporter=Masking(exporter()))

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

    def test_an_exporter_that_is_told_by_its_name(self):
        self.check_masked("BatchSpanProcessor(span_exporter=Masking(exporter()))")

    def test_a_subclass_that_tells_it_by_its_name(self):
        self.check_masked("Named()")

    def test_a_processor_that_has_a_logger_wraps_nothing(self):
        self.run_code("""
            import logging
            from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
            from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
            logs = LoggerProvider()
            logs.add_log_record_processor(BatchLogRecordProcessor(exporter=OTLPLogExporter()))
            logging.getLogger().addHandler(LoggingHandler(logger_provider=logs))
            other = TracerProvider()
            other.add_span_processor(Filtering(BatchSpanProcessor(exporter())))
            class Own(SpanProcessor):
                def __init__(self, provider):
                    self.log, self.say = logging.getLogger("mine"), logging.getLogger("mine").info
                    self.provider, self.logs, self.metrics = provider, logs, OTLPMetricExporter()
                    self.tracer, self.other = provider.get_tracer("x"), other
            p = TracerProvider()
            p.add_span_processor(Own(p))
            trace.set_tracer_provider(p)
            runmain.serve()
            span("seen")
            os._exit(0)
        """, head=HEAD)
        self.assertEqual(self.names(), ["seen"])

    def test_a_proxy_that_is_bound_to_nothing_is_no_error(self):
        self.run_code("""
            import flask
            class Own(SpanProcessor):
                def __init__(self, inner): self.app, self.inner = flask.current_app, inner
                def on_end(self, s): self.inner.on_end(masked(s))
            run(Own(SimpleSpanProcessor(exporter())))
        """, head=HEAD, SERVER_STARTER_PORT="127.0.0.1:1=3")
        self.assertEqual(self.names(), [])
        self.assertEqual(sorted({s.name for s, _ in self.handed()}), ["after", "before", "health"])

    def lost(self):
        reader = self.channel.reader()
        return sum(sum(reader.lost(lane)) for lane in reader.taken())

    def test_what_is_withheld_and_never_comes_out_is_lost(self):
        swallowing = """
            class Swallowing(SpanProcessor):
                def __init__(self, inner): self.inner = inner
            trace.set_tracer_provider(TracerProvider())
            trace.get_tracer_provider().add_span_processor(Swallowing(BatchSpanProcessor(exporter())))
        """
        self.run_code(swallowing + """
            span("a"); span("b")
        """, head=HEAD)
        self.assertEqual((self.names(), self.lost()), ([], 2))
        self.setUp()
        self.run_code(swallowing + """
            from runmain import _sink
            _sink.WITHHELD_MAX = 0.2
            runmain.serve()
            span("a"); span("b"); time.sleep(0.3); span("c"); span("d")
            os._exit(0)
        """, head=HEAD)
        self.assertEqual((self.names(), self.lost()), ([], 4))

    def test_what_is_withheld_and_comes_out_is_not_lost(self):
        self.run_code("""
            from runmain import _sink
            _sink.WITHHELD_MAX = 0.0
            run(Filtering(SimpleSpanProcessor(exporter())))
        """, head=HEAD, SERVER_STARTER_PORT="127.0.0.1:1=3")
        self.assertEqual(self.names(), [])
        self.assertEqual(self.lost(), 0)

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
