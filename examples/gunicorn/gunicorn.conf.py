"""Preload, and the SDK in post_fork: threads and connections that a master makes are of no use to its workers."""
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

bind = "127.0.0.1:8000"
workers = 2
preload_app = True


def post_fork(server, worker):
    provider = TracerProvider(resource=Resource.create({"worker": worker.pid}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
