"""Instrumented in its lifespan: after the middleware stack was built."""
import contextlib
import os

from fastapi import FastAPI
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

DEAD = "http://127.0.0.1:9/v1/"
counter = None
logger = None


@contextlib.asynccontextmanager
async def lifespan(app):
    global counter, logger
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=DEAD + "traces")))
    trace.set_tracer_provider(provider)
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=DEAD + "metrics"), export_interval_millis=300)
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    counter = metrics.get_meter("m").create_counter("answers")
    logs = LoggerProvider()
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=DEAD + "logs")))
    logger = logs.get_logger("l")
    FastAPIInstrumentor.instrument_app(app)
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/{path:path}")
async def answer(path: str):
    counter.add(1)
    try:
        logger.emit(body="answered /" + path)
    except TypeError:  # SDKs before 1.37
        from opentelemetry._logs import SeverityNumber
        from opentelemetry.sdk._logs import LogRecord

        ids = {"trace_id": 0, "span_id": 0, "trace_flags": 0}
        info = SeverityNumber.INFO
        logger.emit(LogRecord(body="answered /" + path, severity_number=info, resource=logger.resource, **ids))
    return os.getpid()
