"""Put in front of PYTHONPATH by runmain: loads the package beside this folder, then the sitecustomize that would have
been loaded without us.

Invariant: whatever fails here, the program starts.
"""
import os
import sys


def _load_runmain(folder):
    package = os.path.dirname(folder)
    sys.path.insert(0, package)
    try:
        from runmain import _boot
    finally:
        sys.path.remove(package)
    return _boot


def _load_next(folder, boot):
    """A user's own sitecustomize, further down. That of opentelemetry-instrument would initialise a second time: ours
    does what it would do."""
    # importlib's own parts, which are there already: importlib.machinery and importlib.util cost 1 ms.
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import PathFinder

    rest = [p for p in sys.path if os.path.abspath(p or ".") != folder]
    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec is None or spec.loader is None:
        return
    if "auto_instrumentation" in (spec.origin or ""):
        if boot is not None:
            boot.install(auto=True)
            return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _start():
    folder = os.path.dirname(os.path.abspath(__file__))
    boot = None
    try:
        boot = _load_runmain(folder)
        boot.install()
    except Exception as error:
        sys.stderr.write("runmain: the bootstrap failed: %r, ignoring\n" % (error,))
    _load_next(folder, boot)


_start()
