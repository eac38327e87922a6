"""Providers and processors: who makes them, which one is global, and what lives in a forked child."""
import os
import time

from _weakref import ref as _ref

from . import _ends, _exporting, _packages, _records, _spans, _wraps

_RESOURCE_MAX = 64
_first_pid = None  # who has set the global provider; a child inherits it with the flag that refuses a second one
_providers = {}  # number -> (weak reference, [weak references of processors])


# ---- the API


def on_api(module):
    original = module._set_tracer_provider

    @_wraps.like(original)
    def _set_tracer_provider(tracer_provider, *args, **kwargs):
        was_set = _is_set(module)
        result = original(tracer_provider, *args, **kwargs)
        _say_set(module, tracer_provider, was_set)
        return result

    module._set_tracer_provider = _set_tracer_provider


def _is_set(module):
    """The flag, and not what it guards: a program may have replaced either."""
    once = getattr(module, "_TRACER_PROVIDER_SET_ONCE", None)
    return getattr(once, "_done", getattr(module, "_TRACER_PROVIDER", None) is not None)


@_records.safely
def _say_set(module, provider, was_set):
    global _first_pid
    accepted = not was_set and getattr(module, "_TRACER_PROVIDER", None) is provider
    if accepted:
        _first_pid = os.getpid()
    _records.write(
        "set",
        provider=_records.number_of(provider) if provider is not None else None,
        **{"class": _records.class_of(provider)},
        accepted=accepted,
        first_pid=None if accepted else _first_pid,
        stack=_records.stack(),
    )


# ---- the SDK


def on_sdk(module):
    _packages.say("opentelemetry-sdk", module)
    _records.at_fork = _at_fork
    _spans.on_sdk(module)
    cls = module.TracerProvider
    _wraps.method(cls, "__init__", _made)
    _wraps.method(cls, "add_span_processor", _added)
    _wraps.method(cls, "shutdown", _shut_down)


def _made(original):
    def __init__(self, *args, **kwargs):
        original(self, *args, **kwargs)
        _say_made(self)

    return __init__


@_records.safely
def _say_made(provider):
    number = _records.number_of(provider)
    _providers[number] = (_ref(provider, lambda _: _providers.pop(number, None)), [])
    multi = getattr(provider, "_active_span_processor", None)
    _spans.know(multi, number)
    resource = getattr(getattr(provider, "resource", None), "attributes", {})
    _records.write(
        "provider",
        id=number,
        **{"class": _records.class_of(provider)},
        resource={str(name): str(value) for name, value in list(resource.items())[:_RESOURCE_MAX]},
        stack=_records.stack(),
    )
    for processor in getattr(multi, "_span_processors", ()):
        _say_added(provider, processor)
    _ends.come_first()


def _added(original):
    def add_span_processor(self, span_processor, *args, **kwargs):
        original(self, span_processor, *args, **kwargs)
        _say_added(self, span_processor)

    return add_span_processor


@_records.safely
def _say_added(provider, processor):
    number = _records.number_of(provider)
    if number in _providers:
        try:
            _providers[number][1].append(_ref(processor))
        except TypeError:
            pass
    exporter, fields = _exporting.exporter_of(processor), {}
    if exporter is not None:
        asked = _exporting.asked_of(exporter)
        fields = {
            "exporter": _records.number_of(exporter),
            "exporter_class": _records.class_of(exporter),
            "endpoint": asked and asked[0],
            "protocol": asked and asked[1],
            "headers": asked and asked[2],
        }
    _records.write(
        "processor",
        provider=number,
        id=_records.number_of(processor),
        **{"class": _records.class_of(processor)},
        **fields,
        batch=_is_batch(processor),
        stack=_records.stack(),
    )


def _is_batch(processor):
    names = [one.__name__ for one in type(processor).__mro__]
    if "SimpleSpanProcessor" in names:
        return False
    return True if "BatchSpanProcessor" in names else None


def _shut_down(original):
    def shutdown(self, *args, **kwargs):
        began = time.monotonic_ns()
        try:
            return original(self, *args, **kwargs)
        finally:
            _say_shut_down(self, began)

    return shutdown


@_records.safely
def _say_shut_down(provider, began):
    _records.write(
        "shutdown",
        provider=_records.number_of(provider),
        ms=(time.monotonic_ns() - began) / 1e6,
        stack=_records.stack(),
    )


# ---- forks


@_records.safely
def _at_fork():
    """In the child, before the SDK empties its queues there."""
    alive, queued = [], None
    for number, (_, processors) in list(_providers.items()):
        for processor in [one() for one in processors]:
            if processor is None or _exporting.exporter_of(processor) is None:
                continue
            if number not in alive:
                alive.append(number)
            queue = _queue_of(processor)
            if queue is not None:
                queued = (queued or 0) + len(queue)
    return {"providers": alive, "open": _spans.still_open(), "queued": queued}


def _queue_of(processor):
    batch = getattr(processor, "_batch_processor", None)
    queue = getattr(batch, "_queue", None)
    return queue if queue is not None else getattr(processor, "queue", None)
