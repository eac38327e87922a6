"""What stands in for a function that is hooked looks like it, and methods are replaced once, as what they were."""


def like(original):
    """functools.wraps(), without functools: that costs a process 2 ms which imports nothing."""

    def decorate(wrapper):
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            if hasattr(original, name):
                setattr(wrapper, name, getattr(original, name))
        wrapper.__dict__.update(getattr(original, "__dict__", {}))
        wrapper.__wrapped__ = original
        return wrapper

    return decorate


def method(cls, name, make):
    """Replaces cls.name by make(original), unless it was. `name` may also be in a base class."""
    original = getattr(cls, name, None)
    if original is None or getattr(original, "_runmain_probe", False):
        return
    is_static = isinstance(cls.__dict__.get(name), staticmethod)
    wrapper = like(original)(make(original))
    wrapper._runmain_probe = True
    setattr(cls, name, staticmethod(wrapper) if is_static else wrapper)
