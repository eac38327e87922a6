"""When the SDK is started under RUNMAIN_AUTO=1: at the claim or at the first need, never in a launcher."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

from in_process import InProcess

HEAD = """
import os, sys, types
import flask
from opentelemetry import trace, metrics
import runmain
from runmain import _runners
sdk = "opentelemetry.sdk.trace"
early = trace.get_tracer("early")
app = flask.Flask("app")
app.add_url_rule("/x", "x", lambda: "x")
def is_set(): return trace._TRACER_PROVIDER is not None
"""
LISTENS = {"SERVER_STARTER_PORT": "127.0.0.1:1=3", "RUNMAIN_AUTO": "1"}


def flask_version():
    from importlib.metadata import version

    return version("flask")


class StartTest(InProcess):
    def run_auto(self, code, **more):
        return self.run_code(code, head=HEAD, RUNMAIN_AUTO="1", **more)

    def test_an_import_instruments_and_the_claim_starts(self):
        self.run_auto("""
            assert not is_set()
            counter = metrics.get_meter("m").create_counter("c")
            assert runmain.serve() and is_set()
            early.start_span("early").end()
            app.test_client().get("/x")
            counter.add(1)
            metrics.get_meter_provider().force_flush()
            os._exit(0)
        """)
        self.assertEqual(self.names(), ["GET /x", "early"])
        self.assertEqual(len(self.requests), 1)

    def test_instrumentations_that_look_at_their_libraries_themselves(self):
        """As with 0.54 of opentelemetry-instrumentation; one that does not fit is skipped without a word."""
        for found, names in ((flask_version(), ["GET /x"]), ("0.1", [])):
            with self.subTest(found):
                self.setUp()
                out = self.run_code("""
                    import sys; sys.stderr = sys.stdout
                    import importlib.metadata as metadata
                    from opentelemetry.instrumentation import dependencies
                    if hasattr(dependencies, "get_dist_dependency_conflicts"): del dependencies.get_dist_dependency_conflicts
                    of = dependencies.version
                    dependencies.version = lambda name: "%s" if name.lower() == "flask" else of(name)
                    import flask, runmain
                    app = flask.Flask("app")
                    app.add_url_rule("/x", "x", lambda: "x")
                    runmain.serve()
                    app.test_client().get("/x")
                """ % found, head="", RUNMAIN_AUTO="1")
                self.assertEqual((self.names(), out), (names, ""))

    def test_what_an_instrumentation_wants_is_read_as_importlib_reads_it(self):
        out = self.run_auto("""
            from importlib.metadata import distributions
            from runmain._instrument import _Requires
            import email.parser
            known = list(distributions())
            expected = [one.requires for one in known]
            email.parser.Parser.parsestr = None  # what takes its time
            assert [_Requires(one).requires for one in known] == expected
            print(sum(1 for one in expected if one) > 10)
        """)
        self.assertEqual(out, "True\n")

    def test_of_opentelemetry_s_modules_those_are_looked_at_that_no_other_one_imports(self):
        self.run_code("""
            import socket
            from runmain import _instrument
            seen, catch_up = [], _instrument.catch_up
            _instrument.catch_up = lambda module: (seen.append(module.__name__), catch_up(module))
            import opentelemetry.sdk.trace
            assert seen[0] == "opentelemetry.sdk.trace" and len(seen) < 20, seen
            assert "opentelemetry.sdk.util.instrumentation" in sys.modules and "opentelemetry.sdk.util.instrumentation" not in seen
            try: import opentelemetry.sdk.none_of_it
            except ImportError: pass
            import opentelemetry.sdk.error_handler
            assert seen[-1] == "opentelemetry.sdk.error_handler", seen
        """, head="import sys\n", RUNMAIN_AUTO="1")

    def test_the_resource_is_made_once(self):
        self.run_auto("""
            from opentelemetry.sdk.resources import Resource
            create, made = Resource.create, []
            Resource.create = staticmethod(lambda *args: made.append(args) or create(*args))
            runmain.serve()
            assert is_set() and len(made) == 1, made
        """)

    def test_a_launcher_has_none_and_its_child_has(self):
        self.run_auto("""
            _runners.launch()
            early.start_span("of the launcher").end()
            app.test_client().get("/x")
            assert not hasattr(trace.get_tracer_provider(), "add_span_processor") and not is_set()
            runmain.setup_tracing()
            assert not is_set()
            for n in range(2):
                pid = os.fork()
                if pid == 0:
                    assert not is_set() and runmain.serve() and is_set()
                    early.start_span("early").end()
                    app.test_client().get("/x")
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
            assert not is_set()
        """)
        self.assertEqual(self.names(), ["GET /x", "GET /x", "early", "early"])
        self.assertEqual(len({a["service.instance.id"] for _, a in self.spans()} or {1, 2}), 2)

    def test_a_job_starts_at_its_first_span(self):
        self.run_auto("""
            assert not is_set()
            with early.start_as_current_span("job"): assert is_set()
        """)
        self.assertEqual(self.names(), ["job"])

    def test_a_program_that_asks_for_the_provider_gets_one(self):
        self.run_auto("""
            from opentelemetry.sdk.trace import TracerProvider
            assert not is_set()
            assert isinstance(trace.get_tracer_provider(), TracerProvider)
        """)

    def test_the_program_s_own_provider_before_the_claim_stays(self):
        code = """
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.resources import Resource
            own = TracerProvider(resource=Resource.create({"own": "yes"}))
            trace.set_tracer_provider(own)
            runmain.serve()
            assert trace.get_tracer_provider() is own
            early.start_span("early").end()
            os._exit(0)
        """
        self.run_auto(code)
        self.run_auto(code, OTEL_TRACES_EXPORTER="console")  # by way of OpenTelemetry's configurator
        self.assertEqual([(s.name, a.get("own")) for s, a in self.spans()], [("early", "yes")] * 2)

    def test_the_program_s_own_provider_after_the_claim_wins(self):
        self.run_auto("""
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.resources import Resource
            runmain.serve()
            early.start_span("ours").end()
            trace.set_tracer_provider(TracerProvider(resource=Resource.create({"own": "yes"})))
            early.start_span("own").end()
            os._exit(0)
        """)
        self.assertEqual({s.name: a.get("own") for s, a in self.spans()}, {"ours": None, "own": "yes"})

    def test_the_sdk_s_import_before_the_api_s_and_an_instrumentation_s(self):
        for first in ("import opentelemetry.sdk.trace", "from opentelemetry.instrumentation.flask import FlaskInstrumentor"):
            self.setUp()
            code = first + """
