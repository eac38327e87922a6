"""The program's tracer providers, as they are made and set.

Invariants: each SDK provider has the mailbox processor exactly once, from its making on; the provider that was set
last is the global one, and tracers that were handed out before follow it. Non-goals: exporters (_exporters), making a
provider (_sdk).
"""
import atexit
import functools
import sys
import weakref

from . import _process

when_needed = []  # called without arguments when the program needs a provider and there is none
_tracers = weakref.WeakSet()  # of SDK providers, to follow the next provider
_TRACER_PARTS = ("sampler", "resource", "span_processor", "id_generator", "_span_limits")


def make_processor_class(sdk_trace):
    """Made here: its base class is the SDK's."""
    current = _process.current

    class MailboxSpanProcessor(sdk_trace.SpanProcessor):
        """Writes a span into the mailbox before its end returns. It has nothing to flush and no thread."""

        # False where the program hands its spans through something of its own to an OTLP exporter: what comes out
        # there is in the mailbox (_exporters), not what goes in.
        is_on = True

        def on_start(self, span, parent_context=None):
            if self.is_on:
                current().sink.start(span)

        def on_end(self, span):
            if self.is_on:
                current().sink.end(span)
            else:
                current().sink.withhold(span)

        def shutdown(self):
            pass  # what ends later is not lost either

        def force_flush(self, timeout_millis=30000):
            return True

    return MailboxSpanProcessor


def patch_sdk(sdk_trace):
    provider = sdk_trace.TracerProvider
    if getattr(provider, "_runmain", False):
        return
    provider._runmain = True
    atexit.register(_process.at_last)  # before any provider's own, so it runs behind them
    ours = make_processor_class(sdk_trace)
    make, get_tracer, add = provider.__init__, provider.get_tracer, provider.add_span_processor

    @functools.wraps(make)
    def __init__(self, *args, **kwargs):
        make(self, *args, **kwargs)
        if "_runmain_processor" not in self.__dict__:
            self._runmain_processor = ours()
            add(self, self._runmain_processor)

    @functools.wraps(get_tracer)
    def get(self, *args, **kwargs):
        tracer = get_tracer(self, *args, **kwargs)
        if isinstance(tracer, sdk_trace.Tracer):
            _tracers.add(tracer)
            follow(tracer, self.__dict__.get("_runmain_successor"))
        return tracer

    @functools.wraps(add)
    def add_span_processor(self, span_processor):
        if not isinstance(span_processor, ours):
            _look_at(self, span_processor)
            add(self, span_processor)

    provider.__init__, provider.get_tracer, provider.add_span_processor = __init__, get, add_span_processor


def _look_at(provider, span_processor):
    """Decides who writes the provider's spans: ours, or what the program has put around an OTLP exporter. Ours as long
    as the program sends them as they are, too."""
    from . import _exporters

    try:
        direct, wrapped = _exporters.otlp_of(span_processor)
    except Exception as error:
        _process.tell("a span processor could not be looked at", error)
        return
    known = provider.__dict__
    known.setdefault("_runmain_wrapped", []).extend(wrapped)
    if direct:
        known["_runmain_direct"] = True
    is_on = "_runmain_direct" in known or not known["_runmain_wrapped"]
    if "_runmain_processor" in known:
        provider._runmain_processor.is_on = is_on
    for one in known["_runmain_wrapped"]:
        one._runmain_speaks = not is_on


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
    _patch_needs(api)
    if "uwsgi" in sys.modules:  # made in C, before an import hook could see it
        from . import _runners

        _runners.uwsgi(sys.modules["uwsgi"])


def _patch_needs(api):
    """The first span of a tracer of the API's, and the program's asking for the provider, may start the SDK."""
    get_provider, proxy = api.get_tracer_provider, api.ProxyTracer
    original = proxy._tracer.fget

    @functools.wraps(get_provider)
    def get_tracer_provider():
        if api._TRACER_PROVIDER is None and when_needed:
            # Instrumentations and the API itself are content with a proxy.
            if not sys._getframe(1).f_globals.get("__name__", "").startswith("opentelemetry."):
                _need()
        return get_provider()

    def tracer(self):
        if self._real_tracer is None and api._TRACER_PROVIDER is None:
            _need()
        return original(self)

    api.get_tracer_provider = get_tracer_provider
    proxy._tracer = property(tracer)


def _need():
    for call in when_needed:
        call()


def _is_sdk_provider(provider):
    return hasattr(provider, "_active_span_processor") and hasattr(provider, "__dict__")
