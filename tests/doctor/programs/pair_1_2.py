"""Under opentelemetry-instrument, with a provider and a middleware of its own."""
from fastapi import FastAPI
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

import tracing

tracing.set_up()
app = FastAPI()
app.add_middleware(OpenTelemetryMiddleware)


@app.get("/")
async def hello():
    return "hello"
