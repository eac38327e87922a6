"""Instruments the app and adds the middleware too, both in its own code."""
from fastapi import FastAPI
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

import tracing

tracing.set_up()
app = FastAPI()
app.add_middleware(OpenTelemetryMiddleware)
FastAPIInstrumentor.instrument_app(app)


@app.get("/")
async def hello():
    return "hello"
