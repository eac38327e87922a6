"""The program's providers of metrics and of logs: the ones that were made for it step aside for its own.

Invariants: the program's own is the global one, whenever it is set; meters and loggers that ours has handed out follow.
What ours has counted until then is exported. Non-goals: making them (_signals), tracers (_provider), two of the
program's own, of which the first one stays, as the API says.
"""
import functools
import logging
import sys
import types

from . import _process, _provider


def patch_metrics(api):
    original = api._set_meter_provider
    if getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    def _set_meter_provider(provider, log):
        before, is_made = api._METER_PROVIDER, _provider.note_ours(provider)
        if before is None and is_made:
            _let_meters_follow(api, provider)
        if before is None or provider is before:
            return original(provider, log)
        if is_made:
            return _end(provider)  # the program has its own
        if not _provider.is_ours(before) or isinstance(provider, api._ProxyMeterProvider):
            return original(provider, log)
        api._METER_PROVIDER = provider
        api._PROXY_METER_PROVIDER.on_set_meter_provider(provider)
        for meter in list(before._runmain_meters.values()):
            meter.on_set_meter_provider(provider)
        return _end(before)

    _set_meter_provider._runmain = True
    api._set_meter_provider = _set_meter_provider


def _end(provider):
    try:
        provider.shutdown()
    except Exception as error:
        _process.tell("a provider that was made for the program could not be ended", error)


def _let_meters_follow(api, provider):
    """Its meters' instruments are the API's proxies, which can be given another meter."""
    make, meters = provider.get_meter, {}
    kind = _following_meter(api)

    def get_meter(name, version=None, schema_url=None, attributes=None):
        key = repr((name, version, schema_url, attributes))
        if key not in meters:
            more = {"attributes": attributes} if attributes else {}  # older ones have none
            meters.setdefault(key, kind(name, version, schema_url, more))._follow(make)
        return meters[key]

    provider._runmain_meters = meters
    provider.get_meter = get_meter


def _following_meter(api):
    class Meter(api._ProxyMeter):
        def __init__(self, name, version, schema_url, more):
            super().__init__(name, version=version, schema_url=schema_url)
            self._more = more
            self._made = {}
            self._maker = api._ProxyMeter(name)  # it never has a real one, and so makes proxies

        def _follow(self, get_meter):
            real = get_meter(self._name, self._version, self._schema_url, **self._more)
            with self._lock:
                self._real_meter = real
                for instrument in self._instruments:
                    instrument.on_meter_set(real)

        def on_set_meter_provider(self, meter_provider):
            self._follow(meter_provider.get_meter)

    for name in dir(api._ProxyMeter):
        if name.startswith("create_"):
            setattr(Meter, name, _making(getattr(api._ProxyMeter, name)))
    return Meter


def _making(create):
    @functools.wraps(create)
    def make(self, *args, **kwargs):
        key = repr((create.__name__, args, sorted(kwargs.items())))  # some programs ask for it with each request
        with self._lock:
            instrument = self._made.get(key)
            if instrument is None:
                instrument = self._made[key] = create(self._maker, *args, **kwargs)
                del self._maker._instruments[:]
                instrument.on_meter_set(self._real_meter)
                self._instruments.append(instrument)
        return instrument

    return make


# ---- logs


def patch_logs(api):
    original = api._set_logger_provider
    if getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    def _set_logger_provider(provider, log):
        before, is_made = api._LOGGER_PROVIDER, _provider.note_ours(provider)
        if before is None or provider is before:
            return original(provider, log)
        if is_made:
            return _hand_logs(provider, before)
        if not _provider.is_ours(before):
            return original(provider, log)
        api._LOGGER_PROVIDER = provider
        return _hand_logs(before, provider)

    _set_logger_provider._runmain = True
    api._set_logger_provider = _set_logger_provider


def _hand_logs(ours, provider):
    """What goes to a logger of ours goes on to the program's processors."""
    processors = getattr(ours, "_multi_log_record_processor", None)
    theirs = getattr(provider, "_multi_log_record_processor", None)
    if hasattr(processors, "_log_record_processors"):
        processors._log_record_processors = () if theirs is None else (_forward(theirs),)
        ours.add_log_record_processor = lambda processor: None  # of a configurator, which comes too late
    handlers = [one for one in logging.getLogger().handlers if getattr(one, "_logger_provider", None) is ours]
    module = sys.modules.get("opentelemetry.instrumentation.logging")
    handlers.append(getattr(getattr(module, "LoggingInstrumentor", None), "_logging_handler", None))
    for handler in handlers:
        if handler is not None:
            handler.addFilter(functools.partial(_is_alone, handler))


def _forward(processor):
    """All but its end, which is its provider's to tell."""
    emit = getattr(processor, "on_emit", None) or processor.emit
    enabled = getattr(processor, "enabled", lambda **_: True)
    flush = processor.force_flush
    return types.SimpleNamespace(on_emit=emit, emit=emit, enabled=enabled, force_flush=flush, shutdown=lambda: None)


def _is_alone(handler, record):
    """The program may have put a handler of its own beside the one that was put there for it."""
    others = [one for one in logging.getLogger().handlers if one is not handler]
    return not any(type(one).__name__ == "LoggingHandler" and hasattr(one, "_logger_provider") for one in others)
