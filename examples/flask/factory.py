"""An application factory that sets telemetry up, and may be called more than once (tests, scripts, reloaders do)."""
from flask import Flask
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def set_up_tracing():
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def create_app():
    set_up_tracing()
    app = Flask(__name__)
    FlaskInstrumentor().instrument_app(app)

    @app.route("/")
    def hello():
        return "hello\n"

    return app
