"""A program with the official Python SDK, for otlp_clients.py; where it sends to is in its environment.

usage: otlp_client.py spans N PROCESSORS | metrics | logs

Spans: all processors have one exporter. Prints "TRACE SPAN" of each span.
"""
import sys


def spans(count, processors):
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    provider = TracerProvider()
    exporter = OTLPSpanExporter()
    for _ in range(processors):
        provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("client", "1.0")
    for n in range(count):
        with tracer.start_as_current_span("span é " + str(n), attributes={"n": n, "list": ["a", "b"]}) as span:
            span.add_event("event", {"half": 0.5})
            context = span.get_span_context()
            print(f"{context.trace_id:032x} {context.span_id:016x}", flush=True)
    provider.force_flush()
    provider.shutdown()


def metrics():
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    provider = MeterProvider(metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter())])
    meter = provider.get_meter("client")
    meter.create_counter("requests").add(3, {"route": "/"})
    meter.create_histogram("seconds").record(0.25)
    provider.shutdown()


def logs():
    import logging
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    try:
        from opentelemetry.instrumentation.logging.handler import LoggingHandler
    except ImportError:
        from opentelemetry.sdk._logs import LoggingHandler
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    logging.getLogger("client").addHandler(LoggingHandler(logger_provider=provider))
    logging.getLogger("client").error("it went wrong: %s", "really")
    provider.shutdown()


what, *arguments = sys.argv[1:]
{"spans": spans, "metrics": metrics, "logs": logs}[what](*map(int, arguments))
