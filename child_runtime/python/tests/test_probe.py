"""What a program says to the doctor, record by record, with the SDK that is installed here."""
import importlib.util
import os
import sys
import unittest

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]

from probed import HEADER, Probed

HEAD = """
import os, signal, sys, threading, time
from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
"""


class ProbeTest(Probed):
    def run_sdk(self, source, **options):
        return self.run_code(HEAD + source, **options)

    def test_a_process_says_what_it_is(self):
        self.run_code("pass")
        process = self.only("process")
        self.assertEqual(process["runtime"], "python %d.%d.%d" % sys.version_info[:3])
        self.assertEqual((process["ppid"], process["forked"]), (os.getpid(), False))
        self.assertEqual(process["argv"], [sys.executable, self.folder + "/program.py"])
        self.assertEqual(list(self.by_process()), [process["pid"]])

    def test_without_a_doctor_nothing_is_written_or_loaded(self):
        out = self.run_code("import sys; print('runmain_probe' in sys.modules, sys.path)", RUNMAIN_DOCTOR="")
        self.assertEqual((out.split()[0], self.by_process()), ("False", {}))
        self.assertNotIn("probe'", out)

    def test_a_provider_its_resource_and_its_line(self):
        self.run_sdk("p = TracerProvider(resource=Resource({'service.name': 'x', 'n': 1}))  # here\n")
        provider = self.only("provider")
        self.assertEqual((provider["class"], provider["resource"]), ("TracerProvider", {"service.name": "x", "n": "1"}))
        self.assertEqual(provider["stack"], [self.line_of("# here") + " <module>"])
        self.assertIn("opentelemetry-sdk", [one["name"] for one in self.records("package")])
        self.assertRegex(self.records("package")[0]["version"], r"^1\.\d+\.\d+$")

    def test_a_second_global_provider_is_refused_also_in_a_forked_child_and_the_first_is_named(self):
        self.run_sdk("""
one, two = TracerProvider(), TracerProvider()
trace.set_tracer_provider(one)
trace.set_tracer_provider(two)  # refused
if os.fork() == 0:
    trace.set_tracer_provider(two)
    os._exit(0)
os.wait()
""")
        ids = [one["id"] for one in self.records("provider")]
        first, second, in_child = sorted(self.records("set"), key=lambda one: one["t"])
        self.assertEqual((first["provider"], first["accepted"], "first_pid" in first), (ids[0], True, False))
        self.assertEqual((second["provider"], second["accepted"], second["first_pid"]), (ids[1], False, first["pid"]))
        self.assertEqual((in_child["provider"], in_child["accepted"], in_child["first_pid"]), (ids[1], False, first["pid"]))
        self.assertNotEqual(in_child["pid"], first["pid"])
        self.assertIn(self.line_of("# refused"), second["stack"][-1])

    def test_processors_with_their_exporters_and_endpoints(self):
        self.run_sdk("""
class Wrapping(ConsoleSpanExporter):
    def __init__(self, inner): self.inner = inner
p = TracerProvider()
e = OTLPSpanExporter(endpoint="http://collector:4318/v1/traces")
p.add_span_processor(BatchSpanProcessor(e))
p.add_span_processor(SimpleSpanProcessor(e))
p.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
p.add_span_processor(BatchSpanProcessor(Wrapping(OTLPSpanExporter())))
os._exit(0)
""")
        batch, simple, console, wrapping = self.records("processor")
        self.assertEqual([one["class"] for one in (batch, simple, console)], ["BatchSpanProcessor", "SimpleSpanProcessor", "SimpleSpanProcessor"])
        self.assertEqual([one["batch"] for one in (batch, simple, console, wrapping)], [True, False, False, True])
        self.assertEqual((batch["exporter"], batch["exporter_class"]), (simple["exporter"], "OTLPSpanExporter"))
        self.assertEqual((batch["endpoint"], batch["protocol"]), ("http://collector:4318/v1/traces", "http/protobuf"))
        self.assertNotEqual(batch["id"], simple["id"])
        self.assertEqual((console["exporter_class"], "endpoint" in console), ("ConsoleSpanExporter", False))
        self.assertEqual((wrapping["exporter_class"], wrapping["endpoint"]), ("Wrapping", "http://localhost:4318/v1/traces"))

    def test_a_span_s_start_becoming_current_and_end(self):
        self.run_sdk("""
trace.set_tracer_provider(TracerProvider())
tracer = trace.get_tracer("mine")
def work():
    with tracer.start_as_current_span("a", kind=trace.SpanKind.SERVER):
        with tracer.start_as_current_span("b"): pass
        tracer.start_span("never current").end()
        late = tracer.start_span("never ended")
        with trace.use_span(late): pass
        with trace.use_span(late): pass
work()
""")
        a, b, never_current, never_ended = self.records("start")
        self.assertEqual((a["name"], a["kind"], a["scope"], a["by"]), ("a", 2, "mine", "program"))
        self.assertEqual((b["parent"], b["trace"], "parent" in a), (a["span"], a["trace"], False))
        self.assertEqual(a["provider"], self.only("provider")["id"])
        self.assertRegex(a["at"], "program.py:[0-9]+ work$")
        self.assertEqual([one["span"] for one in self.records("activate")], [one["span"] for one in (a, b, never_ended)])
        self.assertEqual([one["span"] for one in self.records("end")], [one["span"] for one in (b, never_current, a)])

    def test_what_a_forked_child_has_inherited(self):
        self.run_sdk("""
p = TracerProvider()
p.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=60000))
other = TracerProvider()
tracer = p.get_tracer("x")
tracer.start_span("ended").end()
boot = tracer.start_span("boot")
if os.fork() == 0:
    boot.end()
    os._exit(3)
os.wait()
""")
        provider = self.records("provider")[0]
        fork = self.only("fork")
        child = self.by_process()[fork["pid"]]
        self.assertEqual([one["k"] for one in child], ["process", "fork", "end", "exit"])
        self.assertEqual((child[0]["forked"], child[0]["ppid"]), (True, provider["pid"]))
        self.assertEqual((fork["parent"], fork["providers"], fork["queued"]), (provider["pid"], [provider["id"]], 1))
        boot = self.records("start")[1]
        self.assertEqual(fork["open"], [{"trace": boot["trace"], "span": boot["span"], "name": "boot"}])
        self.assertEqual((child[3]["how"], child[3]["code"]), ("os._exit", 3))
        self.assertIn("<module>", child[3]["stack"][0])

    def test_exports_go_to_the_doctor_s_receiver_by_one_connection(self):
        self.run_sdk("""
p = TracerProvider()
e = OTLPSpanExporter(endpoint="http://192.0.2.1:4318/v1/traces", headers={"authorization": "x"})
p.add_span_processor(SimpleSpanProcessor(e))
tracer = p.get_tracer("x")
tracer.start_span("a").end()
tracer.start_span("b").end()
""")
        self.assertEqual(self.receiver.spans(), ["a", "b"])
        self.assertEqual([one[1] for one in self.receiver.requests], [HEADER[1]] * 2)
        self.assertEqual(len({one[2] for one in self.receiver.requests}), 1)
        for one in self.records("export"):
            self.assertEqual((one["exporter"], one["spans"], one["ok"]), (self.only("processor")["exporter"], 1, True))
            self.assertGreater(one["ms"], 0)

    def test_a_receiver_that_is_gone_is_a_failed_export_and_one_line(self):
        self.run_sdk("""
p = TracerProvider()
p.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
for name in "ab": p.get_tracer("x").start_span(name).end()
""", quiet=False, RUNMAIN_DOCTOR_ENDPOINT="http://127.0.0.1:9")
        self.assertEqual([one["ok"] for one in self.records("export")], [False, False])
        self.assertEqual(self.stderr.count("runmain:"), 1, self.stderr)

    def test_metrics_go_to_the_receiver_too(self):
        self.run_code("""
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            p = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(endpoint="http://192.0.2.1:4318/v1/metrics"))])
            p.get_meter("x").create_counter("n").add(1)
            p.shutdown()
        """)
        self.assertEqual({one[0] for one in self.receiver.requests}, {"/v1/metrics"})

    def test_logs_go_to_the_receiver_too(self):
        self.run_code("""
            import logging
            from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
            from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
            from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
            p = LoggerProvider()
            p.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint="http://192.0.2.1:4318/v1/logs")))
            logging.getLogger().addHandler(LoggingHandler(logger_provider=p))
            logging.error("x")
            p.shutdown()
        """)
        self.assertEqual({one[0] for one in self.receiver.requests}, {"/v1/logs"})

    def test_the_end_comes_before_the_provider_s_shutdown(self):
        self.run_sdk("""
p = TracerProvider()
p.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
p.get_tracer("x").start_span("a").end()
""")
        kinds = [one["k"] for one in self.records("exit") + self.records("export") + self.records("shutdown")]
        self.assertEqual(kinds, ["exit", "export", "shutdown"])
        last = next(iter(self.by_process().values()))[-3:]
        self.assertEqual([one["k"] for one in last], kinds)
        self.assertEqual((last[0]["how"], last[2]["provider"]), ("atexit", self.only("provider")["id"]))
        self.assertGreater(last[2]["ms"], 0)

    def test_handlers_of_signals(self):
        self.run_code("""
            import asyncio, functools, signal
            def handler(*_): pass  # here
            signal.signal(signal.SIGTERM, handler)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGUSR1, handler)
            def stop(n): pass  # in the loop
            async def main(): asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, functools.partial(stop, 1))
            asyncio.run(main())
        """)
        ours = [one for one in self.records("signal") if "program.py" in one["stack"][0]]
        self.assertEqual([(one["signal"], one["handler"]) for one in ours], [
            ("SIGTERM", self.line_of("# here")), ("SIGINT", "SIG_IGN"), ("SIGTERM", self.line_of("# in the loop"))])

    def test_kills(self):
        self.run_code("""
            import os, signal, subprocess
            child = subprocess.Popen(["sleep", "60"])
            print(child.pid)
            child.terminate()
            child.wait()
            os.kill(os.getpid(), 0)
            os.kill(os.getpid(), signal.SIGKILL)
        """, code=-9)
        term, kill = self.records("kill")
        self.assertEqual((term["signal"], kill["signal"], kill["to"]), ("SIGTERM", "SIGKILL", kill["pid"]))
        self.assertIn("terminate", " ".join(term["stack"]))

    def test_a_line_and_a_file_have_bounds(self):
        self.run_sdk("""
p = TracerProvider(resource=Resource({"k%d" % n: "x" * 900 for n in range(60)}))
for _ in range(3000): p.get_tracer("x").start_span("a").end()
""")
        (lines,) = self.by_process().values()
        self.assertEqual([one["k"] for one in lines].count("full"), 1)
        self.assertEqual(len([one for one in lines if one["k"] in ("start", "end")]), 3072)
        self.assertEqual((lines[-2]["k"], lines[-2]["left_out"], lines[-1]["k"]), ("exit", 6000 - 3072, "shutdown"))
        self.assertNotIn("resource", self.only("provider"))

    def test_whoever_closes_all_descriptors_keeps_its_files_clean(self):
        self.run_code("""
            import os
            for fd in os.listdir("/proc/self/fd"):
                if int(fd) > 2:
                    try: os.close(int(fd))
                    except OSError: pass
            fds = [os.open("mine", os.O_CREAT | os.O_WRONLY) for _ in range(250)]
            os.kill(os.getpid(), 15)
        """, code=-15)
        self.assertEqual([os.path.getsize(self.folder + "/mine"), len(self.records("kill"))], [0, 1])

    def test_a_folder_that_cannot_be_written_is_one_line_and_no_more(self):
        out = self.run_sdk("p = TracerProvider()\np.get_tracer('x').start_span('a').end()\nprint('done')\n", quiet=False, RUNMAIN_DOCTOR="/proc/nowhere")
        self.assertEqual((out, self.stderr.count("runmain:")), ("done\n", 1), self.stderr)

    def test_a_process_that_executes_another_program_says_both(self):
        self.run_code("import os, sys\nif 'again' not in sys.argv: os.execl(sys.executable, sys.executable, __file__, 'again')\n")
        (lines,) = self.by_process().values()
        self.assertEqual([one["k"] for one in lines], ["process", "exit", "process", "exit"])
        self.assertEqual((lines[1]["how"], lines[2]["argv"][-1]), ("os.exec", "again"))


