"""A provider where the app is imported, and one more in each worker: gunicorn --preload, and its settings."""
from flask import Flask
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

bind = "127.0.0.1:0"  # gunicorn reads this file as its settings, too


def set_up():
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def post_fork(server, worker):
    set_up()


def make_app():
    set_up()
    app = Flask(__name__)
    FlaskInstrumentor().instrument_app(app)
    app.boot = trace.get_tracer("boot").start_span("boot")

    @app.route("/x")
    def x():
        return "x"

    return app
