"""Spans that last longer than requests, of work in the background, and that run beside each other: all end."""
import asyncio
from contextlib import asynccontextmanager

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

import tracing

tracing.set_up()
tracer = trace.get_tracer("shop")


async def stock_taking():
    while True:
        with tracer.start_as_current_span("stock-taking"):
            with tracer.start_as_current_span("shelves"):
                await asyncio.sleep(1)


@asynccontextmanager
async def lifespan(app):
    task = asyncio.create_task(stock_taking())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


app = FastAPI(lifespan=lifespan)
FastAPIInstrumentor.instrument_app(app)


async def looked_up(what):
    span = tracer.start_span("look up " + what)     # nothing is begun within it
    await asyncio.sleep(0.01)
    span.end()


@app.get("/")
async def hello():
    await asyncio.gather(looked_up("price"), looked_up("stock"))
    return "hello"
