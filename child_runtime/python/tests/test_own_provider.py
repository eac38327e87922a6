"""Providers of the program's own, set before and after the ones that are made for it: the program's count."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

from in_process import HEAD, InProcess

HEAD = HEAD + """
from opentelemetry.sdk.resources import Resource
def console(): return SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda s: "console " + s.name + chr(10)))
def own(**attributes): return TracerProvider(resource=Resource.create(dict(attributes, own="yes")))
class Masking(SimpleSpanProcessor):
    def on_end(self, span):
        if "secret" not in span.name: super().on_end(span)
"""
# One that implements the API and nothing else.
PLAIN = """
class PlainTracer(trace.Tracer):
    def start_span(self, name, *args, **kwargs):
        print("plain", name)
        return trace.INVALID_SPAN
    def start_as_current_span(self, name, *args, **kwargs):
        print("plain", name)
        return trace.use_span(trace.INVALID_SPAN)
class Plain:
    def get_tracer(self, name, version=None, schema_url=None, attributes=None): return PlainTracer()
"""


class OwnProvider(InProcess):
    def run_code(self, code, check=0, head=HEAD, **more):
        return super().run_code(code, check, head, **more)

    def check_spans(self, expected):
        """Name → whether it has the program's resource, of all spans: none twice."""
        found = self.spans()
        self.assertEqual({s.name: a.get("own") == "yes" for s, a in found}, expected)
        self.assertEqual(len(found), len(expected))

    def test_processors_of_ours_are_handed_over(self):
        out = self.run_code("""
            runmain.setup_tracing(instrument=False)
            ours = trace.get_tracer_provider()
            ours.add_span_processor(console())
            runmain.serve()
            old = trace.get_tracer("old")
            opened = old.start_span("opened")
            span("one")
            trace.set_tracer_provider(own())
            opened.end()
            span("two"); old.start_span("three").end()
            ours.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda s: "late " + s.name + chr(10))))
            span("four")
        """)
        self.check_spans({"one": False, "opened": False, "two": True, "three": True, "four": True})
        self.assertEqual(out.split("\n")[:-1], ["console one", "console opened", "console two", "console three", "console four", "late four"])

    def test_a_console_of_the_environment_sees_the_program_s_spans(self):
        for order in ("trace.set_tracer_provider(own()); {start}", "{start}; trace.set_tracer_provider(own())"):
            with self.subTest(order):
                self.setUp()
                out = self.run_code(order.format(start="runmain.setup_tracing(instrument=False); runmain.serve()") + """
assert trace.get_tracer_provider().resource.attributes["own"] == "yes"
span("one")
""", OTEL_TRACES_EXPORTER="console,otlp", OTEL_METRICS_EXPORTER="none", OTEL_LOGS_EXPORTER="none")
                self.check_spans({"one": True})
                self.assertEqual(out.count('"name": "one"'), 1, out)

    def test_what_the_program_masks_is_not_unmasked_by_ours(self):
        self.run_code("""
            runmain.setup_tracing(instrument=False)
            runmain.serve()
            span("before")
            provider = own()
            provider.add_span_processor(Masking(exporter()))
            trace.set_tracer_provider(provider)
            span("secret"); span("known")
        """, OTEL_METRICS_EXPORTER="none")
        self.check_spans({"before": False})
        self.assertEqual([s.name for s, _ in self.handed()], ["known"])

    def test_a_provider_of_the_api_alone_wins(self):
        out = self.run_code(PLAIN + """
proxy = trace.get_tracer("proxy")  # as instrumentations hold it
runmain.setup_tracing(instrument=False)
runmain.serve()
proxy.start_span("of ours").end()
old = trace.get_tracer("old")
plain = Plain()
trace.set_tracer_provider(plain)
assert trace.get_tracer_provider() is plain
proxy.start_span("proxy"); old.start_span("old"); trace.get_tracer("new").start_span("new")
with old.start_as_current_span("current"): pass
""")
        self.assertEqual(out, "plain proxy\nplain old\nplain new\nplain current\n")
        self.check_spans({"of ours": False})

    def test_of_two_of_the_program_s_the_api_s_rule_holds_for_one_of_the_api_alone(self):
        self.run_code(PLAIN + """
first = own()
trace.set_tracer_provider(first)
runmain.serve()
trace.set_tracer_provider(Plain())
assert trace.get_tracer_provider() is first
span("one")
""")
        self.check_spans({"one": True})

    def test_old_tracers_keep_the_program_s_resource_after_a_fork(self):
        self.run_code("""
            runmain.setup_tracing(instrument=False)
            old = trace.get_tracer("old")
            proxy = trace.ProxyTracer("proxy")
            proxy.start_span("dropped")
            trace.set_tracer_provider(own())
            if os.fork() == 0:
                runmain.serve()
                old.start_span("old").end(); proxy.start_span("proxy").end()
                os._exit(0)
            os.wait(); os._exit(0)
        """)
        self.check_spans({"old": True, "proxy": True})

    def test_one_that_is_set_again(self):
        self.run_code("""
            first, second = own(), TracerProvider()
            trace.set_tracer_provider(first)
            of_first = trace.get_tracer("first")
            runmain.serve()
            trace.set_tracer_provider(second)
            of_second = trace.get_tracer("second")
            of_first.start_span("1").end(); of_second.start_span("2").end()
            trace.set_tracer_provider(first)
            of_first.start_span("3").end(); of_second.start_span("4").end(); second.get_tracer("x").start_span("5").end()
        """)
        self.check_spans({"1": False, "2": False, "3": True, "4": True, "5": True})


