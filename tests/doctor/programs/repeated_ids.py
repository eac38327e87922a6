"""Seeds the random numbers, "so that results can be repeated": the ids of spans are made of them."""
import random

from flask import Flask
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor

random.seed(20)
app = Flask(__name__)
FlaskInstrumentor().instrument_app(app)
with trace.get_tracer("shop").start_as_current_span("load the catalogue"):
    pass


@app.route("/")
def hello():
    return "hello"
