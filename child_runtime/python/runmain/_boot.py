"""What the bootstrap does in each Python process of a worker: hooks, and nothing else.

Invariant: no module of OpenTelemetry, no json, no socket is imported here; a process that never serves pays for some
small modules of ours. Non-goal: a process that runmain did not start.
"""
import atexit

from . import _environment, _exporters, _frameworks, _instrument, _process, _provider, _runners, _serving

_installed = False
_automatic = False


def install(auto=None):
    """Idempotent. `auto`: zero-code instrumentation, too; None: as runmain said."""
    global _installed, _automatic
    settings = _environment.environment
    if not settings.supervised:
        return
    if not _installed:
        _installed = True
        _runners.install()
        _serving.install()
        _provider.install()
        _exporters.install()
        _frameworks.install()
        atexit.register(_at_exit)
    if (settings.auto if auto is None else auto) and not _automatic and not settings.void:
        _automatic = True
        _instrument.install()


def _at_exit():
    """The spans of a short program that never listened."""
    process = _process.current()
    if process._sink is not None and process._sink.waiting:
        process._sink.claim_by_the_way()
