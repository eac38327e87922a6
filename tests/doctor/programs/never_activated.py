"""Starts a span and makes it nobody's parent: what it calls is traced beside it."""
from flask import Flask
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor

import tracing
from serving import serve

tracing.set_up()
tracer = trace.get_tracer("shop")
app = Flask(__name__)
FlaskInstrumentor().instrument_app(app)


def charge():
    with tracer.start_as_current_span("charge"):
        pass


@app.route("/")
def checkout():
    span = tracer.start_span("checkout")
    charge()
    span.end()
    return "hello"


if __name__ == "__main__":
    serve(app)
