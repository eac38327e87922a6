"""Its own provider at module level, two exporters with endpoints in the code, a logger, instrumented by hand."""
import logging
import os

from flask import Flask
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

provider = TracerProvider(resource=Resource.create({"service.name": "web", "own": "yes"}))
exporter = OTLPSpanExporter(endpoint="http://127.0.0.1:9/v1/traces")
provider.add_span_processor(BatchSpanProcessor(exporter))
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
with trace.get_tracer("boot").start_as_current_span("boot"):
    pass

app = Flask(__name__)
FlaskInstrumentor().instrument_app(app)


@app.route("/<path:path>")
def answer(path):
    with trace.get_tracer("inner").start_as_current_span("inner"):
        return str(os.getpid())
