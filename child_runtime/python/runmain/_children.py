"""What this process starts with an environment of the program's own (`env=dict(os.environ)`, a copy from before the
claim): a helper is one all the same, and a copy of a dev server is none that runmain reloads.

Invariants: the program's mapping is not changed; without an environment nothing is done, since os.environ is right
(multiprocessing's children have none of their own). Who has the role and executes another program stays who it is.
Non-goals: children that were started before the claim; functions of os that the program had taken out of it by then.
"""
import functools
import os

from . import _environment, _imports, _process

_ENV = 10  # among the arguments of Popen
_said = {}  # name -> value: in os.environ, for this program's eyes


def watch():
    """Idempotent."""
    for name in ("posix_spawn", "posix_spawnp"):
        _patch_os(name, lambda: True)
    _patch_os("execve", _is_helper)  # os.spawn…() ends in it, in its child, and so does each os.exec…() with one
    for name in ("subprocess", "gevent.subprocess"):
        _imports.when_imported(name, "_children:patch")


def _is_helper():
    return _process.current().state != _process.GRANTED


def _patch_os(name, applies):
    """Of `name(path, argv, env, …)`."""
    original = getattr(os, name, None)
    if original is None or getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    def call(*args, **kwargs):
        try:
            if applies() and len(args) > 2:
                args = args[:2] + (_of_child(args[2]),) + args[3:]
            elif applies() and "env" in kwargs:
                kwargs["env"] = _of_child(kwargs["env"])
        except Exception as error:  # of keys in bytes, or what is no environment, which the original says
            _process.tell("an environment could not be looked at", error)
        return original(*args, **kwargs)

    call._runmain = True
    setattr(os, name, call)


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
    changed = {}  # key -> value, None: not there
    for key in env.keys():
        name, value = os.fsdecode(key), os.fsdecode(env[key])
        token = _environment.wiped(value) if name == "RUNMAIN_TOKEN" else None
        if token is not None:
            changed[key] = token
        elif name in _said and value == _said[name]:
            changed[key] = None
    if not changed:
        return env
    found = {key: changed.get(key, env[key]) for key in env.keys()}
    return {key: value for key, value in found.items() if value is not None}