class AppliedTest(Probed):
    def test_a_library_s_instrumentation_twice(self):
        self.run_code("""
            from opentelemetry.instrumentation.flask import FlaskInstrumentor
            FlaskInstrumentor().instrument()  # first
            FlaskInstrumentor().instrument()  # second
            import flask
            app = flask.Flask("x")
            FlaskInstrumentor.instrument_app(app)  # its app
            FlaskInstrumentor().instrument_app(app)
        """)
        first, second, app, again = self.records("instrument")
        self.assertEqual([(one["class"], one["library"], one["automatic"]) for one in (first, second, app, again)], [("FlaskInstrumentor", "flask", False)] * 4)
        self.assertEqual([one["refused"] for one in (first, second, app, again)], [False, True, True, True])
        self.assertIn(self.line_of("# second"), second["stack"][0])
        self.assertIn(self.line_of("# its app"), app["stack"][0])
        self.assertEqual((app["app"], "app" in first), (again["app"], False))
        self.assertEqual([(one["library"], one["by"]) for one in self.records("middleware")], [("flask", "instrumentor")])

    def test_an_app_that_has_built_its_middleware_is_late(self):
        self.run_code("""
            from fastapi import FastAPI
            from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
            early, late = FastAPI(), FastAPI()
            FastAPIInstrumentor.instrument_app(early)
            late.middleware_stack = late.build_middleware_stack()
            try: FastAPIInstrumentor.instrument_app(late)
            except RuntimeError: pass
        """)
        early, late = self.records("instrument")
        self.assertEqual((early["late"], early["refused"], late["late"], late["refused"]), (False, False, True, False))
        self.assertNotEqual(early["app"], late["app"])

    def test_middlewares_of_the_program_and_of_an_instrumentation(self):
        self.run_code("""
            from fastapi import FastAPI
            from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
            from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
            from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware as Wsgi
            one, two = FastAPI(), FastAPI()
            FastAPIInstrumentor.instrument_app(one)
            one.build_middleware_stack()
            two.add_middleware(OpenTelemetryMiddleware)  # added
            two.build_middleware_stack()
            Wsgi(lambda *_: [])  # here
        """)
        of_instrumentor, of_program, wsgi = self.records("middleware")
        self.assertEqual([(one["class"], one["library"], one["by"]) for one in (of_instrumentor, of_program, wsgi)], [
            ("OpenTelemetryMiddleware", "asgi", "instrumentor"),
            ("OpenTelemetryMiddleware", "asgi", "program"),
            ("OpenTelemetryMiddleware", "wsgi", "program"),
        ])
        self.assertIn(self.line_of("# added"), of_program["stack"][0])
        self.assertIn(self.line_of("# here"), wsgi["stack"][0])

    def test_spans_of_an_instrumentation_are_by_a_library(self):
        self.run_code("""
            import flask
            from opentelemetry import trace
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.instrumentation.flask import FlaskInstrumentor
            trace.set_tracer_provider(TracerProvider())
            app = flask.Flask("x")
            FlaskInstrumentor.instrument_app(app)
            @app.route("/")
            def index(): return "x"
            app.test_client().get("/")
        """)
        start = self.only("start")
        self.assertEqual((start["by"], start["kind"], start["scope"]), ("library", 2, "opentelemetry.instrumentation.flask"))
        self.assertIn("/instrumentation/", start["at"])
        self.assertEqual(len(self.records("activate")), 1)
        self.assertIn("flask", [one["name"] for one in self.records("package")])


    @unittest.skipUnless(importlib.util.find_spec("django"), "no Django here")
    def test_django_s_middleware(self):
        self.run_code("""
            import django
            from django.conf import settings
            from django.core.handlers.wsgi import WSGIHandler
            from opentelemetry.instrumentation.django import DjangoInstrumentor
            settings.configure(MIDDLEWARE=[], ROOT_URLCONF="program")
            DjangoInstrumentor().instrument()
            django.setup()
            WSGIHandler()
        """, DJANGO_SETTINGS_MODULE="")
        middleware = self.only("middleware")
        self.assertEqual((middleware["class"], middleware["library"], middleware["by"]), ("_DjangoMiddleware", "django", "instrumentor"))


class GrpcTest(Probed):
    @unittest.skipUnless(importlib.util.find_spec("grpc"), "no gRPC here")
    def test_an_exporter_that_speaks_grpc_is_sent_as_http(self):
        self.run_code("""
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
            p = TracerProvider()
            p.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint="http://192.0.2.1:4317", insecure=True)))
            p.get_tracer("x").start_span("a").end()
            p.shutdown()
        """)
        processor = self.only("processor")
        self.assertEqual((processor["endpoint"], processor["protocol"]), ("http://192.0.2.1:4317", "grpc"))
        self.assertEqual((self.receiver.spans(), self.only("export")["ok"]), (["a"], True))


if __name__ == "__main__":
    unittest.main()
