"""Starting the SDK for a program that does not do it: RUNMAIN_AUTO=1, opentelemetry-instrument, setup_tracing().

Invariants: once in a process and its forks, at the claim or when the program first needs a provider before it, and
never in a known launcher: what asks for tracers at an import (instrumentations do) holds the API's proxies until
then, which follow. A provider that the program has set is kept. Distro and configurator are
loaded by their entry points, as opentelemetry-instrument does; where these are OpenTelemetry's own and the exporter
is OTLP, the provider is made directly: no exporter, no HTTP client, no protobuf is imported for it. Non-goal:
instrumentations (_instrument).
"""
import os
import sys
from importlib import import_module

from . import _environment, _exporters, _process, _provider, _sink

_started = False
_wanted = False
_has_logs = False
_OTLP_NAMES = ("", "otlp", "otlp_proto_http", "otlp_proto_grpc")
_OWN = ("opentelemetry.distro", "opentelemetry.sdk")
distro = None
_when_started = []


def is_installed():
    from importlib.util import find_spec

    try:
        return find_spec("opentelemetry.sdk") is not None
    except (ImportError, ValueError):
        return False


def tell_missing():
    """In one process of a service's first generation."""
    settings = _environment.environment
    if settings.worker <= 0 and settings.generation <= 1:
        text = "runmain: there is no opentelemetry-sdk in %s (pip install opentelemetry-distro): nothing is traced\n"
        sys.stderr.write(text % sys.prefix)


def want():
    """At the claim, or at the first need before it."""
    global _wanted
    if not _wanted:
        _wanted = True
        _provider.when_needed.append(need)
        _process.when_granted.append(start)
        if _is_standard() and not _environment.environment.has_listeners:
            start_logs()  # a job may log without ever having a span
    if _process.current().state == _process.GRANTED:
        start()


def need():
    """The program asks for a provider, or for a span."""
    if _wanted and not _started and not _process.current().is_launcher:
        start()


def start():
    """Idempotent. False: there is no SDK."""
    global _started
    with _process.current().lock:
        if _started:
            return True
        try:
            import opentelemetry.sdk.trace  # noqa: F401
        except ImportError:
            return False
        if _started:  # by what was imported
            return True
        _started = True
        try:
            _start()
        except Exception as error:  # asked for by a span: not its program's to hear of
            sys.stderr.write("runmain: OpenTelemetry cannot be started: %r, ignoring\n" % (error,))
        for call in _when_started:
            call()
    return True


def after_start(call):
    if _started:
        call()
    else:
        _when_started.append(call)


def _start():
    configure_distro()
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    if _must_ask_configurator() and _ask_configurator():
        return
    if _setting("OTEL_TRACES_EXPORTER") != "none":
        _set_tracer_provider()
    if _setting("OTEL_METRICS_EXPORTER") in _OTLP_NAMES:
        _process.when_granted.append(_start_metrics)
        if _process.current().state == _process.GRANTED:
            _start_metrics()
    start_logs()


def _ask_configurator():
    """False: it cannot, and not because of the spans, which are ours then."""
    from opentelemetry import trace
    from opentelemetry.instrumentation.auto_instrumentation import _load

    of_program = trace._TRACER_PROVIDER
    try:
        _load._load_configurators()
    except Exception as error:
        if _is_other("TRACES"):
            raise
        _process.tell("OpenTelemetry's configurator", error)
        return False
    finally:
        if of_program is not None:
            trace.set_tracer_provider(of_program)
    return True


def _is_other(signal):
    """An exporter that is not ours to replace."""
    return _setting("OTEL_%s_EXPORTER" % signal) not in _OTLP_NAMES + ("none",)


def _setting(name):
    return os.environ.get(name, "").strip()


def configure_distro():
    """Idempotent. It needs no SDK, and what it sets counts for the instrumentations, too."""
    global distro
    if distro is not None:
        return
    try:
        from opentelemetry.instrumentation.auto_instrumentation import _load
    except ImportError:
        return
    distro = _load._load_distro()
    distro.configure()


def _is_standard():
    return (
        not any(_is_other(signal) for signal in ("TRACES", "METRICS", "LOGS"))
        and _setting("OTEL_PYTHON_ID_GENERATOR") in ("", "random")
        and _setting("OTEL_PYTHON_CONFIGURATOR") in ("", "configurator")
        and not any(_setting(name) for name in ("OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"))
    )


def _must_ask_configurator():
    if distro is None:
        return False
    if not _is_standard():
        return True
    from opentelemetry.util._importlib_metadata import entry_points

    found = list(entry_points(group="opentelemetry_configurator"))
    return any(not one.value.startswith(_OWN) for one in found)


