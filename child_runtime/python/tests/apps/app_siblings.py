"""Two processes, spawned, that listen on the same port each: SO_REUSEPORT. The one that starts them only waits."""
import http.server
import multiprocessing
import os
import socket

from opentelemetry import trace

tracer = trace.get_tracer("app")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with tracer.start_as_current_span("GET", kind=trace.SpanKind.SERVER, attributes={"url.path": self.path}):
            body = str(os.getpid()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()


def serve():
    Server(("127.0.0.1", int(os.environ["TEST_PORT"])), Handler).serve_forever()


if __name__ == "__main__":
    for _ in range(2):
        multiprocessing.get_context("spawn").Process(target=serve).start()
