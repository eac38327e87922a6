"""Adds the middleware by hand; opentelemetry-instrument instruments FastAPI as well."""
from fastapi import FastAPI
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

app = FastAPI()
app.add_middleware(OpenTelemetryMiddleware)


@app.get("/")
async def hello():
    return "hello"
