"""Nothing about telemetry in here."""
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def hello():
    return {"hello": "world"}


@app.get("/health")
async def health():
    return {"well": True}
