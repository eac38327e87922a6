"""Hooks that run when a module has been imported, before the importing statement returns.

Invariant: a hook's failure is told once and never stops the program's import. Non-goal: undoing.
"""
import sys
from _thread import get_ident

from ._environment import complain

_hooks = {}  # module -> calls
_families = {}  # first part of a name -> call
_busy = set()
_outermost = {}  # thread -> the module of a family whose import has led to those under way there


class _Loader:
    """A module's own loader, and then the hooks. Everything else is the loader's."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        # As if nobody had been here: a module that asks for its loader, and reload(), find the real one.
        module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        name, thread = module.__name__, get_ident()
        is_outermost = name.partition(".")[0] in _families and _outermost.setdefault(thread, name) == name
        try:
            self._loader.exec_module(module)
        finally:
            if is_outermost:
                _outermost.pop(thread, None)
        run(name, module, is_outermost)


class _Finder:
    def find_spec(self, name, path=None, target=None):
        # Asked for every import of the program: most leave here.
        if name not in _hooks and (name.partition(".")[0] not in _families or get_ident() in _outermost):
            return None  # what is imported by another module of its family need not be looked at: over a hundred may be
        if name in _busy:
            return None
        _busy.add(name)
        try:
            spec = _find(name, path, target)
        finally:
            _busy.discard(name)
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader)
        return spec


finder = _Finder()


def _find(name, path, target):
    for one in list(sys.meta_path):
        if one is finder or not hasattr(one, "find_spec"):
            continue
        spec = one.find_spec(name, path, target)
        if spec is not None:
            return spec
    return None


def when_imported(name, call):
    """Calls `call`, "module:function" of this package, with the module once it is imported; now, if it is."""
    calls = _hooks.setdefault(name, [])
    if call in calls:
        return
    calls.append(call)
    if finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)
    if is_imported(name):
        _call(name, call, sys.modules[name])


def when_any_imported(family, call):
    """The same for each module of a package whose import no other module of it has led to."""
    _families[family] = call


def is_imported(name):
    """To its end: a module that is being imported has a spec that says so."""
    module = sys.modules.get(name)
    return module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False)


def is_under_way(family):
    """Whether a module of this family is being imported, in any thread."""
    return any(name.partition(".")[0] == family for name in list(_outermost.values()))


def run(name, module, is_outermost):
    for call in list(_hooks.get(name, ())):
        _call(name, call, module)
    if is_outermost:
        _call(name, _families[name.partition(".")[0]], module)


def _call(name, call, module):
    try:
        ours, _, function = call.partition(":")
        package = __package__ + "." + ours
        __import__(package)
        getattr(sys.modules[package], function)(module)
    except Exception as error:
        complain("runmain: %s, after the import of %s: %r, ignoring\n" % (call, name, error))
