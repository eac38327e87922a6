"""A span of the start-up is open while gunicorn's master, which has loaded this, forks its workers."""
from flask import Flask
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor

import tracing

tracing.set_up()
start_up = trace.get_tracer("shop").start_span("start-up")
app = Flask(__name__)
FlaskInstrumentor().instrument_app(app)


@app.route("/")
def hello():
    return "hello"
