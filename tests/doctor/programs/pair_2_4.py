"""Instruments its app and wraps it by hand, in the parent and in the child of the debug reloader."""
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware

from reloader_both_flask import app
from serving import serve

app.wsgi_app = OpenTelemetryMiddleware(app.wsgi_app)

if __name__ == "__main__":
    serve(app, debug=True)
