"""Its audit has a provider of its own, with another resource and another destination."""
import os

from fastapi import FastAPI
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import tracing

tracing.set_up()
audit = TracerProvider(resource=Resource.create({"service.name": "shop-audit"}))
audit.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=os.environ["AUDIT_ENDPOINT"] + "/v1/traces")))
auditor = audit.get_tracer("audit")
app = FastAPI()
FastAPIInstrumentor.instrument_app(app)


@app.get("/")
async def hello():
    with auditor.start_as_current_span("asked"):
        return "hello"