def _resource():
    from opentelemetry.sdk.resources import Resource

    attributes = {}
    if distro is not None:
        from opentelemetry.instrumentation.version import __version__

        attributes["telemetry.auto.version"] = __version__
    gevent = sys.modules.get("gevent.monkey")
    if gevent is None or not gevent.is_module_patched("threading") or gevent.is_module_patched("queue"):
        return Resource.create(attributes)
    return _resource_without_threads(attributes)


def _resource_without_threads(attributes):
    """Where threads are greenlets and queues are not (Flask-SocketIO's debug mode), an idle thread of the pool that
    asks the detectors would stop the process."""
    from concurrent import futures
    from types import SimpleNamespace

    from opentelemetry.sdk import resources

    class Executor(futures.Executor):
        def __init__(self, *_, **__):
            pass

        def submit(self, call, *args, **kwargs):
            future = futures.Future()
            try:
                future.set_result(call(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)
            return future

    before = resources.concurrent
    names = {"ThreadPoolExecutor": Executor, "TimeoutError": futures.TimeoutError}
    resources.concurrent = SimpleNamespace(futures=SimpleNamespace(**names))
    try:
        return resources.Resource.create(attributes)
    finally:
        resources.concurrent = before


def _set_tracer_provider():
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    if trace._TRACER_PROVIDER is None:
        provider = TracerProvider(resource=_resource())
        trace.set_tracer_provider(provider)
        _export_without_mailbox(provider)


def _export_without_mailbox(provider):
    """Where a role comes without one, as the environment says."""
    added = []

    def add(waiting):
        if added:
            return
        processor = make_otlp_processor()
        if processor is None:
            return
        added.append(processor)
        provider.add_span_processor(processor)
        for kind, item in waiting:
            if kind == "span":
                processor.on_end(item)

    _sink.when_elsewhere.append(add)
    if _process.current().sink.state is _sink.ELSEWHERE:
        add(())


def make_otlp_processor():
    """With the exporter that is installed, that of the protocol first; None: there is none."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    protocol = _setting("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or _setting("OTEL_EXPORTER_OTLP_PROTOCOL")
    for name in ("grpc", "http") if protocol == "grpc" else ("http", "grpc"):
        try:
            module = import_module("opentelemetry.exporter.otlp.proto.%s.trace_exporter" % name)
        except ImportError:
            continue
        return BatchSpanProcessor(module.OTLPSpanExporter())
    return None


# ---- metrics: from the grant on, so that no launcher has a reader's thread


def _start_metrics():
    try:
        from opentelemetry.metrics import _internal as api
        from opentelemetry.metrics import set_meter_provider
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    except ImportError:
        return
    if getattr(api, "_METER_PROVIDER", None) is None:
        reader = PeriodicExportingMetricReader(_make_metric_exporter())
        set_meter_provider(MeterProvider(metric_readers=[reader], resource=_resource()))


def _make_metric_exporter():
    from opentelemetry.sdk.metrics import export

    class MetricExporter(export.MetricExporter):
        """Imports the encoder, and only without a mailbox the HTTP exporter, when there is something to export."""

        _other = None

        def export(self, metrics_data, timeout_millis=10000, **kwargs):
            sink = _process.current().sink
            try:
                if sink.state is _sink.ON:
                    _exporters.write_metrics(sink, metrics_data)
                elif sink.state is _sink.ELSEWHERE:
                    return self._http().export(metrics_data, timeout_millis, **kwargs)
            except ImportError:
                pass  # opentelemetry-exporter-otlp-proto-... is not installed: no metrics
            return export.MetricExportResult.SUCCESS

        def _http(self):
            if self._other is None:
                from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

                self._other = OTLPMetricExporter()
            return self._other

        def shutdown(self, timeout_millis=30000, **kwargs):
            pass

        def force_flush(self, timeout_millis=10000):
            return True

    return MetricExporter()


def start_logs():
    global _has_logs
    if _has_logs or _setting("OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED").lower() != "true":
        return
    if _setting("OTEL_LOGS_EXPORTER") not in _OTLP_NAMES:
        return
    _has_logs = True
    import logging

    try:
        from opentelemetry._logs import set_logger_provider
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    except ImportError:
        return
    provider = LoggerProvider(resource=_resource())
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    set_logger_provider(provider)
    logging.getLogger().addHandler(LoggingHandler(level=logging.NOTSET, logger_provider=provider))
