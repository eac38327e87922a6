"""What this process starts with an environment of the program's own (`env=dict(os.environ)`, a copy from before the
claim): a helper is one all the same, and a copy of a dev server is none that runmain reloads.

Invariants: the program's mapping is not changed; without an environment nothing is done, since os.environ is right.
Non-goals: os.exec…(), os.posix_spawn() and os.spawn…() with an environment of the program's.
"""
import functools

from . import _environment, _imports, _process

_ENV = 10  # among the arguments of Popen
_said = {}  # name -> value: in os.environ, for this program's eyes


def watch():
    """Idempotent."""
    for name in ("subprocess", "gevent.subprocess"):
        _imports.when_imported(name, "_children:patch")


def said(name, value):
    _said[name] = value
    watch()


def patch(module):
    original = module.Popen.__init__
    if getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    def __init__(self, *args, **kwargs):
        try:
            if len(args) > _ENV:
                args = args[:_ENV] + (_of_child(args[_ENV]),) + args[_ENV + 1 :]
            elif "env" in kwargs:
                kwargs["env"] = _of_child(kwargs["env"])
        except Exception as error:  # a mapping of a kind of its own
            _process.tell("an environment could not be looked at", error)
        original(self, *args, **kwargs)

    __init__._runmain = True
    module.Popen.__init__ = __init__


def _of_child(env):
    if env is None:
        return None
    changed = {name: None for name, value in _said.items() if env.get(name) == value}
    token = _environment.wiped(env.get("RUNMAIN_TOKEN", ""))
    if token is not None:
        changed["RUNMAIN_TOKEN"] = token
    if not changed:
        return env
    env = dict(env, **changed)
    return {name: value for name, value in env.items() if value is not None}
