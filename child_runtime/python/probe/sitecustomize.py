"""Put in front of PYTHONPATH by `runmain doctor`: the probe (runmain_probe), then the sitecustomize that would have been
loaded without us, opentelemetry-instrument's among them, as it is.

Invariants: whatever fails here, the program starts; sys.path and os.environ["PYTHONPATH"] are what they would be
without this folder. Without RUNMAIN_DOCTOR nothing of the probe is loaded. Format of the records:
docs/doctor-records.md.
"""
import os
import sys

# importlib's own part, which is there already: importlib.util costs 1 ms.
from _frozen_importlib import module_from_spec

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def _start():
    try:
        if os.environ.get("RUNMAIN_DOCTOR"):
            import runmain_probe

            runmain_probe.start(_FOLDER)
    except Exception as error:
        sys.stderr.write("runmain: the doctor's probe failed: %r, ignoring\n" % (error,))
    sys.path[:] = [one for one in sys.path if os.path.abspath(one or ".") != _FOLDER]


def _load_next():
    """Raises what `import sitecustomize` would raise without us: site knows both."""
    for finder in list(sys.meta_path):
        find_spec = getattr(finder, "find_spec", None)
        spec = find_spec("sitecustomize", None, None) if find_spec is not None else None
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            sys.modules["sitecustomize"] = module
            spec.loader.exec_module(module)
            return
    raise ImportError("No module named 'sitecustomize'", name="sitecustomize")


_start()
_load_next()
