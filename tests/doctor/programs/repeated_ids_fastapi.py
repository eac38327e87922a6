"""Seeds the random numbers in each worker; the ids of spans are made of them."""
import random

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

import tracing

random.seed(20)
tracing.set_up()
app = FastAPI()
FastAPIInstrumentor.instrument_app(app)
with trace.get_tracer("shop").start_as_current_span("load the catalogue"):
    pass


@app.get("/")
async def hello():
    return "hello"
