"""Sets tracing up when it is loaded: with --preload that is in gunicorn's master."""
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

import tracing

tracing.set_up()
app = FastAPI()
FastAPIInstrumentor.instrument_app(app)


@app.get("/")
async def hello():
    return "hello"
