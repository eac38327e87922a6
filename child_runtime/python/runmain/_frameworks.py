"""Frameworks whose instrumentation comes too late otherwise.

FastAPIInstrumentor.instrument_app() in a lifespan comes after the middleware stack was built: the app would go on
without it. The stack is dropped, so that the next request builds it anew, with the middleware.
"""
import functools


def fastapi(module):
    _patch(module.FastAPIInstrumentor)


def starlette(module):
    _patch(module.StarletteInstrumentor)


def _patch(instrumentor):
    original = instrumentor.instrument_app
    if getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    def instrument_app(app, *args, **kwargs):
        is_built = getattr(app, "middleware_stack", None) is not None
        if is_built and not getattr(app, "_is_instrumented_by_opentelemetry", False):
            app.middleware_stack = None
        return original(app, *args, **kwargs)

    instrument_app._runmain = True
    instrumentor.instrument_app = staticmethod(instrument_app)
