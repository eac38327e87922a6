"""Hands work to a forked process for each request, which ends as multiprocessing's do: by os._exit."""
import multiprocessing

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

import tracing

tracing.set_up()
app = FastAPI()
FastAPIInstrumentor.instrument_app(app)


def resize():
    with trace.get_tracer("shop").start_as_current_span("resize"):
        pass


@app.get("/")
def hello():
    work = multiprocessing.get_context("fork").Process(target=resize)
    work.start()
    work.join()
    return "hello"
