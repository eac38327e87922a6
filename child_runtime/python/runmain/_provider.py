"""The program's tracer providers, as they are made and set.

Invariants: each SDK provider has the mailbox processor exactly once, from its making on; the provider that was set
last is the global one, and tracers that were handed out before follow it. One that was made for the program steps aside
for any of the program's own, also for one that is not the SDK's, and hands over its processors. Non-goals: exporters
(_exporters), making a provider (_sdk), meters and loggers (_others).
"""
import atexit
import functools
import sys
import weakref
from _thread import get_ident

from . import _process

when_needed = []  # called without arguments when the program needs a provider and there is none
_tracers = weakref.WeakSet()  # of SDK providers, to follow the next provider
_STARTS = ("start_span", "start_as_current_span")  # of a tracer
_maker = 0  # the thread that makes providers for the program


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
            tracer.__dict__.setdefault("_runmain_of", self)
            successor = _successor(self)
            if successor is not self:
                _follow(tracer, successor)
        return tracer

    @functools.wraps(add)
    def add_span_processor(self, span_processor):
        heir = _successor(self) if is_ours(self) else self
        if heir is not self and _is_sdk_provider(heir):
            heir.add_span_processor(span_processor)
        elif not isinstance(span_processor, ours):
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


class made_for_program:
    """Within it, providers that are set are ours: they step aside."""

    def __enter__(self):
        global _maker
        _maker = get_ident()

    def __exit__(self, *_):
        global _maker
        _maker = 0


def is_ours(provider):
    return getattr(provider, "__dict__", {}).get("_runmain_is_ours", False)


def note_ours(provider):
    """Whether it is set within made_for_program."""
    is_made = _maker == get_ident()
    if is_made and hasattr(provider, "__dict__"):
        provider._runmain_is_ours = True
    return is_made


def has_stepped_aside(provider):
    return _successor(provider) is not provider


def _successor(provider):
    """Which provider makes this one's spans."""
    while getattr(provider, "__dict__", {}).get("_runmain_successor") is not None:
        provider = provider._runmain_successor
    return provider


def _follow(tracer, provider):
    """A tracer of an old provider makes the new one's spans from now on."""
    for name in _STARTS:
        tracer.__dict__.pop(name, None)
    tracer._runmain_of = provider
    scope = tracer._instrumentation_scope
    names = (scope.name, scope.version, scope.schema_url)
    successor = _tracer_of(provider, names, getattr(scope, "attributes", None))
    if successor is not tracer:  # of a provider that was set again
        for name in _STARTS:
            setattr(tracer, name, getattr(successor, name))


def _tracer_of(provider, names, attributes):
    more = (attributes,) if attributes else ()  # older ones have none
    return provider.get_tracer(*names, *more)


def _hand_over(before, provider):
    """What was asked for of ours (a console's exporter) sees the program's spans, too. What is the mailbox's each
    provider has."""
    from . import _exporters

    if not _is_sdk_provider(before) or not _is_sdk_provider(provider):
        return
    for one in list(before._active_span_processor._span_processors):
        if one is not before.__dict__.get("_runmain_processor") and not _exporters.sends_otlp(one):
            provider.add_span_processor(one)
    handler = getattr(before, "_atexit_handler", None)
    if handler is not None:  # not before the program's own ends
        atexit.unregister(handler)
        _process.at_ends.append(handler)


def patch_api(api):
    if getattr(api._set_tracer_provider, "_runmain", False):
        return
    original = api._set_tracer_provider

    @functools.wraps(original)
    def _set_tracer_provider(provider, log):
        note_ours(provider)
        before = api._TRACER_PROVIDER
        is_next = _is_sdk_provider(provider) or (is_ours(before) and not isinstance(provider, api.ProxyTracerProvider))
        if before is None or provider is before or not is_next:
            return original(provider, log)
        # The last one wins, also in a forked child, where the API's "once" would keep the parent's.
        api._TRACER_PROVIDER = provider
        # A chain that ended in itself would never be followed to its end.
        getattr(provider, "__dict__", {}).pop("_runmain_successor", None)
        if hasattr(before, "__dict__"):
            before._runmain_successor = provider
        if is_ours(before) and not is_ours(provider):
            _hand_over(before, provider)
        for tracer in list(_tracers):
            if tracer.__dict__.get("_runmain_of") is before:
                _follow(tracer, provider)
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
        if api._TRACER_PROVIDER is None and self._real_tracer is None:
            _need()
        provider = api._TRACER_PROVIDER
        if provider is None:
            return original(self)
        known = self.__dict__.get("_runmain_real")
        if known is None or known[0] is not provider:  # none, or of the one before, which may be of any kind
            names = (self._instrumenting_module_name, self._instrumenting_library_version, self._schema_url)
            known = self._runmain_real = (provider, _tracer_of(provider, names, getattr(self, "_attributes", None)))
            self._real_tracer = known[1]
        return known[1]

    api.get_tracer_provider = get_tracer_provider
    proxy._tracer = property(tracer)


def _need():
    for call in when_needed:
        call()


def _is_sdk_provider(provider):
    return hasattr(provider, "_active_span_processor") and hasattr(provider, "__dict__")
