"""OTLP exporters: what the program asked for, and what they are given sent to the doctor's receiver instead.

Invariants: the exporter is made as it would be; whoever overrides or wraps export() is called as before. After its
shutdown, and where the doctor has no receiver, export() is the exporter's own. All other exporters stay as they are.
"""
import os
import sys
import time
import zlib

from . import _records, _sending, _wraps

_asked = {}  # number of an exporter -> (endpoint, protocol, digest of the headers)
_PLACES = ("span_exporter", "_exporter", "exporter", "_span_exporter")
_INNER_MAX = 32  # objects looked at around an exporter
_GRPC_DEFAULT = "http://localhost:4317"


# ---- which exporter a processor has


def exporter_of(processor):
    """None: it has none, or hides it."""
    for holder in (getattr(processor, "_batch_processor", None), processor):
        for name in _PLACES:
            found = getattr(holder, name, None)
            if found is not None and hasattr(found, "export"):
                return found
    inner = _inner(processor, "on_end")  # one around another
    return exporter_of(inner) if inner is not None else None


def asked_of(exporter):
    """(endpoint, protocol, digest of the headers) of an OTLP exporter, or of that inside of it; None: there is none."""
    for _ in range(4):
        found = _asked.get(_records.number_of(exporter))
        if found is not None:
            return found
        exporter = _inner(exporter, "export")
        if exporter is None:
            return None
    return None


def _inner(thing, method):
    """What an exporter or a processor has in an attribute that can do the same."""
    for found in list(getattr(thing, "__dict__", {}).values())[:_INNER_MAX]:
        if found is not thing and not isinstance(found, type) and callable(getattr(type(found), method, None)):
            return found
    return None


# ---- spans


def on_http_spans(module):
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    cls = module.OTLPSpanExporter
    _wraps.method(cls, "__init__", _made_http)
    _wraps.method(cls, "export", _export(module.SpanExportResult, "/v1/traces", encode_spans, True))


def on_grpc_spans(module):
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    cls = module.OTLPSpanExporter
    _wraps.method(cls, "__init__", _made_grpc)
    _wraps.method(cls, "export", _export(module.SpanExportResult, "/v1/traces", encode_spans, True))


def _made_http(original):
    def __init__(self, *args, **kwargs):
        original(self, *args, **kwargs)
        _keep(self, getattr(self, "_endpoint", None), "http/protobuf")

    return __init__


def _made_grpc(original):
    def __init__(self, endpoint=None, *args, **kwargs):
        original(self, endpoint, *args, **kwargs)
        names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        asked = (endpoint, *[os.environ.get(one) for one in names], _GRPC_DEFAULT)
        _keep(self, next(one for one in asked if one), "grpc")

    return __init__


@_records.safely
def _keep(exporter, endpoint, protocol):
    _asked[_records.number_of(exporter)] = (endpoint, protocol, _digest(_headers_of(exporter)))


def _headers_of(exporter):
    """Newer exporters have them in their session, or in a client of theirs."""
    holders = [exporter] + [getattr(exporter, name, None) for name in ("_session", "_client", "_exporter")]
    for holder in holders:
        for name in ("_headers", "headers"):
            found = getattr(holder, name, None)
            if found:
                return found
    return None


def _digest(headers):
    """Tells headers apart without saying them: they hold secrets."""
    pairs = headers.items() if hasattr(headers, "items") else headers or ()
    return "%08x" % zlib.crc32(repr(sorted(str(one) for one in pairs)).encode())


def _export(results, path, encode, is_told):
    def make(original):
        def export(self, data, *args, **kwargs):
            began, ok = time.monotonic_ns(), None
            try:
                if _sending.is_off() or getattr(self, "_shutdown", False):
                    result = original(self, data, *args, **kwargs)
                else:
                    request = encode(data).SerializeToString()
                    result = results.SUCCESS if _sending.send(self, path, request) else results.FAILURE
                ok = result is results.SUCCESS
                return result
            finally:
                if is_told:
                    _say(self, data, bool(ok), began)

        return export

    return make


@_records.safely
def _say(exporter, spans, ok, began):
    ms = (time.monotonic_ns() - began) / 1e6
    _records.write("export", exporter=_records.number_of(exporter), spans=len(spans), ok=ok, ms=ms)


# ---- metrics and logs: sent to the receiver, not told of


def on_metrics(module):
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

    _wraps.method(module.OTLPMetricExporter, "export", _export(_results("metrics"), "/v1/metrics", encode_metrics, False))


def on_logs(module):
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

    _wraps.method(module.OTLPLogExporter, "export", _export(_results("_logs"), "/v1/logs", encode_logs, False))


def _results(signal):
    module = sys.modules["opentelemetry.sdk.%s.export" % signal]
    names = ("MetricExportResult", "LogRecordExportResult", "LogExportResult")
    return next(getattr(module, one) for one in names if hasattr(module, one))
