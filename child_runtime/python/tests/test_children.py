"""What a process that has the role starts, with whatever environment: helpers, and copies of dev servers as they are."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

from in_process import HEAD, InProcess

HEAD = "import os\nbefore = dict(os.environ)\n" + HEAD + """
import asyncio, subprocess
SAY = "import os; print(os.environ.get('RUNMAIN_TOKEN', ''), os.environ.get('WERKZEUG_RUN_MAIN'), os.environ.get('RUN_MAIN'))"
def say(env, code=SAY):
    kept = dict(env) if env is not None else None
    sys.stdout.flush()
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    assert env is None or dict(env) == kept
def by_asyncio(env):
    async def run(): await (await asyncio.create_subprocess_exec(sys.executable, "-c", SAY, env=env)).wait()
    sys.stdout.flush(); asyncio.run(run())
def wait(pid): assert os.waitpid(pid, 0)[1] == 0
WORDS = [sys.executable, "-c", SAY]
def by_os(env):
    wait(os.posix_spawn(sys.executable, WORDS, env)); wait(os.posix_spawnp("env", ["env", *WORDS], env))
    for spawn in (os.spawnve, os.spawnvpe): assert spawn(os.P_WAIT, sys.executable, WORDS, env) == 0
    assert os.spawnle(os.P_WAIT, sys.executable, *WORDS, env) == 0
    pid = os.fork()
    if pid == 0: os.execve(sys.executable, WORDS, env=env)
    wait(pid)
def by_position(env):
    sys.stdout.flush(); subprocess.Popen([sys.executable, "-c", SAY], -1, None, None, None, None, None, True, False, None, env).wait()
"""
VOID, WHOLE = "1:web:0:1:%s:" % ("-" * 32), "1:web:0:1:%s:" % ("a" * 32)


class Children(InProcess):
    def said(self, code, **more):
        lines = [line.split(" ") for line in self.run_code(code, head=HEAD, **more).splitlines()]
        return [(token.rpartition(":")[0] + ":", *rest) for token, *rest in lines]

    def test_a_copy_from_before_the_claim_is_a_helper_s_too(self):
        said = self.said("""
            for env in (None, before, dict(os.environ)): say(env)
            runmain.serve()
            for env in (None, before, os.environ, dict(os.environ)): say(env)
            by_asyncio(before); by_position(before)
            if os.fork() == 0: say(before); os._exit(0)
            os.wait()
        """)
        self.assertEqual([token for token, *_ in said], [WHOLE] * 3 + [VOID] * 7)

    def test_so_it_is_with_os_s_own_functions(self):
        said = self.said("""
            runmain.serve()
            by_os(before); by_os({os.fsencode(name): os.fsencode(value) for name, value in before.items()})
            by_os(dict(before, RUNMAIN_TOKEN="1:inner:0:1:other:7"))
            try: os.posix_spawn(sys.executable, WORDS, 7)
            except TypeError: by_os(os.environ)
        """)
        self.assertEqual([token for token, *_ in said], [VOID] * 12 + ["1:inner:0:1:other:"] * 6 + [VOID] * 6)

    def test_what_multiprocessing_starts_is_a_helper(self):
        out = self.run_code("""
            import multiprocessing
            runmain.serve()
            for how in ("spawn", "forkserver"):
                child = multiprocessing.get_context(how).Process(target=eval, args=("print(__import__('runmain').serve(), flush=True)",))
                child.start(); child.join()
                assert child.exitcode == 0
        """, head=HEAD)
        self.assertEqual(out, "False\nFalse\n")
        self.assertEqual(len(self.channel.claims), 1)

    def test_the_token_of_another_runmain_is_none_of_ours(self):
        said = self.said("""
            runmain.serve()
            say(dict(before, RUNMAIN_TOKEN="1:inner:0:1:other:7")); say({"PATH": os.environ["PATH"]})
        """)
        self.assertEqual([token for token, *_ in said], ["1:inner:0:1:other:", ":"])

    def test_a_helper_with_such_a_copy_starts_nothing(self):
        out = self.run_code("""
            runmain.serve()
            code = "import runmain, sys, flask, socket; runmain.setup_tracing(); print(runmain.serve(), 'opentelemetry.sdk.trace' in sys.modules)"
            say(before, code)
        """, head=HEAD, RUNMAIN_AUTO="1")
        self.assertEqual(out, "False False\n")
        self.assertEqual(len(self.channel.claims), 1)

    def test_what_is_said_for_a_program_s_own_eyes_is_in_no_copy(self):
        for name, module in (("WERKZEUG_RUN_MAIN", "werkzeug.serving"), ("RUN_MAIN", "django.utils.autoreload")):
            with self.subTest(name):
                said = self.said("""
                    sys.argv = ["manage.py", "runserver"]
                    import %s
                    assert os.environ["%s"] == "true"
                    for env in (None, dict(os.environ)): say(env)
                    say(dict(os.environ, %s="another"))
                """ % (module, name, name))
                index = 1 if name == "WERKZEUG_RUN_MAIN" else 2
                self.assertEqual([words[index] for words in said], ["None", "None", "another"])


if __name__ == "__main__":
    unittest.main()
