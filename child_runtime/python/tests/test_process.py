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

    def test_who_accepts_claims_and_a_program_that_does_not_claims_at_its_end(self):
        self.run_code("""
            import socket
            trace.set_tracer_provider(TracerProvider())
            span("a")
            s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
            assert not runmain.serving()
            s.settimeout(0.01)
            try: s.accept()
            except socket.timeout: pass
            assert runmain.serving()
            os._exit(0)
        """)
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            span("short")
        """)
        self.assertEqual(self.names(), ["a", "short"])
        self.assertEqual([c["explicit"] for c in self.channel.claims], [False, False])

    def test_a_span_that_waits_claims_without_another_one(self):
        for end, code in (("os._exit(0)", 0), ("os.kill(os.getpid(), signal.SIGTERM)", -15)):
            self.setUp()
            out = self.run_code("""
                import warnings
                trace.set_tracer_provider(TracerProvider())
                print(threading.active_count(), flush=True)
                span("waits")
                time.sleep(1.6)
                assert runmain.serving()
                print(threading.active_count(), flush=True)
                %s
            """ % end, check=code)
            self.assertEqual((self.names(), out), (["waits"], "1\n1\n"))
            self.assertEqual([c["explicit"] for c in self.channel.claims], [False])

    def test_the_wait_keeps_no_process_alive_and_its_end_claims(self):
        begin = time.monotonic()
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            span("short")
        """)
        self.assertEqual(self.names(), ["short"])
        self.setUp()
        self.run_code("""
            import atexit
            atexit.register(lambda: span("after our end"))
            trace.set_tracer_provider(TracerProvider())
            span("at the end")
        """)
        self.assertEqual(self.names(), ["after our end", "at the end"])
        self.assertLess(time.monotonic() - begin, 10)

    def test_launchers_and_services_with_a_listener_do_not_claim_in_time(self):
        for head, more in (("from runmain import _runners; _runners.launch()", {}), ("", {"SERVER_STARTER_PORT": "127.0.0.1:1=3"})):
            out = self.run_code(head + """
trace.set_tracer_provider(TracerProvider())
span("at import")
print(threading.active_count())
time.sleep(1.4)
os._exit(0) if sys.stdout.flush() is None else 0
""", **more)
            self.assertEqual((out, self.channel.claims), ("1\n", []), head)

    def test_a_launcher_that_is_known_within_the_second_does_not_claim(self):
        self.run_code("""
            from runmain import _runners
            trace.set_tracer_provider(TracerProvider())
            span("at import")
            _runners.launch()
            time.sleep(1.4)
            os._exit(0)
        """)
        self.assertEqual(self.channel.claims, [])

    def test_a_forked_child_of_a_job_claims_with_its_first_span(self):
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            for n in range(3):  # a work horse for each
                pid = os.fork()
                if pid == 0:
                    span("job %d" % n); os._exit(0)
                os.waitpid(pid, 0)
            time.sleep(0.1)
            assert threading.active_count() == 1 and not runmain.serving()
            os._exit(0)
        """)
        self.assertEqual(self.names(), ["job 0", "job 1", "job 2"])
        self.assertEqual([c["explicit"] for c in self.channel.claims], [True] * 3)

    def test_forks_of_a_job_and_the_job_itself_are_heard(self):
        self.run_code("""
            import multiprocessing
            trace.set_tracer_provider(TracerProvider())
            def work(n):
                span("child %d" % n); time.sleep(0.2)
            context = multiprocessing.get_context("fork")
            children = [context.Process(target=work, args=(n,)) for n in range(3)]
            for one in children: one.start()
            span("job")
            for one in children: one.join()
        """)
        self.assertEqual(self.names(), ["child 0", "child 1", "child 2", "job"])

    def test_who_accepts_after_its_child_was_heard_serves(self):
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            pid = os.fork()
            if pid == 0:
                span("child"); time.sleep(0.5); os._exit(0)
            time.sleep(0.2)
            held = accept()
            span("parent")
            helper = os.fork()  # of a server: nothing comes of it
            if helper == 0:
                span("helper"); os._exit(0)
            os.waitpid(helper, 0); os.waitpid(pid, 0)
            os._exit(0)
        """)
        self.assertEqual(self.names(), ["child", "parent"])
        self.assertEqual([c["explicit"] for c in self.channel.claims], [True, True])

    def test_helpers_of_a_server_that_was_heard_before_it_accepted_are_not(self):
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            span("slow start")
            time.sleep(1.4)
            assert runmain.serving()
            held = accept()
            helper = os.fork()
            if helper == 0:
                span("helper"); os._exit(0)
            os.waitpid(helper, 0)
            os._exit(0)
        """)
        self.assertEqual(self.names(), ["slow start"])

    def test_the_role_that_was_refused_is_asked_for_again_at_the_end(self):
        self.channel.refuse = 1
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            span("job")
            time.sleep(1.3)
            assert not runmain.serving()
        """)
        self.assertEqual(self.names(), ["job"])

    def test_nothing_of_ours_is_raised_into_the_program(self):
        out = self.run_code("""
            from opentelemetry.sdk.resources import Resource
            sys.stderr = sys.stdout
            class Odd:
                def __str__(self): raise ValueError("odd")
            def all_sorts():
                t = tracer()
                t.start_span(None).end()
                t.start_span("float", start_time=time.time() * 1e9).end(end_time=time.time() * 1e9)
                t.start_span("negative", start_time=-5).end()
                t.start_span("text", start_time="now").end()
                t.start_span("kind", kind=None).end()
                t.start_span(7).end()
                trace.get_tracer("x", 1).start_span("version").end()
                trace.get_tracer(Odd()).start_span("odd scope").end()
                one = t.start_span("attributes", attributes={1: "a", None: 2, "k": object()})
                one.set_attribute(5, {"x": {1, 2}})
                one._attributes._dict["odd"] = Odd()
                one._attributes._dict[("a",)] = 1 << 80
                one.end()
            p = TracerProvider()
            trace.set_tracer_provider(p)
            all_sorts()
            opened = [tracer().start_span(name, start_time=start) for name, start in (("open", 1.5e18), (None, 5), ("text", "now"))]
            held = accept()
            assert runmain.serving()
            for one in opened: one.end()
            for n in range(30): all_sorts()
            odd = Resource({"fine": 1})
            odd._attributes._dict["odd"] = Odd()
            trace.set_tracer_provider(TracerProvider(resource=odd))
            span("odd resource")
            span("last")
            sys.stdout.flush()
            os._exit(0)
        """)
        spans = self.spans()
        names = [s.name for s, _ in spans]
        self.assertIn("last", names)
        self.assertIn("odd resource", names)
        self.assertEqual((names.count("float"), names.count("version"), names.count("open")), (31, 31, 1))
        reader = self.channel.reader()
        lanes = reader.taken()
        lost = sum(sum(reader.lost(lane)) for lane in lanes)
        ended, started = (sum(reader.word(lane, name) for lane in lanes) for name in ("ended", "started"))
        self.assertEqual(ended, started)
        self.assertEqual((ended, lost), (31 * 9 + 5, 31 * 4 + 1))  # negative, text, kind, attributes; the open text
        self.assertEqual([reader.open_slots(lane) for lane in lanes], [[]] * len(lanes))
        self.assertEqual(sum(reader.word(lane, "open_full") for lane in lanes), 0)
        told = [line for line in out.splitlines() if line.startswith("runmain: ")]
        self.assertEqual(len(told), len({line[:40] for line in told}), told)
        self.assertTrue(told)

    def test_a_program_that_has_closed_our_files_is_not_told(self):
        self.run_code("""
            trace.set_tracer_provider(TracerProvider())
            runmain.serve()
            os.closerange(3, 200)
            span("lost")
            os._exit(0)
        """)

    def test_another_address_is_none_of_the_service(self):
        out = self.run_code("""
            held = accept()
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
    def test_a_direct_program_exports_by_itself(self):
        import served

        held, sink = channel.Channel(), served.Sink()
        try:
            environment = held.environment(OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint, OTEL_SERVICE_NAME="web", PYTHONPATH=os.path.dirname(HERE))
            del environment["RUNMAIN_AUTO"]  # as with `direct`, and with the telemetry off
            code = HEAD + "runmain.setup_tracing(); assert runmain.serve(); span('one')"
            subprocess.run([sys.executable, "-c", code], env=dict(os.environ, **environment), check=True, timeout=60)
            self.assertEqual([s.name for s in sink.of()], ["one"])
            self.assertEqual(held.reader().in_use(), [])
        finally:
            held.close()
            sink.close()

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
