"""Imported by gunicorn's master with preload_app; telemetry is set up in gunicorn.conf.py, after each fork."""
from flask import Flask
from opentelemetry.instrumentation.flask import FlaskInstrumentor

app = Flask(__name__)
FlaskInstrumentor().instrument_app(app)


@app.route("/")
def hello():
    return "hello\n"
