"""What the bootstrap does in a process that imports something that has a hook: hooks, and nothing else.

Invariant: no module of OpenTelemetry, no json, no socket is imported here; a process that never serves pays for some
small modules of ours. Non-goal: a process that runmain did not start.
"""
from . import _environment, _hooks, _imports, _process

_installed = False
_automatic = False


def install(auto=None):
    """Idempotent. `auto`: zero-code instrumentation, too; None: as runmain said. Returns the finder, or None."""
    global _installed, _automatic
    settings = _environment.environment
    if not settings.supervised:
        return None
    if not _installed:
        _installed = True
        for module, call in _hooks.ALWAYS.items():
            _imports.when_imported(module, call)
    if (settings.auto if auto is None else auto) and not _automatic and not settings.void:
        _automatic = True
        watch_libraries()
    return _imports.finder


def watch_libraries():
    _imports.when_any_imported("opentelemetry", "_instrument:catch_up")
    for name in _hooks.LIBRARIES:
        _imports.when_imported(name, "_instrument:on_library")
