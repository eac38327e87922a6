"""Returns before it has ended what it began."""
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

import tracing

tracing.set_up()
tracer = trace.get_tracer("shop")
app = FastAPI()
FastAPIInstrumentor.instrument_app(app)


@app.get("/")
async def hello(name: str = ""):
    span = tracer.start_span("greet")
    if not name:
        return "hello"
    span.end()
    return "hello " + name
