"""What is installed for Python, installed: `python3 test_install.py BUILD`."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = sys.argv.pop()
CHECKED_HASH = 0b11     # PEP 552


class Install(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="runmain-install-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def install(self, **environment):
        """The folder with Python's part."""
        subprocess.run([shutil.which("cmake"), "--install", BUILD, "--component", "bootstraps", "--prefix", self.folder / "usr"],
                       env=dict(os.environ, **environment), check=True, stdout=subprocess.DEVNULL)
        found, = self.folder.glob("**/share/runmain/python")
        return found

    def test_the_bytecode_of_each_source_is_there_and_used_at_whatever_times_the_files_have(self):
        for environment in ({}, {"DESTDIR": str(self.folder / "stage")}):
            with self.subTest(environment):
                python = self.install(**environment)
                tag = subprocess.run(["python3", "-c", "import sys; print(sys.implementation.cache_tag)"], check=True,
                                     stdout=subprocess.PIPE, text=True).stdout.strip()
                sources = list(python.glob("*/*.py"))
                self.assertGreater(len(sources), 20)
                for source in sources:
                    compiled = source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc"
                    self.assertEqual(int.from_bytes(compiled.read_bytes()[4:8], "little"), CHECKED_HASH, compiled)
                    self.assertNotIn(b"stage", compiled.read_bytes())
                    os.utime(source, (0, 0))
                used = "from importlib.machinery import SourceFileLoader as L; L.source_to_code = None; from runmain import _sink"
                subprocess.run(["python3", "-B", "-c", used], check=True, env=dict(os.environ, PYTHONPATH=str(python)))
                shutil.rmtree(python)

    def test_a_source_that_is_changed_later_counts(self):
        python = self.install()
        (python / "runmain/_command.py").write_text("changed = True\n")
        subprocess.run(["python3", "-B", "-c", "from runmain import _command; assert _command.changed"], check=True,
                       env=dict(os.environ, PYTHONPATH=str(python)))

    def test_an_installation_without_python_or_with_a_broken_one_is_one(self):
        empty = self.folder / "bin"
        empty.mkdir()
        self.assertEqual(list(self.install(PATH=str(empty)).glob("**/*.pyc")), [])
        shutil.rmtree(self.folder / "usr")
        (empty / "python3").write_text("#!/bin/false\n")
        (empty / "python3").chmod(0o755)
        self.assertEqual(list(self.install(PATH=str(empty)).glob("**/*.pyc")), [])


if __name__ == "__main__":
    unittest.main()
