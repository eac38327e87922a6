"""Instrumentations and server middlewares: which, to what, by whom, and whether in time."""
import gc
import sys

from . import _packages, _records, _spans, _wraps

_AUTOMATIC = "opentelemetry.instrumentation.auto_instrumentation"
# Instrumentations that put a class of their own in the place of the library's: apps that are there already stay as they are.
_REPLACED = {"flask": ("flask", "Flask"), "fastapi": ("fastapi", "FastAPI"), "starlette": ("starlette.applications", "Starlette")}
_added = {}  # a middleware's class -> the stack of the add_middleware() that put it in last
_automatic = {}  # name of an instrumentor's class -> whether opentelemetry-instrument applied it


def _library(cls):
    """opentelemetry.instrumentation.flask -> flask"""
    parts = cls.__module__.split(".")
    if "instrumentation" in parts[:-1]:
        return parts[parts.index("instrumentation") + 1]
    return cls.__name__.replace("Instrumentor", "").lower()


def _is_automatic():
    return any(_records.module_of(frame).startswith(_AUTOMATIC) for frame in _records.frames())


def _is_by_instrumentation():
    frame = next(_records.frames(), None)
    return frame is not None and _spans.is_instrumentation(_records.module_of(frame))


# ---- all of a library


def on_instrumentor(module):
    import opentelemetry.instrumentation as package

    _packages.say("opentelemetry-instrumentation", package)
    _wraps.method(module.BaseInstrumentor, "instrument", _instrument)


def _instrument(original):
    def instrument(self, *args, **kwargs):
        was = getattr(self, "_is_instrumented_by_opentelemetry", False)
        late = _has_apps(_library(type(self)))
        result = original(self, *args, **kwargs)
        if was or getattr(self, "_is_instrumented_by_opentelemetry", False):  # else it did not fit
            _say_instrumented(type(self), bool(was), late)
        return result

    return instrument


@_records.safely
def _has_apps(library):
    """Whether an app of the library is there that nobody has instrumented. By the types of objects, for a proxy would ask what
    it stands for."""
    name, kind = _REPLACED.get(library, (None, None))
    made = getattr(sys.modules.get(name), kind, None) if name else None
    if not isinstance(made, type):
        return False
    return any(
        issubclass(type(one), made) and not getattr(one, "_is_instrumented_by_opentelemetry", False)
        for one in gc.get_objects()
    )


@_records.safely
def _say_instrumented(cls, refused, late):
    automatic = _is_automatic()
    if not refused:
        _automatic[cls.__name__] = automatic
    _say(cls, None, automatic, refused, late)


def _say(cls, app, automatic, refused, late):
    _records.write(
        "instrument",
        **{"class": cls.__name__},
        library=_library(cls),
        app=_records.number_of(app) if app is not None else None,
        automatic=automatic,
        refused=refused,
        late=late,
        stack=_records.stack(),
    )


# ---- one app


def _on_app(cls, is_late):
    def make(original):
        def instrument_app(app, *args, **kwargs):
            _say_app(cls, app, is_late)
            return original(app, *args, **kwargs)

        return instrument_app

    _wraps.method(cls, "instrument_app", make)


@_records.safely
def _say_app(cls, app, is_late):
    """Before it is done: some refuse a late one with an exception."""
    automatic = _automatic.get(cls.__name__, False) if _is_by_instrumentation() else _is_automatic()
    refused = bool(getattr(app, "_is_instrumented_by_opentelemetry", False))
    _say(cls, app, automatic, refused, is_late(app))


def _is_late_asgi(app):
    return getattr(app, "middleware_stack", None) is not None


def _is_late_flask(app):
    return bool(getattr(app, "_got_first_request", False))


def on_fastapi(module):
    _on_app(module.FastAPIInstrumentor, _is_late_asgi)


def on_starlette(module):
    _on_app(module.StarletteInstrumentor, _is_late_asgi)


def on_flask(module):
    _on_app(module.FlaskInstrumentor, _is_late_flask)
    original = getattr(module, "_rewrapped_app", None)
    if original is not None:
        module._rewrapped_app = _wrapping_flask(original)


# ---- middlewares


def on_applications(module):
    _wraps.method(module.Starlette, "add_middleware", _add_middleware)


def _add_middleware(original):
    def add_middleware(self, middleware_class, *args, **kwargs):
        _remember_adding(middleware_class)
        return original(self, middleware_class, *args, **kwargs)

    return add_middleware


@_records.safely
def _remember_adding(middleware_class):
    """It is made much later, by nobody's call."""
    _added[middleware_class] = _records.stack()


def on_middleware(module):
    _wraps.method(module.OpenTelemetryMiddleware, "__init__", _middleware)


def _middleware(original):
    def __init__(self, *args, **kwargs):
        _say_middleware(self, kwargs)
        original(self, *args, **kwargs)

    return __init__


@_records.safely
def _say_middleware(middleware, arguments):
    """Starlette makes what an instrumentation gave to add_middleware(): told by the arguments."""
    details = getattr(arguments.get("default_span_details"), "__module__", "") or ""
    by_instrumentor = _is_by_instrumentation() or _spans.is_instrumentation(details)
    name = type(middleware).__name__
    added = None if by_instrumentor else _added.get(type(middleware))
    _write_middleware(name, _library(type(middleware)), by_instrumentor, added)


def _write_middleware(name, library, by_instrumentor, stack=None):
    by = "instrumentor" if by_instrumentor else "program"
    _records.write("middleware", **{"class": name}, library=library, by=by, stack=stack or _records.stack())


def _wrapping_flask(original):
    say = _records.safely(_write_middleware)

    def _rewrapped_app(*args, **kwargs):
        say("_rewrapped_app", "flask", True)
        return original(*args, **kwargs)

    return _rewrapped_app


def on_django(module):
    _wraps.method(module._DjangoMiddleware, "__init__", _django)


def _django(original):
    def __init__(self, *args, **kwargs):
        _say_django(self)
        original(self, *args, **kwargs)

    return __init__


@_records.safely
def _say_django(middleware):
    """It stands in the settings in each case: an instrumentor that was applied has put it there."""
    _write_middleware(type(middleware).__name__, "django", "DjangoInstrumentor" in _automatic)
