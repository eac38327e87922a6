"""OTLP exporters of the program, whatever endpoint is written in its code: what they would send is in the mailbox.

Invariants: a span or log processor whose exporter is an OTLP one has no thread and sends nothing, unless this process
serves without a mailbox: then it is made as the program asked for, and gets what had waited. Metrics and logs go into
the mailbox as one request each, and so do the spans that a program's own exporter or processor (which masks, filters)
hands to an OTLP exporter. Other exporters stay as they are. What is looked for around an exporter of spans is made of
exporters and processors of spans and of the program's own objects: a logger leads to an exporter, too, that of logs.
Non-goal: all other spans (_provider).
"""
import functools
import sys
import types
import weakref

from . import _environment, _mailbox, _process, _sink

_OTLP = "opentelemetry.exporter.otlp."
_REQUEST_MAX = _mailbox.RECORD_MAX - 64
TRACES, METRICS, LOGS = 0, 1, 2
_LOOKED_AT_MAX = 256  # objects around an exporter
_EXPORTER_NAMES = ("span_exporter", "exporter")  # of spans, of logs
_NOT_FOLLOWED = ("logging", "opentelemetry")  # loggers, handlers, providers, tracers, meters, processors of logs
_SDK_EXPORT = "opentelemetry.sdk.trace.export"

lost_requests = 0  # metrics, logs and handed spans that found no room: the mailbox has no counter for these


def is_otlp(exporter):
    """Whether it sends OTLP as it is: a subclass or an object with an export of its own does more than that."""
    export = getattr(type(exporter), "export", None)
    return getattr(export, "__module__", "").startswith(_OTLP) and "export" not in getattr(exporter, "__dict__", ())


def sends_otlp(processor):
    """Whether it is a processor of the SDK's with a plain OTLP exporter, held or not."""
    batch = getattr(processor, "_batch_processor", None)
    exporters = (getattr(processor, "span_exporter", None), getattr(batch, "_exporter", None))
    return otlp_of(processor)[0] or any(is_otlp(one) for one in exporters)


def otlp_of(processor):
    """Whether its spans go to an OTLP exporter as they are, and else what is behind it of OTLP: exporters of spans, and
    processors that we hold."""
    on_end = getattr(type(processor), "on_end", None)
    if "_runmain_held" in _attributes(processor) and getattr(on_end, "__module__", "").startswith(_SDK_EXPORT):
        return True, []
    found = []
    _find_otlp(processor, found, set())
    return False, found


def _find_otlp(thing, found, seen):
    if id(thing) in seen or len(seen) >= _LOOKED_AT_MAX:
        return
    seen.add(id(thing))
    if _is_of_spans(thing):
        if "_runmain_held" in _attributes(thing) or any(_module(one).startswith(_OTLP) for one in type(thing).__mro__):
            found.append(thing)
            return
    elif not _is_followed(type(thing)):
        return
    for one in _inside(thing):
        _find_otlp(one, found, seen)


def _is_of_spans(thing):
    trace = sys.modules.get("opentelemetry.sdk.trace")
    export = sys.modules.get(_SDK_EXPORT)
    kinds = (getattr(trace, "SpanProcessor", None), getattr(export, "SpanExporter", None))
    return any(kind in type(thing).__mro__ for kind in kinds)  # isinstance() would ask a proxy for what it stands


def _is_followed(kind):
    if issubclass(kind, (type, types.ModuleType)):
        return False
    # The batching of newer SDKs is an object of its own.
    own = [one for one in kind.__mro__ if one.__name__ != "BatchProcessor"]
    return not any(_module(one).partition(".")[0] in _NOT_FOLLOWED for one in own)


def _inside(thing):
    """What a thing holds."""
    if issubclass(type(thing), (list, tuple)):
        return list(thing)
    if issubclass(type(thing), dict):
        return list(thing.values())
    if type(thing) is functools.partial:
        return [thing.func, thing.args, thing.keywords]
    if type(thing) is types.MethodType:
        return [thing.__self__]
    if type(thing) is types.FunctionType:
        return [_get(cell, "cell_contents") for cell in thing.__closure__ or ()]
    inner = list(_attributes(thing).values())
    for one in type(thing).__mro__:
        slots = one.__dict__.get("__slots__", ())
        inner += [_get(thing, name) for name in ((slots,) if isinstance(slots, str) else slots)]
    return inner


def _attributes(thing):
    found = _get(thing, "__dict__")
    return found if isinstance(found, dict) else {}


def _get(thing, name):
    try:
        return getattr(thing, name, None)
    except Exception:  # an empty cell, a proxy that is bound to nothing
        return None


def _module(kind):
    return str(kind.__dict__.get("__module__", ""))


