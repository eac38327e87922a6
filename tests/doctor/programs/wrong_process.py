"""Sets tracing up in the script that starts the workers; they load the app only."""
import os

import uvicorn
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

import tracing

app = FastAPI()


@app.get("/")
async def hello():
    return "hello"


if __name__ == "__main__":
    tracing.set_up()
    FastAPIInstrumentor.instrument_app(app)
    uvicorn.run("wrong_process:app", host="127.0.0.1", port=int(os.environ["PORT"]), workers=2)
