"""A process that executes another program, or itself, after it has claimed: the same process, so the role is its own."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

from in_process import HEAD, InProcess

_CLOSED = 2
# `again(code)`: this program's head and `code`, in this process.
AGAIN = HEAD + """
head = %r
def again(code, environment=None):
    words = [sys.executable, "-c", head + code]
    if environment is None: os.execv(sys.executable, words)
    os.execve(sys.executable, words, environment)
trace.set_tracer_provider(TracerProvider())
""" % (HEAD + "trace.set_tracer_provider(TracerProvider())\n")


class Exec(InProcess):
    def test_the_role_is_its_own_again(self):
        for environment in ("None", "dict(os.environ)"):
            with self.subTest(environment):
                self.setUp()
                self.channel.as_runmain = True
                self.run_code("""
                    held = accept()
                    span("before")
                    tracer().start_span("open")
                    again("held = accept(); assert runmain.serving(); span('after'); os._exit(0)", %s)
                """ % environment, head=AGAIN)
                spans = self.spans()
                self.assertEqual(sorted(s.name for s, _ in spans), ["after", "before"])
                self.assertEqual(len({a["service.instance.id"] for _, a in spans}), 2)
                self.assertEqual(len(set(self.channel.holders)), 1)

    def test_lanes_of_the_program_before_are_closed(self):
        self.run_code("""
            runmain.serve()
            tracer().start_span("open")
            again("runmain.serve(); span('after'); os._exit(0)")
        """, head=AGAIN)
        reader = self.channel.reader()
        states = {reader.line2(lane)["state"]: lane for lane in reader.in_use()}
        self.assertEqual(sorted(states), [1, _CLOSED])
        self.assertEqual([s["name"] for s in reader.open_slots(states[_CLOSED])], ["open"])
        self.assertEqual(self.names(), ["after"])

    def test_what_it_starts_before_it_claims_again_may_serve(self):
        out = self.run_code("""
            runmain.serve()
            again("import subprocess; subprocess.run([sys.executable, '-c', head], check=True)".replace("head", repr("import runmain; print(runmain.serve())")))
        """, head=AGAIN)
        self.assertEqual(out, "True\n")

    def test_what_it_starts_is_a_helper_all_the_same(self):
        out = self.run_code("""
            import subprocess
            runmain.serve()
            for environment in (None, dict(os.environ)):
                code = "import runmain; print(runmain.serve()); " + 'import os, sys; os.execv(sys.executable, [sys.executable, "-c", "import runmain; print(runmain.serve())"])'
                subprocess.run([sys.executable, "-c", code], check=True, env=environment)
            if os.fork() == 0:
                os.execv(sys.executable, [sys.executable, "-c", "import runmain; print(runmain.serve())"])
            os.wait()
        """, head=AGAIN)
        self.assertEqual(out, "False\n" * 5)
        self.assertEqual(len(self.channel.claims), 1)


if __name__ == "__main__":
    unittest.main()
