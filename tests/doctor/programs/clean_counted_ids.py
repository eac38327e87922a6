"""Numbers the spans of each request from 1: a span id need be unique in its trace only."""
import random
import threading

from flask import Flask
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator

from serving import serve


class Counted(IdGenerator):
    """A request has a thread of its own, and a trace of its own."""
    def __init__(self):
        self.here = threading.local()

    def generate_trace_id(self):
        return random.getrandbits(128) or 1

    def generate_span_id(self):
        self.here.last = getattr(self.here, "last", 0) + 1
        return self.here.last


provider = TracerProvider(id_generator=Counted())
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
app = Flask(__name__)
FlaskInstrumentor().instrument_app(app)


@app.route("/")
def hello():
    return "hello"


if __name__ == "__main__":
    serve(app)
