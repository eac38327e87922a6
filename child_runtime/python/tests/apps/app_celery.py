import os

from celery import Celery

app = Celery("tasks", broker="memory://", backend="cache+memory://")
