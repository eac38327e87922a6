"""Instruments its app, and adds the middleware that newer Starlettes bring themselves."""
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware

import tracing

tracing.set_up()
app = FastAPI()
app.add_middleware(OpenTelemetryMiddleware)
FastAPIInstrumentor.instrument_app(app)


@app.get("/")
async def hello():
    return "hello"
