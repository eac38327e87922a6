"""OTLP exporters of the program, whatever endpoint is written in its code: what they would send is in the mailbox.

Invariants: a span or log processor whose exporter is an OTLP one has no thread and sends nothing, unless this process
serves without a mailbox: then it is made as the program asked for, and gets what had waited. Metrics and logs go into
the mailbox as one request each, and so do the spans that a program's own exporter or processor (which masks, filters)
hands to an OTLP exporter. Other exporters stay as they are. Non-goal: all other spans (_provider).
"""
import functools
import types
import weakref

from . import _mailbox, _process, _sink

_OTLP = "opentelemetry.exporter.otlp."
_REQUEST_MAX = _mailbox.RECORD_MAX - 64
TRACES, METRICS, LOGS = 0, 1, 2
_LOOKED_AT_MAX = 256  # objects around an exporter
_SDK_EXPORT = "opentelemetry.sdk.trace.export"

lost_requests = 0  # metrics, logs and handed spans that found no room: the mailbox has no counter for these


def is_otlp(exporter):
    """Whether it sends OTLP as it is: a subclass or an object with an export of its own does more than that."""
    export = getattr(type(exporter), "export", None)
    return getattr(export, "__module__", "").startswith(_OTLP) and "export" not in getattr(exporter, "__dict__", ())


def otlp_of(processor):
    """Whether its spans go to an OTLP exporter as they are, and else what is behind it of OTLP: exporters, and
    processors that we hold."""
    held = getattr(processor, "_runmain_held", None)
    if held is not None and getattr(type(processor).on_end, "__module__", "").startswith(_SDK_EXPORT):
        return True, []
    found = []
    _find_otlp(processor, found, set())
    return False, found


def _find_otlp(thing, found, seen):
    if id(thing) in seen or len(seen) >= _LOOKED_AT_MAX:
        return
    seen.add(id(thing))
    if isinstance(thing, (list, tuple)):
        inner = thing
    elif isinstance(thing, dict):
        inner = thing.values()
    elif isinstance(thing, functools.partial):
        inner = (thing.func, thing.args, thing.keywords)
    elif isinstance(thing, types.MethodType):
        inner = (thing.__self__,)
    elif isinstance(thing, types.FunctionType):
        inner = [cell.cell_contents for cell in thing.__closure__ or () if _is_full(cell)]
    elif isinstance(thing, (type, types.ModuleType)):
        return
    else:
        is_end = "_runmain_held" in getattr(thing, "__dict__", ())
        if is_end or any(one.__module__.startswith(_OTLP) for one in type(thing).__mro__):
            found.append(thing)
            return
        inner = list(getattr(thing, "__dict__", {}).values())
        for one in type(thing).__mro__:
            slots = one.__dict__.get("__slots__", ())
            inner += [getattr(thing, name, None) for name in ((slots,) if isinstance(slots, str) else slots)]
    for one in list(inner):
        _find_otlp(one, found, seen)


def _is_full(cell):
    try:
        cell.cell_contents
    except ValueError:
        return False
    return True


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
    def __init__(self, exporter, *args, **kwargs):
        if not is_otlp(exporter) or _process.current().sink.state is _sink.ELSEWHERE:
            make(self, exporter, *args, **kwargs)
            return
        self._batch_processor = types.SimpleNamespace(_exporter=exporter)  # where others look for the exporter
        for name in ("span_exporter", "_exporter"):
            try:
                setattr(self, name, exporter)
            except AttributeError:
                pass  # a property of newer ones
        self._runmain_held = _Held(self, functools.partial(make, self, exporter, *args, **kwargs))

    cls.__init__ = __init__
    answers = {"shutdown": None, "force_flush": True}
    for name in tuple(answers):
        if name in cls.__dict__:
            setattr(cls, name, _unless_held(cls.__dict__[name], answers[name]))
    for name in ends:
        if name in cls.__dict__:
            setattr(cls, name, _speak_or(cls.__dict__[name]))


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
    made = [held.make() for held in list(_Held.all)]
    for processor in made:
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
        sink = _process.current().sink
        if _first_time(log):
            log = _readable(log)
            if sink.state is _sink.WAITING:
                _count_lost(sink.wait_for_role("log", log))
            else:
                write_waited(sink, "log", log)
        return None

    return on_emit


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
    except Exception:
        _count_lost(False)


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
