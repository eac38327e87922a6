"""Ends its tracing at SIGTERM, and nothing else."""
import os
import signal

from flask import Flask
from opentelemetry.instrumentation.flask import FlaskInstrumentor

import tracing

provider = tracing.set_up()
app = Flask(__name__)
FlaskInstrumentor().instrument_app(app)


@app.route("/")
def hello():
    return "hello"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: provider.shutdown())
    app.run("127.0.0.1", int(os.environ["PORT"]))