METERS = HEAD + """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
def mine():
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
def counted():
    data = reader.get_metrics_data()
    scopes = [scope for r in data.resource_metrics for scope in r.scope_metrics] if data else []
    return {m.name: m.data.data_points[0].value for scope in scopes for m in scope.metrics if not m.name.startswith("otel.")}
early = metrics.get_meter("early").create_counter("early")
"""
EVERY_MINUTE = {"OTEL_METRIC_EXPORT_INTERVAL": "60000", "OTEL_METRICS_EXPORTER": "otlp"}


class OwnOthers(InProcess):
    def test_meters_and_instruments_follow(self):
        self.run_code("""
            runmain.setup_tracing(instrument=False)
            runmain.serve()
            ours = metrics.get_meter_provider()
            meter = metrics.get_meter("direct")
            direct = meter.create_counter("direct")
            observed = meter.create_observable_gauge("observed", [lambda options: [metrics.Observation(7)]])
            assert meter.create_counter("direct") is direct
            early.add(1); direct.add(1)
            mine()
            assert metrics.get_meter_provider() is not ours
            early.add(10); direct.add(20)
            meter.create_counter("late").add(30); metrics.get_meter("other").create_counter("other").add(40)
            found = counted()
            assert found == {"early": 10, "direct": 20, "late": 30, "other": 40, "observed": 7}, found
        """, head=METERS, **EVERY_MINUTE)
        self.spans()
        bodies = [p for p in self.requests if p[:4] == (1).to_bytes(4, "little")]
        self.assertEqual([sum(p.count(name) for p in bodies) for name in (b"early", b"direct")], [2, 2])  # scope and name

    def test_the_program_s_meters_that_were_there_before_stay(self):
        out = self.run_code("""
            import logging; logging.basicConfig(stream=sys.stdout)
            mine()
            runmain.setup_tracing(instrument=False)
            runmain.serve()
            early.add(1)
            assert counted() == {"early": 1}
            trace.set_tracer_provider(own())
        """, head=METERS, OTEL_TRACES_EXPORTER="console", OTEL_LOGS_EXPORTER="none", **EVERY_MINUTE)
        self.assertEqual(out, "")

    def test_logs_go_to_the_program_s_provider_once(self):
        for handler in (True, False):
            with self.subTest(handler):
                self.setUp()
                self.run_code("""
                    import logging
                    from opentelemetry._logs import set_logger_provider, get_logger_provider
                    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
                    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
                    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
                    runmain.setup_tracing(instrument=False)
                    runmain.serve()
                    logging.warning("to ours")
                    mine = LoggerProvider()
                    mine.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter("http://127.0.0.1:9/v1/logs")))
                    set_logger_provider(mine)
                    assert get_logger_provider() is mine
                    if %r: logging.getLogger().addHandler(LoggingHandler(logger_provider=mine))
                    logging.warning("to mine")
                """ % handler, head=HEAD, OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED="true")
                self.spans()
                self.assertEqual([sum(p.count(text) for p in self.requests) for text in (b"to ours", b"to mine")], [1, 1])


if __name__ == "__main__":
    unittest.main()
