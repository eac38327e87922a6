"""The probe's folder stays in front of PYTHONPATH in what this process starts, and nobody sees it here.

Invariant: os.environ has the PYTHONPATH that it would have without us (opentelemetry-instrument reads and writes it,
the program may, too), the environment of the C library has ours in front of it, which a child gets that is given none. A child
with an environment of its own gets a copy with ours in front; one without RUNMAIN_DOCTOR stays as it is.
"""
import os

from . import _wraps

_NAME, _DOCTOR = b"PYTHONPATH", b"RUNMAIN_DOCTOR"
_ENV = 5  # among the arguments of _posixsubprocess.fork_exec
_folder = b""
_putenv, _unsetenv = os.putenv, os.unsetenv
_is_wanted = True


def keep(folder):
    global _folder
    _folder = os.fsencode(folder)
    data = os.environ._data
    if _NAME in data:
        rest = _without(data[_NAME])
        if rest is None:
            del data[_NAME]
        else:
            data[_NAME] = rest
    _putenv(_NAME, _with(data.get(_NAME)))
    os.putenv, os.unsetenv = putenv, unsetenv
    if hasattr(os.environ, "putenv"):  # Python 3.8 keeps them there
        os.environ.putenv, os.environ.unsetenv = putenv, unsetenv
    _wrap_starts()


def _with(value):
    return _folder + os.fsencode(os.pathsep) + value if value else _folder


def _without(value):
    """None: there was nothing but ours."""
    separator = os.fsencode(os.pathsep)
    parts = value.split(separator)
    rest = [one for one in parts if one != _folder]
    return value if len(rest) == len(parts) else separator.join(rest) if rest else None


def putenv(name, value, /):
    name, value = os.fsencode(name), os.fsencode(value)
    if name == _NAME and _is_wanted:
        value = _with(_without(value))
    _putenv(name, value)
    if name == _DOCTOR:
        _want(True)


def unsetenv(name, /):
    name = os.fsencode(name)
    if name == _NAME and _is_wanted:
        _putenv(_NAME, _folder)
        return
    _unsetenv(name)
    if name == _DOCTOR:
        _want(False)


def _want(wanted):
    """Whoever takes RUNMAIN_DOCTOR out of the environment wants children without us."""
    global _is_wanted
    _is_wanted = wanted
    value = os.environ._data.get(_NAME)
    if wanted:
        _putenv(_NAME, _with(value))
    elif value is None:
        _unsetenv(_NAME)
    else:
        _putenv(_NAME, value)


# ---- what is started with an environment of its own


def _wrap_starts():
    import _posixsubprocess

    fork_exec = _posixsubprocess.fork_exec

    @_wraps.like(fork_exec)
    def with_list(*args):
        if len(args) > _ENV and args[_ENV] is not None:
            args = args[:_ENV] + (_listed(args[_ENV]),) + args[_ENV + 1 :]
        return fork_exec(*args)

    _posixsubprocess.fork_exec = with_list  # before subprocess takes it from there
    for name in ("execve", "posix_spawn", "posix_spawnp"):
        if hasattr(os, name):
            setattr(os, name, _with_mapping(getattr(os, name)))


def _with_mapping(original):
    @_wraps.like(original)
    def start(path, argv, env, *args, **kwargs):
        return original(path, argv, _mapped(env), *args, **kwargs)

    if original in os.supports_fd:
        os.supports_fd.add(start)
    return start


def _listed(env):
    try:
        env = list(env)
        if not any(one.startswith(_DOCTOR + b"=") for one in env):
            return env
        value = next((one[len(_NAME) + 1 :] for one in env if one.startswith(_NAME + b"=")), b"")
        rest = [one for one in env if not one.startswith(_NAME + b"=")]
        return rest + [_NAME + b"=" + _with(_without(value))]
    except Exception:  # the original says what is wrong with it
        return env


def _mapped(env):
    try:
        copied = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
        if _DOCTOR not in copied:
            return env
        copied[_NAME] = _with(_without(copied.get(_NAME, b"")))
        return copied
    except Exception:
        return env
