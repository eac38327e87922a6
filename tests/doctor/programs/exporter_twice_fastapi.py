"""Adds the exporter that opentelemetry-instrument had added: the same collector, twice."""
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
app = FastAPI()


@app.get("/")
async def hello():
    return "hello"
