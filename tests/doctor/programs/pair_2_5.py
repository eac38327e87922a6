"""Instruments its app and wraps it by hand, in gunicorn's master; the settings set tracing up in each worker again."""
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware

from preload_fork import app

app.wsgi_app = OpenTelemetryMiddleware(app.wsgi_app)
