"""Under opentelemetry-instrument, with a middleware and an exporter of its own beside those that are there."""
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace.export import BatchSpanProcessor

trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
app = FastAPI()
app.add_middleware(OpenTelemetryMiddleware)


@app.get("/")
async def hello():
    return "hello"
