"""Put in front of PYTHONPATH by runmain: a finder that loads the package beside this folder when something is imported
that it has a hook for; then the sitecustomize that would have been loaded without us.

Invariants: whatever fails here, the program starts; what runmain said in the environment is kept before anybody can
change it; a process that imports none of the names below pays for this file only.
"""
import os
import sys

# importlib's own parts, which are there already: importlib.machinery and importlib.util cost 1 ms.
from _frozen_importlib import module_from_spec
from _frozen_importlib_external import PathFinder

# The first part of each name in runmain/_hooks.py.
_NAMES = frozenset(
    """MySQLdb aio_pika aiohttp aiokafka aiopg anthropic asyncclick asyncio asyncpg boto boto3 botocore cassandra
    celery click confluent_kafka django elasticsearch falcon fastapi flask gevent google granian grpc gunicorn
    httpx hypercorn jinja2 kafka langchain mysql openai opentelemetry pika psycopg psycopg2 pymemcache pymongo
    pymssql pymysql pyramid redis remoulade requests rq socket socketserver sqlalchemy starlette tornado tortoise
    urllib3 uvicorn uvloop vertexai waitress watchfiles werkzeug""".split()
)
_FOLDER = os.path.dirname(os.path.abspath(__file__))
_PACKAGE = os.path.dirname(_FOLDER)


def _load(auto=None):
    """Installs the hooks; the package's finder, or None."""
    if _first in sys.meta_path:
        sys.meta_path.remove(_first)
    sys.path.insert(0, _PACKAGE)
    try:
        from runmain import _boot
    finally:
        sys.path.remove(_PACKAGE)
    return _boot.install(auto)


def _complain(error):
    if sys.stderr is not None:
        sys.stderr.write("runmain: the bootstrap failed: %r, ignoring\n" % (error,))


class _First:
    """Until the package's own finder is there."""

    def find_spec(self, name, path=None, target=None):
        if name == "runmain":
            return PathFinder.find_spec(name, [_PACKAGE])
        if name.partition(".")[0] not in _NAMES:
            return None
        try:
            finder = _load()
            return finder.find_spec(name, path, target) if finder is not None else None
        except Exception as error:
            _complain(error)
            return None


_first = _First()


def _load_next():
    """A user's own sitecustomize, further down. That of opentelemetry-instrument would initialise a second time: ours
    does what it would do."""
    folders, spec = [_FOLDER], None
    while spec is None:
        rest = [p for p in sys.path if os.path.abspath(p or ".") not in folders]
        spec = PathFinder.find_spec("sitecustomize", rest)
        if spec is None or spec.loader is None:
            return
        folder = os.path.dirname(os.path.abspath(spec.origin or ""))
        if folder not in folders and os.path.exists(os.path.dirname(folder) + "/runmain/_boot.py"):
            folders.append(folder)  # we, by another path
            spec = None
    if "auto_instrumentation" in (spec.origin or "") and sys.runmain_environ["RUNMAIN_TOKEN"]:
        _load(auto=True)
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _start():
    names = ("TOKEN", "HELD", "CHANNEL", "SERVICE", "WORKER", "GENERATION", "AUTO")
    names = tuple("RUNMAIN_" + name for name in names) + ("SERVER_STARTER_PORT", "LISTEN_FDS")
    sys.runmain_environ = {name: os.environ.get(name, "") for name in names}
    if sys.runmain_environ["RUNMAIN_TOKEN"]:
        if _NAMES.isdisjoint(sys.modules):
            sys.meta_path.insert(0, _first)
        else:
            _load()  # by a .pth file


try:
    _start()
except Exception as error:
    _complain(error)
_load_next()