# ---- processors that hold still


class _Held:
    """A processor that was not made. `make()` makes it."""

    all = weakref.WeakSet()

    def __init__(self, processor, make):
        self._make = make
        self._processor = weakref.ref(processor)
        _Held.all.add(self)

    def make(self):
        processor = self._processor()
        if processor is not None and processor.__dict__.pop("_runmain_held", None) is not None:
            processor.__dict__.pop("_batch_processor", None)
            self._make()
        return processor


def _hold(cls, ends):
    """Patches a processor class. `ends`: the names under which it gets something that is finished."""
    if cls.__dict__.get("_runmain"):
        return
    cls._runmain = True
    make = cls.__init__

    @functools.wraps(make)
    def __init__(self, *args, **kwargs):
        exporter = _exporter_of(args, kwargs)
        if not is_otlp(exporter) or _process.current().sink.state is _sink.ELSEWHERE:
            make(self, *args, **kwargs)
            return
        self._batch_processor = types.SimpleNamespace(_exporter=exporter)  # where others look for the exporter
        for name in ("span_exporter", "_exporter"):
            try:
                setattr(self, name, exporter)
            except AttributeError:
                pass  # a property of newer ones
        self._runmain_held = _Held(self, functools.partial(make, self, *args, **kwargs))

    cls.__init__ = __init__
    answers = {"shutdown": None, "force_flush": True}
    for name in tuple(answers):
        if name in cls.__dict__:
            setattr(cls, name, _unless_held(cls.__dict__[name], answers[name]))
    for name in ends:
        if name in cls.__dict__:
            setattr(cls, name, _speak_or(cls.__dict__[name]))


def _exporter_of(args, kwargs):
    """None: the SDK will say what it misses."""
    if args:
        return args[0]
    return next((kwargs[name] for name in _EXPORTER_NAMES if name in kwargs), None)


def _unless_held(method, answer):
    @functools.wraps(method)
    def call(self, *args, **kwargs):
        if "_runmain_held" in self.__dict__:
            return answer
        return method(self, *args, **kwargs)

    return call


def _speak_or(on_end):
    @functools.wraps(on_end)
    def call(self, span):
        if "_runmain_held" not in self.__dict__:
            return on_end(self, span)
        if self.__dict__.get("_runmain_speaks") and span.context is not None and span.context.trace_flags.sampled:
            _write_quietly(hand_on, _process.current().sink, [span])
        return None

    return call


def _make_held(waiting):
    for held in list(_Held.all):
        try:
            _pass_on(held.make(), waiting)
        except Exception as error:  # the others are made all the same
            _process.tell("a processor of the program could not be made", error)


def _pass_on(processor, waiting):
    if hasattr(processor, "on_end"):
        for kind, item in waiting:
            if kind == "span":
                processor.on_end(item)


def patch_span_processors(module):
    for name in ("BatchSpanProcessor", "SimpleSpanProcessor"):
        _hold(getattr(module, name), ("on_end",))


# ---- logs


def patch_log_processors(module):
    for name in ("BatchLogRecordProcessor", "SimpleLogRecordProcessor"):
        cls = getattr(module, name, None)
        if cls is not None and not cls.__dict__.get("_runmain"):
            _hold(cls, ())
            for emit in ("on_emit", "emit"):
                if emit in cls.__dict__:
                    setattr(cls, emit, _write_or(cls.__dict__[emit]))


def _write_or(method):
    @functools.wraps(method)
    def on_emit(self, log, *args, **kwargs):
        if "_runmain_held" not in self.__dict__:
            return method(self, log, *args, **kwargs)
        _write_quietly(take_log, _process.current().sink, log)
        return None

    return on_emit


def take_log(sink, log):
    if _first_time(log):
        log = _readable(log)
        if sink.state is _sink.WAITING:
            _count_lost(sink.wait_for_role("log", log))
        else:
            write_waited(sink, "log", log)


def _first_time(log):
    """Two processors with an OTLP exporter get the same record: once."""
    try:
        if getattr(log, "_runmain_seen", False):
            return False
        log._runmain_seen = True
    except AttributeError:
        pass
    return True


def _readable(log):
    """SDKs from 1.39 on make another object for the exporter, which the encoder wants."""
    import opentelemetry.sdk._logs as logs

    kind = getattr(logs, "ReadableLogRecord", None)
    if kind is None or isinstance(log, kind) or not hasattr(log, "log_record"):
        return log
    resource = getattr(log, "resource", None)
    if resource is None:
        from opentelemetry.sdk.resources import Resource

        resource = Resource.create({})
    parts = {"log_record": log.log_record, "resource": resource, "instrumentation_scope": log.instrumentation_scope}
    return kind(limits=log.limits, **parts)


