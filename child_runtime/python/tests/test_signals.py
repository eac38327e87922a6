"""Metrics and logs that are started for the program: whatever exporter package there is, and what the environment prefers."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from in_process import InProcess

# As if what begins so were not installed.
HEAD = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(missing): raise ImportError("not installed: " + name)
missing = MISSING
sys.meta_path.insert(0, Missing())
import logging, os
from opentelemetry import metrics, trace
import runmain
def started():
    runmain.setup_tracing(instrument=False)
    assert runmain.serve()
"""
HTTP, COMMON = "opentelemetry.exporter.otlp.proto.http", "opentelemetry.exporter.otlp.proto.common"
METRICS, LOGS = 1, 2
ALL = "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED"


class Signals(InProcess):
    def run_without(self, missing, code, **more):
        return self.run_code("import sys; sys.stderr = sys.stdout\n" + code, head=HEAD.replace("MISSING", repr(missing)), **more)

    def of(self, signal, kind):
        self.spans()
        return [kind.FromString(p[8:]) for p in self.requests if int.from_bytes(p[:4], "little") == signal]

    def bodies(self):
        requests = self.of(LOGS, ExportLogsServiceRequest)
        records = [x for q in requests for r in q.resource_logs for s in r.scope_logs for x in s.log_records]
        return [x.body.string_value for x in records]

    def points(self):
        """(name, temporality, value) of sums; (name, temporality, kind) of histograms."""
        found = []
        for request in self.of(METRICS, ExportMetricsServiceRequest):
            for m in [m for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics if not m.name.startswith("otel")]:
                data = getattr(m, m.WhichOneof("data"))
                value = data.data_points[0].as_int if m.WhichOneof("data") == "sum" else m.WhichOneof("data")
                found.append((m.name, data.aggregation_temporality, value))
        return found

    def test_logs_need_no_http_exporter(self):
        for setting in ("", "otlp", "otlp_proto_grpc"):
            with self.subTest(setting):
                self.setUp()
                out = self.run_without(HTTP, "started(); logging.warning('one')", OTEL_LOGS_EXPORTER=setting, **{ALL: "true"})
                self.assertEqual((self.bodies(), out), (["one"], ""))

    def test_a_handler_of_an_instrumentation_s_finds_a_provider(self):
        self.run_without("-", """
from opentelemetry._logs import get_logger_provider
from opentelemetry.sdk._logs import LoggingHandler
logging.getLogger().addHandler(LoggingHandler())  # with the API's proxy, as those that are put there early
started()
logging.warning("one")
assert type(get_logger_provider()).__module__.startswith("opentelemetry.sdk")
""")
        self.assertEqual(self.bodies(), ["one"])

    def test_logs_that_are_not_wanted(self):
        self.run_without("-", """
from opentelemetry.sdk._logs import LoggingHandler
logging.getLogger().addHandler(LoggingHandler())
started()
logging.warning("one")
""", OTEL_LOGS_EXPORTER="none")
        self.assertEqual(self.bodies(), [])

    def test_what_is_missing_is_said_once(self):
        code = """
started()
for n in range(2): logging.warning("one")
metrics.get_meter("m").create_counter("c").add(1)
metrics.get_meter_provider().force_flush()
"""
        out = self.run_without(COMMON, code, **{ALL: "true"})
        self.assertEqual(len(out.splitlines()), 2, out)
        for line, what in zip(out.splitlines(), ("logs", "metrics")):
            self.assertIn("runmain: no %s are exported: there is no opentelemetry-exporter-otlp-proto-http, nor -grpc," % what, line)
        self.assertEqual(self.run_without(COMMON, code, RUNMAIN_WORKER="1", **{ALL: "true"}), "")

    def test_the_temporality_that_is_preferred_counts(self):
        expected = {
            "": [2, 2, 2, "histogram"],
            "delta": [1, 2, 1, "histogram"],
            "LowMemory": [1, 2, 2, "histogram"],
        }
        for preferred, (counter, up_down, observed, kind) in expected.items():
            with self.subTest(preferred):
                self.setUp()
                self.run_without("-", """
started()
meter = metrics.get_meter("m")
one, other, size = meter.create_counter("counter"), meter.create_up_down_counter("up_down"), meter.create_histogram("size")
meter.create_observable_counter("observed", [lambda options: [metrics.Observation(7)]])
for n in range(2):
    one.add(5); other.add(5); size.record(1)
    metrics.get_meter_provider().force_flush()
os._exit(0)
""", OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=preferred)
                found = self.points()
                self.assertEqual({name: t for name, t, _ in found}, {"counter": counter, "up_down": up_down, "observed": observed, "size": counter})
                self.assertEqual([v for name, _, v in found if name == "counter"], [5, 5] if counter == 1 else [5, 10])
                self.assertEqual({v for name, _, v in found if name == "size"}, {kind})

    def test_the_histograms_that_are_preferred_count(self):
        self.run_without("-", """
started()
metrics.get_meter("m").create_histogram("size").record(1)
""", OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION="base2_exponential_bucket_histogram")
        self.assertEqual(self.points(), [("size", 2, "exponential_histogram")])


if __name__ == "__main__":
    unittest.main()
