"""Wraps its WSGI callable by hand; opentelemetry-instrument instruments Flask as well."""
from flask import Flask
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware

app = Flask(__name__)
app.wsgi_app = OpenTelemetryMiddleware(app.wsgi_app)


@app.route("/")
def hello():
    return "hello"
