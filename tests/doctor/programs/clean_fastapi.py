"""Instrumented where it is made; its lifespan ends the tracing in order."""
from contextlib import asynccontextmanager

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

import tracing

provider = tracing.set_up()


@asynccontextmanager
async def lifespan(app):
    yield
    provider.shutdown()


app = FastAPI(lifespan=lifespan)
FastAPIInstrumentor.instrument_app(app)


@app.get("/")
async def hello():
    return "hello"