def write_logs(sink, logs):
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

    return _write(sink, LOGS, encode_logs(logs), "resource_logs")


def patch_log_exporter(module):
    def write(sink, batch):
        if len(batch) > 1 and not write_logs(sink, batch):
            half = len(batch) // 2
            return write(sink, batch[:half]) and write(sink, batch[half:])
        return True if len(batch) > 1 else write_logs(sink, batch)

    results = getattr(module, "LogRecordExportResult", None) or getattr(module, "LogExportResult")
    _patch_export(module.OTLPLogExporter, results, write)


# ---- metrics


def patch_metric_exporter(module):
    _patch_export(module.OTLPMetricExporter, module.MetricExportResult, write_metrics)


def write_metrics(sink, data):
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

    request = encode_metrics(data)
    if request.ByteSize() <= _REQUEST_MAX:
        return _write(sink, METRICS, request, "resource_metrics")
    done = True
    for part in _single_metrics(request):
        done = _write(sink, METRICS, part, "resource_metrics") and done
    return done


def _single_metrics(request):
    """A request for each metric."""
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                one = type(request)()
                of = one.resource_metrics.add(resource=resource.resource, schema_url=resource.schema_url)
                of.scope_metrics.add(scope=scope.scope, schema_url=scope.schema_url).metrics.append(metric)
                yield one


# ---- both


def patch_span_exporter(module):
    """Called by what a program has put around it; all else is in the mailbox already."""
    _patch_export(module.OTLPSpanExporter, module.SpanExportResult)


def hand_on(sink, spans):
    """Spans as a program's own exporter or processor has made them."""
    sink.note_handed()
    if sink.state is _sink.WAITING:
        for span in spans:
            _count_lost(sink.wait_for_role("handed", span))
        sink.claim_by_the_way()
    elif sink.state is _sink.ON:
        write_spans(sink, list(spans))  # raises where the exporter would


def write_waited(sink, kind, item):
    _write_quietly(write_logs if kind == "log" else write_spans, sink, [item])


def _write_quietly(write, sink, items):
    """In the thread of who made them: what cannot be encoded is not the program's to hear of."""
    try:
        write(sink, items)
    except ImportError:
        _count_lost(False)
        tell_missing("logs")  # the encoder of spans is there with the exporter that hands them on
    except Exception:
        _count_lost(False)


def tell_missing(what):
    """The encoder comes with each OTLP exporter; without a mailbox it must be one that the observer's receiver
    understands. Told by one process of a service's first generation."""
    settings = _environment.environment
    if settings.worker <= 0 and settings.generation <= 1:
        others = "" if _process.current().sink.state is _sink.ELSEWHERE else ", nor -grpc,"
        text = "no %s are exported: there is no opentelemetry-exporter-otlp-proto-http%s in %s"
        _process.tell(text % (what, others, sys.prefix))


def _count_lost(done):
    global lost_requests
    if not done:
        lost_requests += 1


def write_spans(sink, spans):
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    request = encode_spans(spans)
    if len(spans) > 1 and request.ByteSize() > _REQUEST_MAX // 2:
        half = len(spans) // 2
        first = write_spans(sink, spans[:half])
        return write_spans(sink, spans[half:]) and first
    return _write(sink, TRACES, request, "resource_spans")


def _patch_export(exporter, results, write=None):
    original = exporter.__dict__.get("export")
    if original is None or getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    def export(self, data, *args, **kwargs):
        sink = _process.current().sink
        if sink.state is _sink.ELSEWHERE:
            return original(self, data, *args, **kwargs)
        if write is None:
            if self.__dict__.get("_runmain_speaks"):
                hand_on(sink, data)
            return results.SUCCESS
        if sink.state is _sink.WAITING:
            sink.claim_by_the_way()
        if sink.state is _sink.ON:
            write(sink, data)
        return results.SUCCESS

    export._runmain = True
    exporter.export = export


def _write(sink, signal, request, field):
    for part in getattr(request, field):
        _replace_attributes(part.resource, sink.resource_attributes())
    done = request.ByteSize() <= _REQUEST_MAX and sink.request(signal, request.SerializeToString())
    _count_lost(done)
    return done


def _replace_attributes(resource, replaced):
    left = dict(replaced)
    for attribute in resource.attributes:
        value = left.pop(attribute.key, None)
        if value is not None:
            _set(attribute.value, value)
    for key, value in left.items():
        _set(resource.attributes.add(key=key).value, value)


def _set(any_value, value):
    if isinstance(value, str):
        any_value.string_value = value
    else:
        any_value.int_value = value


_sink.when_elsewhere.append(_make_held)
