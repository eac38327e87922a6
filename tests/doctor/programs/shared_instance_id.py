"""Loaded by each worker; all have the instance id that the environment gives them."""
from flask import Flask
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor

with trace.get_tracer("shop").start_as_current_span("load the catalogue"):
    app = Flask(__name__)
    FlaskInstrumentor().instrument_app(app)


@app.route("/")
def hello():
    return "hello"
