"""A Flask program run as a script, which ends in order when it is told to."""
import os
import signal
import sys


def serve(app, **options):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app.run("127.0.0.1", int(os.environ["PORT"]), **options)
