"""Nothing about telemetry in here: for uvicorn --reload, uvicorn --workers and fastapi dev, with zero-code telemetry."""
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def hello():
    return {"hello": "world"}
