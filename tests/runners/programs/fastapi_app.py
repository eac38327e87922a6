import os

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from opentelemetry import trace

with trace.get_tracer("app").start_as_current_span("start-up"):
    pass
app = FastAPI()


@app.get("/", response_class=PlainTextResponse)
async def hello():
    return f"save 0 {os.getpid()}"
