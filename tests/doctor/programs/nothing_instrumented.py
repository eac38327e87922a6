"""Has tracing, and instruments nothing."""
from fastapi import FastAPI

import tracing

tracing.set_up()
app = FastAPI()


@app.get("/")
async def hello():
    return "hello"