import os, runmain
from opentelemetry import trace
import flask
app = flask.Flask("app")
app.add_url_rule("/x", "x", lambda: "x")
runmain.serve()
app.test_client().get("/x")
os._exit(0)
"""
            self.run_code(code, head="", RUNMAIN_AUTO="1")
            self.assertEqual(self.names(), ["GET /x"], first)

    def test_uwsgi_s_children_claim_in_its_hook(self):
        out = self.run_auto("""
            uwsgi, calls = types.ModuleType("uwsgi"), []
            uwsgi.number = 0
            uwsgi.worker_id = lambda: uwsgi.number
            sys.modules["uwsgi"] = uwsgi
            _runners.uwsgi(uwsgi)
            uwsgi.post_fork_hook = lambda: print("the user's own", runmain.serving(), is_set(), flush=True)  # as uwsgidecorators does
            early.start_span("of the master").end()
            assert not is_set()
            for number in (0, 1):  # a mule, a worker
                pid = os.fork()
                if pid == 0:
                    uwsgi.number = number
                    uwsgi.__dict__["post_fork_hook"]()
                    if number: early.start_span("worker").end()
                    os._exit(0)
                os.waitpid(pid, 0)
        """)
        self.assertEqual(out, "the user's own False False\nthe user's own True True\n")
        self.assertEqual(self.names(), ["worker"])

    def test_settings_that_the_sdk_refuses_do_not_stop_the_program(self):
        out = self.run_auto("""
            sys.stderr = sys.stdout
            early.start_span("early").end()
            assert runmain.serve()
            app.test_client().get("/x")
            print("served")
        """, OTEL_TRACES_EXPORTER="nonsense")
        told, served = out.splitlines()[-2:]
        self.assertTrue(told.startswith("runmain: OpenTelemetry cannot be started: RuntimeError"), told)
        self.assertEqual(served, "served")

    def test_exporters_of_metrics_and_logs_that_are_not_otlp(self):
        code = """
            import logging, json
            counter = metrics.get_meter("m").create_counter("of_the_program")
            runmain.serve()
            counter.add(1)
            early.start_span("early").end()
            logging.getLogger("l").warning("a word")
            getattr(metrics.get_meter_provider(), "force_flush", int)()
            from opentelemetry._logs import get_logger_provider
            getattr(get_logger_provider(), "force_flush", int)()
            sys.stdout.flush()
            os._exit(0)
        """
        logs = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true"}
        out = self.run_auto(code, OTEL_METRICS_EXPORTER="console", OTEL_LOGS_EXPORTER="none", **logs)
        self.assertIn("of_the_program", out)
        self.assertNotIn("a word", out)
        self.assertEqual((self.names(), self.requests), (["early"], []))
        self.setUp()
        out = self.run_auto(code, OTEL_METRICS_EXPORTER="none", OTEL_LOGS_EXPORTER="console", **logs)
        self.assertIn("a word", out)
        self.assertEqual((self.names(), self.requests), (["early"], []))
        self.setUp()
        out = self.run_auto(code, OTEL_METRICS_EXPORTER="nonsense", **logs)
        self.assertEqual((self.names(), len(self.requests)), (["early"], 1))  # the log

    def test_rq_s_main_process_launches_and_its_work_horses_serve(self):
        self.run_auto("""
            class Worker:
                def work(self):
                    early.start_span("of the main process").end()
                    pid = os.fork()
                    if pid == 0: self.main_work_horse()
                    os.waitpid(pid, 0)
                def main_work_horse(self):
                    early.start_span("job").end(); os._exit(0)
            class SimpleWorker(Worker): pass
            module = types.SimpleNamespace(Worker=Worker, SimpleWorker=SimpleWorker)
            _runners.rq(module); _runners.rq(module)
            Worker().work()
            assert not runmain.serving()
            SimpleWorker().work()
            assert runmain.serving()
        """)
        self.assertEqual(self.names(), ["job", "job", "of the main process"])

    def test_a_missing_sdk_is_told_once_by_who_serves(self):
        head = """
import os, sys
sys.path[:] = [p for p in sys.path if "site-packages" not in p]
import runmain, types
sys.stderr = sys.stdout
sys.modules["requests"] = requests = types.ModuleType("requests")
from runmain import _instrument
_instrument.on_library(requests)
print("imported", flush=True)
runmain.serve()
"""
        told = "runmain: there is no opentelemetry-sdk in "
        first = self.run_code("", head=head, RUNMAIN_AUTO="1").splitlines()
        self.assertEqual([line[: len(told)] for line in first], ["imported", told])
        later = self.run_code("", head=head, RUNMAIN_AUTO="1", RUNMAIN_GENERATION="2")
        self.assertEqual(later, "imported\n")


if __name__ == "__main__":
    unittest.main()
