"""What a Python program that runmain serves may call. Without runmain every call is harmless.

    import runmain
    runmain.setup_tracing()                      # idempotent: the SDK and what is installed of instrumentations
    runmain.on_drain(lambda budget: ...)         # called in a thread of its own when this process shall end
    app = FastAPI(lifespan=runmain.lifespan())   # claims, says ready and drained

The calls are in _public; they are loaded at the first use, since the bootstrap loads this package in each process.
"""
from ._environment import VERSION as __version__  # noqa: F401

__all__ = (
    "Setup",
    "drained",
    "lifespan",
    "on_drain",
    "post_fork",
    "ready",
    "serve",
    "serving",
    "setup_tracing",
    "why_not_serving",
)


def __getattr__(name):
    if name in __all__:
        from . import _public

        return getattr(_public, name)
    raise AttributeError("module %r has no attribute %r" % (__name__, name))


def __dir__():
    return sorted(__all__)
