"""What a Python program that runmain serves may call. Without runmain every call is harmless.

    import runmain
    runmain.setup_tracing()                      # idempotent: the SDK and what is installed of instrumentations
    runmain.on_drain(lambda budget: ...)         # called in a thread of its own when this process shall end
    app = FastAPI(lifespan=runmain.lifespan())   # claims, says ready and drained
"""
from ._environment import VERSION as __version__  # noqa: F401
from ._public import (  # noqa: F401
    Setup,
    drained,
    lifespan,
    on_drain,
    post_fork,
    ready,
    serve,
    serving,
    setup_tracing,
    why_not_serving,
)
