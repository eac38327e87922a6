"""Sends a task for each line `NUMBER TRACEPARENT` of its stdin."""
import sys

from celery import Celery

app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
for line in sys.stdin:
    number, traceparent = line.split()
    app.send_task("tasks.work", [int(number)], headers={"traceparent": traceparent})
