"""gunicorn's settings: tracing is set up in each worker."""
import os

import tracing

bind = f"127.0.0.1:{os.environ['PORT']}"
workers = 2


def post_fork(server, worker):
    tracing.set_up()
