"""Instrumentations: each once, when its library is imported, before the importing statement returns.

Invariant: nothing of OpenTelemetry is imported in a process that imports no library with an instrumentation. What
opentelemetry-instrument honours (OTEL_PYTHON_DISABLED_INSTRUMENTATIONS, distros, dependency conflicts) counts. They
hold the API's proxies, so that no SDK has to be there: it comes at the claim. Non-goal: the SDK (_sdk).
"""
import functools
import logging
import os
import sys

from . import _imports, _process, _sdk
from ._entry_points import entry_points
from ._hooks import LIBRARIES

_log = logging.getLogger("runmain")

# The library behind an instrumentation where its name does not say it. "": no library, or one of Python's own.
_LIBRARIES = {
    "aiohttp-client": "aiohttp",
    "aiohttp-server": "aiohttp",
    "asgi": "",
    "asyncio": "",
    "boto3": "boto3",
    "boto3sqs": "boto3",
    "cassandra": "cassandra",
    "confluent_kafka": "confluent_kafka",
    "dbapi": "",
    "elasticsearch": "elasticsearch",
    "grpc_aio_client": "grpc",
    "grpc_aio_server": "grpc",
    "grpc_client": "grpc",
    "grpc_server": "grpc",
    "kafka": "kafka",
    "logging": "",
    "mysql": "mysql",
    "mysqlclient": "MySQLdb",
    "openai": "openai",
    "sqlite3": "",
    "system_metrics": "",
    "threading": "",
    "tortoiseorm": "tortoise",
    "urllib": "",
    "wsgi": "",
}
_AFTER_SDK = ("logging",)  # keeps for ever what it finds in the provider at the first record
_pending = {}  # library -> entry points
_postponed = []
_started = False
_starting = False


def on_library(module):
    """A library that may have an instrumentation is there."""
    if _starting:
        return
    if _imports.is_under_way("opentelemetry"):  # what imports a part of it now gets half of it
        _postpone(module.__name__)
        return
    _take(module)


def _postpone(library):
    """Until that import has ended (catch_up)."""
    if library not in _postponed:
        _postponed.append(library)


def catch_up(module):
    if _postponed and not _imports.is_under_way("opentelemetry"):
        libraries = list(_postponed)
        del _postponed[:]
        for library in libraries:
            _take(sys.modules[library])


def _take(module):
    if not _started:
        _start()
    if module.__name__ == "django":
        _wait_for_django(module)
    else:
        _apply(module.__name__)


def _wait_for_django(module):
    """Its instrumentation changes the settings, which are known when django.setup() has returned."""
    original = module.setup
    if getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    def setup(*args, **kwargs):
        original(*args, **kwargs)
        _apply("django")

    setup._runmain = True
    module.setup = setup


def start():
    """Now, without waiting for a library."""
    if not _started:
        _start()


def _start():
    global _started, _starting
    _starting = True
    try:
        if not _sdk.is_installed():
            _started = True
            _process.when_granted.append(_sdk.tell_missing)
            if _process.current().state == _process.GRANTED:
                _sdk.tell_missing()
            return
        _sdk.configure_distro()
        _started = True
        _find_entry_points()
        _sdk.want()
    finally:
        _starting = False
    for name in list(_pending):
        if _imports.is_imported(name) and name != "django":
            _apply(name)


def _find_entry_points():
    off = {one.strip() for one in os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")}
    if "*" in off:
        return
    for entry_point in entry_points("opentelemetry_pre_instrument"):
        try:
            entry_point.load()()
        except Exception as error:  # what comes behind it works all the same
            _process.tell("what is to run before the instrumentations, %s" % entry_point.name, error)
    for entry_point in entry_points("opentelemetry_instrumentor"):
        if entry_point.name in off:
            continue
        library = _LIBRARIES.get(entry_point.name, entry_point.name.replace("-", "_"))
        if entry_point.name in _AFTER_SDK:
            _sdk.after_start(functools.partial(_instrument, entry_point))
        elif library == "":
            _instrument(entry_point)
        else:
            _pending.setdefault(library, []).append(entry_point)
            if library not in LIBRARIES:
                _imports.when_imported(library, "_instrument:on_library")


def _apply(library):
    for entry_point in _pending.pop(library, ()):
        _instrument(entry_point)


def _instrument(entry_point):
    """Like opentelemetry-instrument: what does not fit is skipped, and nothing stops the program."""
    try:
        conflict, options = _check(entry_point)
        if conflict:
            _log.debug("instrumentation %s does not fit: %s", entry_point.name, conflict)
        elif _sdk.distro is not None:
            _sdk.distro.load_instrumentor(entry_point, **options)
        else:
            entry_point.load()().instrument(**options)
    except ModuleNotFoundError as error:
        _log.debug("instrumentation %s: %s, ignoring", entry_point.name, error)
    except Exception as error:
        if type(error).__name__ == "DependencyConflictError":
            _log.debug("instrumentation %s does not fit: %s", entry_point.name, error)
        else:
            _log.warning("instrumentation %s failed, ignoring", entry_point.name, exc_info=True)


def _check(entry_point):
    """What its package misses, or None, and how it is to be loaded then; some versions leave the look to it (0.54)."""
    try:
        from opentelemetry.instrumentation.dependencies import get_dist_dependency_conflicts
    except ImportError:
        return None, {"raise_exception_on_conflict": True}
    dist = getattr(entry_point, "dist", None)
    try:
        conflict = get_dist_dependency_conflicts(_Requires(dist)) if dist is not None else None
    except TypeError:  # before 0.42 it wants a distribution of pkg_resources
        conflict = None
    return conflict, {"skip_dep_check": True}


class _Requires:
    """A distribution that reads of its METADATA what is asked for, in a tenth of the time of an e-mail's parser."""

    def __init__(self, dist):
        self._dist = dist

    def __getattr__(self, name):
        return getattr(self._dist, name)

    @functools.cached_property
    def requires(self):  # asked for twice
        text = self._dist.read_text("METADATA")
        if not text:  # an egg has another file for it
            return self._dist.requires
        head = text.replace("\r\n", "\n").partition("\n\n")[0].replace("\n ", " ")
        fields = [line.partition(":") for line in head.split("\n")]
        return [value.strip() for name, _, value in fields if name.lower() == "requires-dist"] or None
