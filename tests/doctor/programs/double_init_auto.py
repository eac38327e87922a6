"""Sets tracing up by itself, and is run under opentelemetry-instrument, which had done so."""
from fastapi import FastAPI

import tracing

tracing.set_up()
app = FastAPI()


@app.get("/")
async def hello():
    return "hello"
