"""Starts its server itself, and wants to be reloaded."""
import os

import uvicorn

if __name__ == "__main__":
    uvicorn.run("app_fastapi:app", port=int(os.environ["TEST_PORT"]), reload=True)
