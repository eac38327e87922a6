"""The SDK is set up in the reloader's child only: WERKZEUG_RUN_MAIN says which process that is."""
import os

from flask import Flask
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

app = Flask(__name__)

if os.environ.get("WERKZEUG_RUN_MAIN") == "true":
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    FlaskInstrumentor().instrument_app(app)


@app.route("/")
def hello():
    return "hello\n"


if __name__ == "__main__":
    app.run(debug=True)
