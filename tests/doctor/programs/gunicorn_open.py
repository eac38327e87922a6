"""gunicorn's settings: tracing is set up in each worker, and the start-up is over when a worker can serve."""
import os

import tracing

bind = f"127.0.0.1:{os.environ['PORT']}"
workers = 2
preload_app = True


def post_fork(server, worker):
    tracing.set_up()


def post_worker_init(worker):
    import preload_fork_open
    preload_fork_open.start_up.end()
