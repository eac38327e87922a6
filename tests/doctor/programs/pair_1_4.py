"""Loaded by the script, by the child that the reloader spawns, and there once more by its name."""
import os

import uvicorn
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

import tracing

tracing.set_up()
app = FastAPI()
FastAPIInstrumentor.instrument_app(app)


@app.get("/")
async def hello():
    return "hello"


if __name__ == "__main__":
    uvicorn.run("pair_1_4:app", host="127.0.0.1", port=int(os.environ["PORT"]), reload=True)
