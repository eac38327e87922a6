"""What programs do that is not in a guide: no mailbox, a server in C, a child that answers, files out of reach."""
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import channel
import served
from in_process import HEAD, InProcess


class EdgesTest(InProcess):
    def test_setup_tracing_without_a_mailbox_exports_by_the_environment(self):
        held, sink = channel.Channel(with_mailbox=False), served.Sink()
        try:
            environment = dict(os.environ, PYTHONPATH=os.path.join(os.path.dirname(HERE), "bootstrap"))
            environment.update(held.environment(OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint, OTEL_SERVICE_NAME="web"))
            before = 'runmain.setup_tracing(); span("before"); runmain.serve(); span("after")'
            after = 'runmain.serve(); runmain.setup_tracing(); span("set up later")'
            for code in (before, after):
                subprocess.run([sys.executable, "-c", HEAD + code], env=environment, check=True, timeout=60)
            environment["RUNMAIN_CHANNEL"] = "/nowhere"  # out of reach, as for a program that has changed its user
            again = before.replace("before", "unheard") + '; runmain.serve(); span("later")'
            subprocess.run([sys.executable, "-c", HEAD + again], env=environment, check=True, timeout=60)
            end = time.monotonic() + 5
            while time.monotonic() < end and len(sink.of()) < 6:
                time.sleep(0.05)
            wanted = ["after", "after", "before", "later", "set up later", "unheard"]
            self.assertEqual(sorted(s.name for s in sink.of()), wanted)
        finally:
            held.close()
            sink.close()

    def test_a_forked_child_that_answers_claims_by_its_server_span(self):
        self.run_code("""
            import socket
            trace.set_tracer_provider(TracerProvider())
            s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
            for kind in (trace.SpanKind.SERVER, trace.SpanKind.INTERNAL):  # of a helper nothing comes
                pid = os.fork()
                if pid == 0:
                    tracer().start_span(kind.name, kind=kind).end()
                    os._exit(0)
                os.waitpid(pid, 0)
        """)
        self.assertEqual(self.names(), ["SERVER"])

    def test_a_server_in_c_claims_by_its_server_spans(self):
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            span("at start")
            tracer().start_span("answer", kind=trace.SpanKind.SERVER).end()
        """, SERVER_STARTER_PORT="127.0.0.1:1=3")
        self.assertEqual(self.names(), ["answer", "at start"])

    def test_post_fork_is_a_hook_for_gunicorn_and_for_celery(self):
        from celery.signals import worker_process_init
        from gunicorn.config import Config

        import runmain

        config = Config()
        config.set("post_fork", runmain.post_fork)
        worker_process_init.connect(runmain.post_fork)
        worker_process_init.send(sender=None)

    def test_gevent_s_server_claims_when_it_begins_to_accept(self):
        self.run_code("""
            import _socket, types
            from runmain import _serving
            class Server:
                socket = _socket.socket()
                def start_accepting(self): return runmain.serving()
            Server.socket.bind(("127.0.0.1", 0)); Server.socket.listen()
            _serving.patch_gevent(types.SimpleNamespace(BaseServer=Server))
            assert not runmain.serving() and Server().start_accepting()
        """)
        self.assertEqual([c["explicit"] for c in self.channel.claims], [False])

    def test_werkzeug_s_reloader_is_off_for_who_calls_it_by_itself(self):
        out = self.run_code("""
            from werkzeug._reloader import run_with_reloader
            run_with_reloader(lambda: print(threading.current_thread() is threading.main_thread()), interval=1)
        """)
        self.assertEqual(out, "True\n")

    def test_the_drain_is_told_once_to_everybody(self):
        def tell():
            while not self.channel._held or not self.channel.claims:
                time.sleep(0.01)
            time.sleep(0.2)
            self.channel._held[0].sendall(b'{"v":1,"drain":{"budget_ms":2000}}\n' * 2)

        threading.Thread(target=tell, daemon=True).start()
        out = self.run_code("""
            done = threading.Event()
            runmain.on_drain(lambda budget: 1 / 0)
            runmain.on_drain(lambda budget: (print(budget, flush=True), done.set()))
            runmain.serve()
            assert done.wait(20)
            time.sleep(0.3)
        """)
        self.assertEqual(out, "2.0\n")

    def test_what_is_out_of_reach_is_not_the_program_s_fault(self):
        with tempfile.TemporaryDirectory() as folder:
            share = folder + "/python"
            for name in ("runmain", "bootstrap"):
                shutil.copytree(os.path.join(os.path.dirname(HERE), name), share + "/" + name)
            environment = dict(os.environ, **self.channel.environment(PYTHONPATH=share + "/bootstrap"))
            code = HEAD.replace("import runmain", "") + textwrap.dedent("""
                trace.set_tracer_provider(TracerProvider())
                os.rename(os.environ["PYTHONPATH"] + "/../../python", os.environ["PYTHONPATH"] + "/../../away")  # as after a chroot
                span("a")
                held = accept()
                span("b")
            """)
            done = subprocess.run([sys.executable, "-B", "-c", code], env=environment, stderr=subprocess.PIPE, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_a_program_without_stderr_goes_on_whatever_fails(self):
        out = self.run_code("""
            import sys, flask
            from opentelemetry import trace
            import runmain
            from runmain import _imports
            sys.stderr = None
            _imports.when_imported("colorsys", "_none_of_ours:f")
            import colorsys
            trace.get_tracer("t").start_span("early").end()
            print(runmain.serve())
        """, head="", RUNMAIN_AUTO="1", OTEL_TRACES_EXPORTER="nonsense")
        self.assertEqual(out, "True\n")

    def test_an_sdk_that_breaks_at_its_import_is_told_and_the_program_goes_on(self):
        out = self.run_code("""
            import socket, sys
            from opentelemetry import trace
            class Broken:
                def find_spec(self, name, path=None, target=None):
                    if name == "opentelemetry.sdk.trace": raise AttributeError("of another version")
            sys.meta_path.insert(1, Broken())
            sys.stderr = sys.stdout
            import runmain
            runmain.setup_tracing(instrument=False)
            trace.get_tracer("t").start_span("early").end()
            print(runmain.serve())
        """, head="")
        told, served = out.splitlines()
        self.assertEqual((told.partition(":")[0], served), ("runmain", "True"))

    def test_what_is_to_run_before_the_instrumentations_and_fails_takes_nothing_with_it(self):
        self.run_code("""
            from types import SimpleNamespace
            from opentelemetry.util import _importlib_metadata as metadata
            of = metadata.entry_points
            broken = SimpleNamespace(name="broken", load=lambda: 1 / 0)
            metadata.entry_points = lambda **of_what: [broken] if of_what.get("group") == "opentelemetry_pre_instrument" else of(**of_what)
            import flask, runmain
            app = flask.Flask("app")
            app.add_url_rule("/x", "x", lambda: "x")
            runmain.serve()
            app.test_client().get("/x")
        """, head="", RUNMAIN_AUTO="1")
        self.assertEqual(self.names(), ["GET /x"])


if __name__ == "__main__":
    unittest.main()
