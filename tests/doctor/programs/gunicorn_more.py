"""gunicorn's settings: each worker adds an exporter to the provider that it has from the master, where there is one."""
import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

bind = f"127.0.0.1:{os.environ['PORT']}"
workers = 2
preload_app = True


def post_fork(server, worker):
    trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
