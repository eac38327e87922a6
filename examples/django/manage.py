"""runserver, with the SDK set up in manage.py: the reloader's parent runs this file, too."""
import os
import sys

from django.core.management import execute_from_command_line
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument()
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
