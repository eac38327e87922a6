"""What the server serves: any WSGI callable."""
import os


def app(environ, start_response):
    known = environ["PATH_INFO"] in ("/", "/health")
    start_response("200 OK" if known else "404 Not Found", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} is worker {os.environ.get('RUNMAIN_WORKER', '-')}\n".encode()] if known else [b""]
