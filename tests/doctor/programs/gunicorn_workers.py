"""gunicorn's settings: tracing is set up in each worker."""
import os

bind = f"127.0.0.1:{os.environ['PORT']}"
workers = 2


def post_fork(server, worker):
    import tracing
    tracing.set_up()
