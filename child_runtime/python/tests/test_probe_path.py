"""The probe stays first in PYTHONPATH, and nobody in the program sees it."""
import json
import os
import shutil
import sys
import unittest

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]

from probed import BIN, Probed

# What a child has, as it prints it.
CHILD = "import json, os, sys; print(json.dumps(['runmain_probe' in sys.modules, os.environ.get('PYTHONPATH'), sys.path]), flush=True)"
HEAD = "import json, os, subprocess, sys\nCHILD = %r\nC = [sys.executable, '-c', CHILD]\n" % CHILD


class PathTest(Probed):
    def children(self, source, path=("/a", "/b"), **options):
        """What each child of the program printed."""
        return [json.loads(line) for line in self.run_code(HEAD + source, path=path, **options).splitlines()]

    def check(self, source, seen="/a:/b", **options):
        """With the probe in it, a child sees what it sees without."""
        ours = self.children(source, **options)
        without = self.children(source, probe=False, **options)
        self.assertEqual([one[0] for one in ours], [True] * len(without))
        self.assertEqual([one[1:] for one in ours], [one[1:] for one in without])
        self.assertEqual({one[1] for one in ours}, {seen})
        return ours

    def test_the_program_sees_neither_folder_nor_variable(self):
        source = "print(json.dumps([True, os.environ.get('PYTHONPATH'), sys.path]))"
        self.check(source)
        self.check(source, path=(), seen=None)

    def test_children_that_inherit(self):
        self.check("subprocess.run(C); os.system(sys.executable + ' -c \"' + CHILD + '\"'); os.spawnv(os.P_WAIT, sys.executable, C)")
        self.check("subprocess.run(C)", path=(), seen=None)
        self.check("os.execv(sys.executable, C)")

    def test_children_with_an_environment_of_their_own(self):
        self.check("subprocess.run(C, env=dict(os.environ)); subprocess.run(C, env=os.environ, close_fds=False)")
        self.check("os.waitpid(os.posix_spawn(sys.executable, C, os.environ), 0); os.spawnve(os.P_WAIT, sys.executable, C, dict(os.environ))")
        self.check("os.execve(sys.executable, C, dict(os.environb))")
        self.check("env = dict(os.environ, PYTHONPATH='/c'); subprocess.run(C, env=env); assert env['PYTHONPATH'] == '/c'", seen="/c")
        self.check("env = dict(os.environ); del env['PYTHONPATH']; subprocess.run(C, env=env)", seen=None)

    def test_a_program_that_writes_the_variable(self):
        self.check("os.environ['PYTHONPATH'] = '/c'; subprocess.run(C)", seen="/c")
        self.check("del os.environ['PYTHONPATH']; subprocess.run(C)", seen=None)
        self.check("os.putenv('PYTHONPATH', '/c'); subprocess.run(C)", seen="/c")

    def test_a_child_without_the_doctor_s_variable_is_left_alone(self):
        for source in (
            "subprocess.run(C, env={'PYTHONPATH': '/c'})",
            "os.environ['PYTHONPATH'] = '/c'; os.environ.pop('RUNMAIN_DOCTOR', None); subprocess.run(C)",
            "os.environ.pop('RUNMAIN_DOCTOR', None); os.environ['PYTHONPATH'] = '/c'; subprocess.run(C, env=os.environ)",
        ):
            self.assertEqual([one[:2] for one in self.children(source)], [[False, "/c"]], source)

    def test_processes_of_multiprocessing_have_files(self):
        for method, forked in (("spawn", False), ("forkserver", True), ("fork", True)):
            self.fresh()
            self.run_code("""
                import multiprocessing, os
                def work(): print(os.getpid())
                if __name__ == "__main__":
                    one = multiprocessing.get_context(%r).Process(target=work)
                    one.start(); one.join()
            """ % method)
            working = [records for records in self.by_process().values() if records[0]["forked"] is forked and os.getpid() != records[0]["ppid"]]
            self.assertTrue(working, method)

    def test_a_user_s_sitecustomize_is_loaded_as_without_us(self):
        self.write("own/sitecustomize.py", "import sys; sys.own = 1; print('loaded')\n")
        source = "import sys, sitecustomize\nprint(sys.own, sitecustomize.__file__, sys.modules['sitecustomize'] is sitecustomize)"
        ours, without = (self.run_code(source, probe=probe, path=(self.folder + "/own",)) for probe in (True, False))
        self.assertEqual(ours, without)
        self.assertIn("loaded\n1 ", ours)

    def test_one_that_fails_is_told_as_without_us(self):
        self.write("own/sitecustomize.py", "raise ValueError('mine')\n")
        for probe in (True, False):
            self.run_code("pass", probe=probe, path=(self.folder + "/own",))
            self.assertIn("Error in sitecustomize", self.stderr)
            self.assertIn("ValueError: mine", self.stderr)

    def test_there_is_no_sitecustomize_where_there_was_none(self):
        source = "import sys\ntry:\n    import sitecustomize\n    print(sitecustomize.__file__)\nexcept ImportError: print('none')\n"
        self.assertEqual(self.run_code(source), self.run_code(source, probe=False))


@unittest.skipUnless(shutil.which("opentelemetry-instrument", path=BIN), "no opentelemetry-instrument here")
class LauncherTest(Probed):
    """opentelemetry-instrument around it: its folder is in PYTHONPATH, or not, as its version wants."""

    def check(self, source, count):
        """Both times the same processes are initialised, in the same PYTHONPATH and sys.path; each has a file."""
        seen = []
        for probe in (True, False):
            self.fresh()
            path = (self.witness(), self.folder)
            self.run_code(source, probe=probe, path=path, before=(BIN + "/opentelemetry-instrument",), quiet=False)
            seen.append(self.noted())
            if probe:
                self.assertNotIn("the doctor's probe", self.stderr)
                made = {one["pid"] for one in self.records("provider")}
                automatic = {one["automatic"] for one in self.records("instrument")}
        self.assertEqual(seen[0], seen[1])
        self.assertEqual((len(seen[0]), len(made)), (count, count))
        self.assertEqual(automatic, {True})

    def restores_path(self):
        """Versions from 0.63 on."""
        out = self.run_code("import os; print(os.environ['PYTHONPATH'])", probe=False, before=(BIN + "/opentelemetry-instrument",), quiet=False)
        return "auto_instrumentation" in out

    def test_a_program(self):
        self.check("pass", 1)

    def test_a_program_and_its_children(self):
        count = 3 if self.restores_path() else 1
        self.check("import subprocess, sys, os\nfor env in (None, dict(os.environ)): subprocess.run([sys.executable, '-c', 'pass'], env=env)\n", count)

    def test_a_program_that_spawns_with_multiprocessing(self):
        count = 3 if self.restores_path() else 1  # the resource tracker, too
        source = """
            import multiprocessing
            def work(): pass
            if __name__ == "__main__":
                one = multiprocessing.get_context("spawn").Process(target=work)
                one.start(); one.join()
        """
        self.check(source, count)


if __name__ == "__main__":
    unittest.main()
