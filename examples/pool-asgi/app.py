"""What the server serves: any ASGI callable."""
import os


async def app(scope, receive, send):
    assert scope["type"] == "http"  # no lifespan: the server then goes on without
    known = scope["path"] in ("/", "/health")
    body = f"{os.getpid()} is worker {os.environ.get('RUNMAIN_WORKER', '-')}\n".encode() if known else b""
    await send({"type": "http.response.start", "status": 200 if known else 404,
                "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
