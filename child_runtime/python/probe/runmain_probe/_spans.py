"""Spans as they begin, become current and end. Nothing is added to a provider: the methods of the SDK's Span and the
API's attach() are wrapped, and call what they were.

Bound: OPEN_MAX spans are known at a time; one over that has its `start` and `end`, but no `activate`.
"""
import sys
from _thread import get_ident

from _weakref import ref as _ref

from . import _records, _wraps

OPEN_MAX, OPEN_TOLD_MAX = 4096, 64
_open = {}  # (trace, span) -> [name, whether it was current]
_of_processor = {}  # id() of a provider's multi processor -> (weak reference, the provider's number)


def know(multi, provider):
    """A span knows its provider's processor, not the provider."""
    if multi is not None:
        key = id(multi)
        _of_processor[key] = (_ref(multi, lambda _: _of_processor.pop(key, None)), provider)


def still_open():
    found = list(_open.items())[:OPEN_TOLD_MAX]
    return [{"trace": "%032x" % key[0], "span": "%016x" % key[1], "name": one[0]} for key, one in found]


def on_sdk(module):
    _wraps.method(module.Span, "start", _start)
    _wraps.method(module.Span, "end", _end)


def _start(original):
    def start(self, *args, **kwargs):
        if getattr(self, "_start_time", 0) is None:
            _say_start(self)
        return original(self, *args, **kwargs)

    return start


@_records.safely
def _say_start(span):
    context = span.context
    if len(_open) < OPEN_MAX:
        _open[context.trace_id, context.span_id] = [span.name, False]
    parent = span.parent
    scope = getattr(span, "instrumentation_scope", None) or getattr(span, "_instrumentation_scope", None)
    by, at = _beginner()
    known = _of_processor.get(id(getattr(span, "_span_processor", None)))
    fields = {"provider": known[1]} if known is not None else {}
    _records.write(
        "start",
        trace="%032x" % context.trace_id,
        span="%016x" % context.span_id,
        parent="%016x" % parent.span_id if parent is not None else None,
        name=span.name,
        kind=span.kind.value + 1,  # in OTLP 0 is "unspecified"
        scope=getattr(scope, "name", None),
        by=by,
        at=at,
        task=_task(),
        **fields,
    )


def _beginner():
    """The first frame outside of OpenTelemetry's API and SDK: (library or program, where)."""
    for frame in _records.frames():
        name = _records.module_of(frame)
        if is_instrumentation(name):
            return "library", _records.place(frame)
        if not name.startswith("opentelemetry.") and name not in ("contextlib", "functools", "wrapt"):
            return "program", _records.place(frame)
    return None, None


def _task():
    """Thread and asyncio task: where another span could be the parent."""
    running = sys.modules.get("asyncio")
    try:
        task = running.current_task() if running is not None else None
    except RuntimeError:  # no loop runs in this thread
        task = None
    return "%d:%d" % (get_ident(), _records.number_of(task) if task is not None else 0)


# Frameworks that trace themselves.
_SELF_TRACED = ("fastapi.telemetry", "starlette.middleware.opentelemetry")


def is_instrumentation(module):
    return ".instrumentation." in module + "." or module.startswith(_SELF_TRACED)


def _end(original):
    def end(self, *args, **kwargs):
        if getattr(self, "_start_time", None) is not None and getattr(self, "_end_time", 0) is None:
            _say_end(self)
        return original(self, *args, **kwargs)

    return end


@_records.safely
def _say_end(span):
    context = span.context
    _open.pop((context.trace_id, context.span_id), None)
    _records.write("end", trace="%032x" % context.trace_id, span="%016x" % context.span_id)


def on_context(module):
    original = module.attach

    @_wraps.like(original)
    def attach(context):
        if _open:
            _say_current(context)
        return original(context)

    module.attach = attach


@_records.safely
def _say_current(context):
    """Once a span: a context with something else in it is attached with the same span, too."""
    propagation = sys.modules.get("opentelemetry.trace.propagation")
    span = context.get(getattr(propagation, "_SPAN_KEY", None))
    of_span = getattr(span, "context", None)
    one = _open.get((of_span.trace_id, of_span.span_id)) if of_span is not None else None
    if one is not None and not one[1]:
        one[1] = True
        _records.write("activate", trace="%032x" % of_span.trace_id, span="%016x" % of_span.span_id)
