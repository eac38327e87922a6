"""Metrics and logs that are started for the program, with exporters of ours: these import the encoder, and only without
a mailbox the HTTP exporter, when there is something to export. Any OTLP exporter package brings the encoder.

Invariant: metrics begin with the role, so that no launcher has a reader's thread. Non-goals: whether they are wanted
(_sdk), the bytes (_exporters).
"""
from . import _exporters, _process, _provider, _sdk, _sink
from ._environment import setting

_DELTA = {"DELTA": ("Counter", "Histogram", "ObservableCounter"), "LOWMEMORY": ("Counter", "Histogram")}
_has_logs = False


# ---- metrics


def start_metrics():
    try:
        from opentelemetry.metrics import _internal as api
        from opentelemetry.metrics import set_meter_provider
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    except ImportError:
        return
    if getattr(api, "_METER_PROVIDER", None) is None:
        reader = PeriodicExportingMetricReader(_make_metric_exporter())
        with _provider.made_for_program():
            set_meter_provider(MeterProvider(metric_readers=[reader], resource=_sdk.resource()))


def _preferences():
    """What OTLP's metric exporters read in the environment, as the arguments of an exporter."""
    import opentelemetry.sdk.metrics as sdk
    from opentelemetry.sdk.metrics.export import AggregationTemporality

    found = {}
    names = _DELTA.get(setting("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE").upper())
    if names is not None:
        found["preferred_temporality"] = {getattr(sdk, name): AggregationTemporality.DELTA for name in names}
    histogram = setting("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION").lower()
    if histogram == "base2_exponential_bucket_histogram":
        from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

        found["preferred_aggregation"] = {sdk.Histogram: ExponentialBucketHistogramAggregation()}
    return found


def _make_metric_exporter():
    from opentelemetry.sdk.metrics import export

    class MetricExporter(export.MetricExporter):
        _other = None

        def export(self, metrics_data, timeout_millis=10000, **kwargs):
            sink = _process.current().sink
            try:
                if sink.state is _sink.ON:
                    _exporters.write_metrics(sink, metrics_data)
                elif sink.state is _sink.ELSEWHERE:
                    return self._http().export(metrics_data, timeout_millis, **kwargs)
            except ImportError:
                _exporters.tell_missing("metrics")
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

    return MetricExporter(**_preferences())


# ---- logs


def has_handler():
    """Of SDKs and settings before opentelemetry-instrumentation-logging had one."""
    return setting("OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED").lower() == "true"


def start_logs():
    """Idempotent. The provider in any case, as with opentelemetry-instrument: an instrumentation has its own handler."""
    global _has_logs
    if _has_logs:
        return
    _has_logs = True
    try:
        from opentelemetry._logs import set_logger_provider
        from opentelemetry.sdk._logs import LoggerProvider

        provider = LoggerProvider(resource=_sdk.resource())
        provider.add_log_record_processor(_make_log_processor())
    except ImportError:
        return
    with _provider.made_for_program():
        set_logger_provider(provider)
    if has_handler():
        import logging

        from opentelemetry.sdk._logs import LoggingHandler

        logging.getLogger().addHandler(LoggingHandler(level=logging.NOTSET, logger_provider=provider))


def _make_log_processor():
    from opentelemetry.sdk._logs import LogRecordProcessor

    class LogProcessor(LogRecordProcessor):
        _other = None

        def on_emit(self, log):
            sink = _process.current().sink
            try:
                if sink.state is _sink.ELSEWHERE:
                    self._http()(log)
                else:
                    _exporters.take_log(sink, log)
            except ImportError:
                _exporters.tell_missing("logs")
            except Exception as error:  # not the logging program's
                _process.tell("a log record could not be written and is lost", error)

        emit = on_emit  # of SDKs before 1.35

        def _http(self):
            if self._other is None:
                from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
                from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

                self._other = BatchLogRecordProcessor(OTLPLogExporter())
            return getattr(self._other, "on_emit", None) or self._other.emit

        def shutdown(self):
            if self._other is not None:
                self._other.shutdown()

        def force_flush(self, timeout_millis=30000):
            return self._other is None or self._other.force_flush(timeout_millis)

    return LogProcessor()
