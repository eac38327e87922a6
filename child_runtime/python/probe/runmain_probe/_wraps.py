"""Methods of a class that is hooked: once, and as what they were."""
import functools


def method(cls, name, make):
    """Replaces cls.name by make(original), unless it was. `make` may also find it in a base class."""
    original = getattr(cls, name, None)
    if original is None or getattr(original, "_runmain_probe", False):
        return
    is_static = isinstance(cls.__dict__.get(name), staticmethod)
    wrapper = functools.wraps(original)(make(original))
    wrapper._runmain_probe = True
    setattr(cls, name, staticmethod(wrapper) if is_static else wrapper)
