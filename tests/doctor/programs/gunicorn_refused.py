"""gunicorn's settings: the master's tracing is ended before it forks, and set up again in each worker."""
import os

from opentelemetry import trace

import tracing

bind = f"127.0.0.1:{os.environ['PORT']}"
workers = 2
preload_app = True


def when_ready(server):
    trace.get_tracer_provider().shutdown()


def post_fork(server, worker):
    tracing.set_up()
