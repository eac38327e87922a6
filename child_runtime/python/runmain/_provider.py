"""The program's tracer providers, as they are made and set.

Invariants: each SDK provider has the mailbox processor exactly once, from its making on; the provider that was set
last is the global one, and tracers that were handed out before follow it. Non-goals: exporters (_exporters), making a
provider (_sdk).
"""
import functools
import weakref

from . import _process

_tracers = weakref.WeakSet()  # of SDK providers, to follow the next provider
_TRACER_PARTS = ("sampler", "resource", "span_processor", "id_generator", "_span_limits")


def make_processor(sdk_trace):
    """The one mailbox processor of the process. Made here: its base class is the SDK's."""
    if not hasattr(sdk_trace, "_runmain_processor"):
        current = _process.current

        class MailboxSpanProcessor(sdk_trace.SpanProcessor):
            """Writes a span into the mailbox before its end returns. It has nothing to flush and no thread."""

            def on_start(self, span, parent_context=None):
                current().sink.start(span)

            def on_end(self, span):
                current().sink.end(span)

            def shutdown(self):
                pass  # what ends later is not lost either

            def force_flush(self, timeout_millis=30000):
                return True

        sdk_trace._runmain_processor = MailboxSpanProcessor()
    return sdk_trace._runmain_processor


def patch_sdk(sdk_trace):
    provider = sdk_trace.TracerProvider
    if getattr(provider, "_runmain", False):
        return
    provider._runmain = True
    processor = make_processor(sdk_trace)
    make, get_tracer, add = provider.__init__, provider.get_tracer, provider.add_span_processor

    @functools.wraps(make)
    def __init__(self, *args, **kwargs):
        make(self, *args, **kwargs)
        if not self.__dict__.get("_runmain_attached"):
            self._runmain_attached = True
            add(self, processor)

    @functools.wraps(get_tracer)
    def get(self, *args, **kwargs):
        tracer = get_tracer(self, *args, **kwargs)
        if isinstance(tracer, sdk_trace.Tracer):
            _tracers.add(tracer)
            follow(tracer, self.__dict__.get("_runmain_successor"))
        return tracer

    @functools.wraps(add)
    def add_span_processor(self, span_processor):
        if span_processor is not processor:
            add(self, span_processor)

    provider.__init__, provider.get_tracer, provider.add_span_processor = __init__, get, add_span_processor


def follow(tracer, provider):
    """A tracer of an old provider makes the new one's spans from now on."""
    while provider is not None and provider.__dict__.get("_runmain_successor") is not None:
        provider = provider._runmain_successor
    if provider is None:
        return
    parts = {
        "sampler": getattr(provider, "sampler", None),
        "resource": getattr(provider, "_resource", None),
        "span_processor": getattr(provider, "_active_span_processor", None),
        "id_generator": getattr(provider, "id_generator", None),
        "_span_limits": getattr(provider, "_span_limits", None),
    }
    if all(parts[name] is not None and hasattr(tracer, name) for name in _TRACER_PARTS):
        for name, part in parts.items():
            setattr(tracer, name, part)


def patch_api(api):
    if getattr(api._set_tracer_provider, "_runmain", False):
        return
    original = api._set_tracer_provider

    @functools.wraps(original)
    def _set_tracer_provider(provider, log):
        before = api._TRACER_PROVIDER
        if before is None or provider is before or not _is_sdk_provider(provider):
            return original(provider, log)
        # The last one wins, also in a forked child, where the API's "once" would keep the parent's.
        api._TRACER_PROVIDER = provider
        # A chain that ended in itself would never be followed to its end.
        provider.__dict__.pop("_runmain_successor", None)
        if hasattr(before, "__dict__"):
            before._runmain_successor = provider
        for tracer in list(_tracers):
            if tracer.__dict__.get("span_processor") is getattr(before, "_active_span_processor", None):
                follow(tracer, provider)
        return None

    _set_tracer_provider._runmain = True
    api._set_tracer_provider = _set_tracer_provider


def _is_sdk_provider(provider):
    return hasattr(provider, "_active_span_processor") and hasattr(provider, "__dict__")
