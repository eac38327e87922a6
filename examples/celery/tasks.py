"""A worker whose children live for one task each, over a queue in the file system (nothing to install)."""
import os

from celery import Celery
from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

for folder in ("queue", "control"):
    os.makedirs(folder, exist_ok=True)
app = Celery("tasks", broker="filesystem://")
app.conf.update(
    broker_transport_options={"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"},
    worker_max_tasks_per_child=1,
    broker_connection_retry_on_startup=True,
)


@worker_process_init.connect(weak=False)
def set_up_tracing(**_):
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()


@app.task
def add(a, b):
    return a + b


if __name__ == "__main__":
    for number in range(10):
        add.delay(number, 1)
