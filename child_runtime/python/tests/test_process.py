"""One process and its forks, over a channel of the tests' own: claims, waiting, providers, forks, threads, deaths."""
import os
import subprocess
import sys
import textwrap
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import channel
from in_process import HEAD, InProcess


class ProcessTest(InProcess):
    def test_spans_wait_for_the_claim(self):
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            span("before")
            open_one = tracer().start_span("open")
            runmain.serve()
            span("after")
            open_one.end()
            os._exit(0)
        """)
        self.assertEqual(self.names(), ["after", "before", "open"])
        self.assertTrue(self.channel.claims[0]["explicit"])
        reader = self.channel.reader()
        self.assertEqual(reader.word(reader.taken()[0], "started"), 3)
        self.assertEqual(reader.open_slots(reader.taken()[0]), [])

    def test_more_than_can_wait_is_counted(self):
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            for n in range(2100): span("s")
            runmain.serve()
            os._exit(0)
        """, RUNMAIN_TEST="", SERVER_STARTER_PORT="127.0.0.1:1=3")
        reader = self.channel.reader()
        lane = reader.taken()[0]
        self.assertEqual(reader.word(lane, "started"), 2100)
        self.assertEqual(reader.word(lane, "ended"), 2100)
        self.assertEqual(sum(reader.lost(lane)), 2100 - len(reader.records(lane)))
        self.assertGreaterEqual(reader.lost(lane)[3], 52)

    def test_a_listener_claims_and_a_program_without_one_does_at_its_end(self):
        self.run_code("""
            import socket
            trace.set_tracer_provider(TracerProvider())
            span("a")
            s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
            assert runmain.serving()
            os._exit(0)
        """)
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            span("short")
        """)
        self.assertEqual(self.names(), ["a", "short"])
        self.assertEqual([c["explicit"] for c in self.channel.claims], [False, False])

    def test_another_address_is_none_of_the_service(self):
        out = self.run_code("""
            import socket
            s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
            print(runmain.serving())
        """, SERVER_STARTER_PORT="127.0.0.1:1=3")
        self.assertEqual(out, "False\n")
        self.assertEqual(self.channel.claims, [])

    def test_helpers_of_who_serves_are_void(self):
        out = self.run_code("""
            import subprocess
            runmain.serve()
            code = "import runmain; print(runmain.serve(), runmain.serving())"
            subprocess.run([sys.executable, "-c", "import sys; sys.path.insert(0, %r); " % sys.path[0] + code], check=True)
        """)
        self.assertEqual(out, "False False\n")
        self.assertEqual(len(self.channel.claims), 1)

    def test_exporters_of_the_program_do_not_export(self):
        out = self.run_code("""
            p = TracerProvider()
            one = exporter()
            p.add_span_processor(BatchSpanProcessor(one)); p.add_span_processor(SimpleSpanProcessor(one))
            p.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda s: "console " + s.name + chr(10))))
            trace.set_tracer_provider(p)
            runmain.serve()
            span("s")
            begin = time.monotonic(); assert p.force_flush(); p.shutdown(); assert time.monotonic() - begin < 0.5
            span("after the shutdown")
            print("threads", threading.active_count())
            os._exit(0) if sys.stdout.flush() is None else 0
        """)
        self.assertIn("console s\n", out)
        self.assertIn("threads 1\n", out)
        self.assertEqual(self.names(), ["after the shutdown", "s"])

    def test_the_last_provider_wins_and_old_tracers_follow(self):
        self.run_code("""
            from opentelemetry.sdk.resources import Resource
            runmain.setup_tracing(instrument=False)
            old = trace.get_tracer("old")
            first = trace.get_tracer_provider()
            runmain.serve()
            old.start_span("one").end()
            trace.set_tracer_provider(TracerProvider(resource=Resource.create({"own": "2"})))
            assert trace.get_tracer_provider() is not first
            old.start_span("two").end()
            trace.set_tracer_provider(TracerProvider(resource=Resource.create({"own": "3"})))
            old.start_span("three").end()
            first.get_tracer("late").start_span("late").end()
            os._exit(0)
        """)
        found = {s.name: a.get("own") for s, a in self.spans()}
        self.assertEqual(found, {"one": None, "two": "2", "three": "3", "late": "3"})

    def test_setup_tracing_is_done_once(self):
        out = self.run_code("""
            import importlib
            first = runmain.setup_tracing()
            importlib.reload(runmain)
            again = runmain.setup_tracing()
            print(first.first, again.first, first.where == again.where)
        """)
        self.assertEqual(out, "True False True\n")

    def test_a_fork_begins_anew(self):
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            span("of the parent, waiting")
            opened = tracer().start_span("open in the parent")
            children = []
            for n in range(3):
                pid = os.fork()
                if pid == 0:
                    assert not runmain.serving() and runmain.serve()
                    opened.end()
                    trace.set_tracer_provider(TracerProvider())
                    for m in range(50): span("child %d" % n)
                    os.kill(os.getpid(), signal.SIGKILL)
                children.append(pid)
            for pid in children: os.waitpid(pid, 0)
            runmain.serve()
            opened.end()
            os._exit(0)
        """)
        spans = self.spans()
        names = [s.name for s, _ in spans]
        self.assertEqual(sorted(set(names)), ["child 0", "child 1", "child 2", "of the parent, waiting", "open in the parent"])
        self.assertEqual(len(names), 152)
        self.assertEqual(len({a["service.instance.id"] for _, a in spans}), 4)
        self.assertEqual(len({s.span_id for s, _ in spans}), 152)

    def test_a_fork_while_threads_write(self):
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            runmain.serve()
            end = time.monotonic() + 1.5
            def write():
                while time.monotonic() < end: span("thread"); time.sleep(0.0005)
            threads = [threading.Thread(target=write) for _ in range(4)]
            for t in threads: t.start()
            while time.monotonic() < end:
                pid = os.fork()
                if pid == 0:
                    span("child"); assert runmain.serve(); span("child"); os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
                time.sleep(0.2)
            for t in threads: t.join()
            os._exit(0)
        """)
        names = self.names()
        self.assertGreater(names.count("thread"), 100)
        self.assertGreater(names.count("child"), 1)

    def test_a_signal_handler_ends_a_span_in_the_middle_of_another(self):
        import opentelemetry.context

        if hasattr(opentelemetry.context, "_RUNTIME_CONTEXT_LOCK"):
            self.skipTest("this SDK hangs there without runmain, too: it takes a lock that is not re-entrant")
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            runmain.serve()
            one, handled, inside = tracer(), [0], []
            def handler(*_):
                if inside: return
                inside.append(1); handled[0] += 1; one.start_span("handled").end(); inside.pop()
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
            for n in range(300): one.start_span("plain").end()
            signal.setitimer(signal.ITIMER_REAL, 0)
            from runmain import _process
            assert not _process.current().sink._deferred
            span("handled %d" % handled[0])
            os._exit(0)
        """)
        names = self.names()
        self.assertEqual(names.count("plain"), 300)
        self.assertIn("handled %d" % names.count("handled"), names)

    def test_open_spans_of_a_killed_process_are_there(self):
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            runmain.serve()
            with tracer().start_as_current_span("outer"):
                tracer().start_span("inner")
                os.kill(os.getpid(), signal.SIGKILL)
        """, check=-9)
        reader = self.channel.reader()
        slots = reader.open_slots(reader.taken()[0])
        self.assertEqual(sorted(s["name"] for s in slots), ["inner", "outer"])
        inner, outer = sorted(slots, key=lambda s: s["name"])
        self.assertEqual((inner["trace"], inner["parent"]), (outer["trace"], outer["span"]))
        self.assertEqual(reader.entries(reader.taken()[0])[outer["scope"]][0], 2)

    def test_a_user_s_sitecustomize_runs_too(self):
        folder = "/tmp/runmain-test-%d" % os.getpid()
        os.makedirs(folder)
        try:
            with open(folder + "/sitecustomize.py", "w") as file:
                file.write("import sys\nsys.users_own = __name__\n")
            os.symlink(os.path.dirname(HERE), folder + "/again")  # the bootstrap by another path, too
            ours = os.path.join(os.path.dirname(HERE), "bootstrap")
            environment = dict(os.environ, PYTHONPATH=":".join((folder + "/again/bootstrap", ours, folder)))
            environment.update(self.channel.environment())
            out = subprocess.check_output([sys.executable, "-c", "import sys; print(sys.users_own)"], env=environment)
        finally:
            import shutil

            shutil.rmtree(folder)
        self.assertEqual(out, b"sitecustomize\n")

    def test_nothing_of_opentelemetry_is_imported_by_itself(self):
        environment = dict(os.environ, PYTHONPATH=os.path.join(os.path.dirname(HERE), "bootstrap"))
        environment.update(self.channel.environment())
        environment["RUNMAIN_AUTO"] = "1"
        code = "import sys; print([m for m in sys.modules if m.startswith(('opentelemetry', 'json', 'logging', 'socket', 'runmain'))])"
        out = subprocess.check_output([sys.executable, "-c", code], env=environment).decode()
        self.assertEqual(out, "[]\n")

    def test_the_bootstrap_knows_each_name_that_has_a_hook(self):
        from runmain import _hooks

        with open(os.path.join(os.path.dirname(HERE), "bootstrap", "sitecustomize.py")) as file:
            names = file.read().partition('"""MySQLdb')[2].partition('"""')[0]
        hooked = {name.partition(".")[0] for name in list(_hooks.ALWAYS) + list(_hooks.LIBRARIES)}
        self.assertEqual(set(("MySQLdb" + names).split()), hooked)

    def test_the_package_is_there_without_being_installed(self):
        environment = dict(os.environ, PYTHONPATH=os.path.join(os.path.dirname(HERE), "bootstrap"))
        environment.update(self.channel.environment())
        code = "import os; os.environ['RUNMAIN_TOKEN'] = 'changed'; import runmain; print(runmain.serving(), runmain.serve())"
        out = subprocess.check_output([sys.executable, "-c", code], env=environment, cwd="/").decode()
        self.assertEqual(out, "False True\n")


class WithoutMailbox(unittest.TestCase):
    def test_the_program_exports_by_itself(self):
        import served

        held, sink = channel.Channel(with_mailbox=False), served.Sink()
        try:
            environment = dict(os.environ, PYTHONPATH=os.path.join(os.path.dirname(HERE), "bootstrap"))
            environment.update(held.environment(SINK=sink.endpoint + "/v1/traces", OTEL_SERVICE_NAME="web"))
            code = HEAD + textwrap.dedent("""
                p = TracerProvider(); p.add_span_processor(BatchSpanProcessor(exporter())); trace.set_tracer_provider(p)
                span("before"); runmain.serve(); span("after")
            """)
            subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
            end = time.monotonic() + 5
            while time.monotonic() < end and len(sink.of()) < 2:
                time.sleep(0.05)
            self.assertEqual(sorted(s.name for s in sink.of()), ["after", "before"])
        finally:
            held.close()
            sink.close()



if __name__ == "__main__":
    unittest.main()
