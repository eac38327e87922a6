"""Entry points as we read them, against what the API gives: in folders, hidden by others, in archives, of other finders."""
import os
import subprocess
import sys
import tempfile
import unittest
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))

CODE = """
import sys
sys.path.append(%r)
from opentelemetry.util import _importlib_metadata as metadata
from runmain import _entry_points
%s
asked = []
if hasattr(metadata, "Distribution"):
    original = metadata.entry_points
    metadata.entry_points = lambda **more: asked.append(more) or original(**more)
for group in ("opentelemetry_distro", "opentelemetry_instrumentor", "opentelemetry_ours"):
    ours = _entry_points.entry_points(group)
    by_us = not asked
    theirs = list(metadata.entry_points(group=group))
    shown = lambda found: [(one.name, one.value, one.group, one.dist and one.dist.version) for one in found]
    assert shown(ours) == shown(theirs), (shown(ours), shown(theirs))
    asked.clear()
print(by_us or not hasattr(metadata, "Distribution"), [one.value for one in ours])
"""
OTHERS = """
class Finder:
    def find_spec(self, *_):
        return None
    def find_distributions(self, context=None):
        return iter(())
sys.meta_path.append(Finder())
"""


def files_of(name, version, value):
    folder = "%s-%s.dist-info/" % (name, version)
    metadata = "Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version)
    points = "[console_scripts]\nx = y:z\n\n# [opentelemetry_ours]\n[opentelemetry_ours]\none = %s\n[other]\na = b\n" % value
    return {folder + "METADATA": metadata, folder + "entry_points.txt": points}


class EntryPointsTest(unittest.TestCase):
    def setUp(self):
        keep = tempfile.TemporaryDirectory()
        self.addCleanup(keep.cleanup)
        self.folder = keep.name

    def install(self, place, *distributions):
        for one in distributions:
            for name, text in files_of(*one).items():
                path = os.path.join(self.folder, place, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w") as file:
                    file.write(text)

    def found(self, *places, prepared=""):
        path = os.pathsep.join(os.path.join(self.folder, place) for place in places)
        code = CODE % (os.path.dirname(HERE), prepared)
        environment = dict(os.environ, PYTHONPATH=path)
        done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=self.folder, stdout=subprocess.PIPE, check=True)
        by_us, _, values = done.stdout.decode().strip().partition(" ")
        return by_us == "True", eval(values)

    def test_in_folders(self):
        self.install("a", ("One", "1.0", "a:b"), ("two_x", "1.0", "c:d"))
        self.assertEqual(sorted(self.found("a", "none")[1]), ["a:b", "c:d"])
        self.assertTrue(self.found("a", "none")[0])

    def test_the_first_of_a_name_counts(self):
        self.install("a", ("one.two", "1.0", "first:x"))
        self.install("b", ("One__Two", "2.0", "second:x"), ("other", "1.0", "other:x"))
        self.assertEqual(self.found("a", "b"), (True, ["first:x", "other:x"]))
        self.assertEqual(sorted(self.found("b", "a")[1]), ["other:x", "second:x"])

    def test_in_the_working_folder(self):
        self.install(".", ("one", "1.0", "a:b"))
        self.assertEqual(self.found(), (True, ["a:b"]))

    def test_an_archive(self):
        with zipfile.ZipFile(self.folder + "/an.zip", "w") as archive:
            for name, text in files_of("zipped", "1.0", "z:z").items():
                archive.writestr(name, text)
        self.install("a", ("one", "1.0", "a:b"))
        by_us, values = self.found("a", "an.zip")
        self.assertEqual(values, ["a:b", "z:z"])
        self.assertEqual(by_us, not has_distribution())

    def test_another_finder(self):
        self.install("a", ("one", "1.0", "a:b"))
        self.assertEqual(self.found("a", prepared=OTHERS), (not has_distribution(), ["a:b"]))


def has_distribution():
    from opentelemetry.util import _importlib_metadata

    return hasattr(_importlib_metadata, "Distribution")


if __name__ == "__main__":
    unittest.main()
