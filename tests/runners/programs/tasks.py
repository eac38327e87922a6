import os

from celery import Celery
from opentelemetry import trace

with trace.get_tracer("app").start_as_current_span("start-up"):
    pass
app = Celery("tasks", broker="filesystem://")
app.conf.update(
    broker_transport_options={"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control",
                              "polling_interval": 0.05},
    worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)


@app.task
def work(number):
    with open("answers", "a") as answers:
        answers.write(f"{number} save 0 {os.getpid()}\n")
