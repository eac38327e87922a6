"""Sets tracing up when it is loaded: with --preload that is in gunicorn's master."""
from flask import Flask
from opentelemetry.instrumentation.flask import FlaskInstrumentor

import tracing

tracing.set_up()
app = Flask(__name__)
FlaskInstrumentor().instrument_app(app)


@app.route("/")
def hello():
    return "hello"
