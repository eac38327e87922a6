"""Which versions a program has of what matters to the doctor."""
import os

from . import _records

_seen = set()


def seen(module):
    """A framework or a server is imported."""
    say(module.__name__, module)


def say(name, module):
    """Once: the distribution `name`, which `module` is of. Without importlib.metadata, which costs 20 ms."""
    if name not in _seen:
        _seen.add(name)
        _records.write("package", name=name, version=_version(name, module))


def _version(name, module):
    places = list(getattr(module, "__path__", ())) or [module.__file__]
    for _ in module.__name__.split("."):
        places = [os.path.dirname(one) for one in places]
    wanted = name.lower().replace("-", "_") + "-"
    for folder in places:
        for entry in os.listdir(folder):
            if entry.endswith(".dist-info") and entry.lower().replace("-", "_").startswith(wanted.replace("-", "_")):
                version = entry[len(wanted) : -len(".dist-info")]
                if version[:1].isdigit():
                    return version
    return None
