"""Instruments the app in its lifespan; by then its middleware is built."""
from contextlib import asynccontextmanager

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

import tracing


@asynccontextmanager
async def lifespan(app):
    tracing.set_up()
    FastAPIInstrumentor.instrument_app(app)
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def hello():
    return "hello"
