"""A collector for OTLP/HTTP protobuf that keeps every span with its resource and scope.

Invariant: what was answered with 200 is in `spans`, in the order of arrival. No goal: metrics, logs, JSON.
"""
import gzip
import http.server
import threading
from collections import namedtuple

MAX_BODY = 64 << 20
SERVER, CONSUMER = 2, 5     # Span.SpanKind

Span = namedtuple("Span", "trace id parent name kind scope resource attributes start end")


def fields(data):
    """(number, value) of a message: an int, or the bytes of a length-delimited field."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}.get(kind)
        if size is None:
            if kind != 2:
                raise ValueError(f"wire type {kind}")
            size = varint()
        if at + size > len(data):
            raise ValueError("truncated")
        part = data[at:at + size]
        at += size
        yield key >> 3, part if kind == 2 else int.from_bytes(part, "little")


def any_value(data):
    for number, value in fields(data):
        if number == 1:
            return value.decode("utf-8", "replace")
        if number in (2, 3):
            return value
    return None     # doubles, arrays and maps are not asked for


def key_value(data):
    parts = dict(fields(data))
    return parts.get(1, b"").decode(), any_value(parts.get(2, b""))


def span_of(data, scope, resource):
    attributes, one = {}, {}
    for number, value in fields(data):
        if number == 9:
            name, content = key_value(value)
            attributes[name] = content
        else:
            one[number] = value
    return Span(one.get(1, b"").hex(), one.get(2, b"").hex(), one.get(4, b"").hex(), one.get(5, b"").decode(),
                one.get(6, 0), scope, resource, attributes, one.get(7, 0), one.get(8, 0))


def spans_of(request):
    """The spans of an ExportTraceServiceRequest."""
    for number, resource_spans in fields(request):
        if number != 1:
            continue
        parts = list(fields(resource_spans))
        resource = dict(key_value(value) for number, data in parts if number == 1
                        for field, value in fields(data) if field == 1)
        for number, scope_spans in parts:
            if number != 2:
                continue
            inside = list(fields(scope_spans))
            scope = "".join(value.decode() for number, data in inside if number == 1
                            for field, value in fields(data) if field == 1)
            for number, data in inside:
                if number == 2:
                    yield span_of(data, scope, resource)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(min(int(self.headers.get("Content-Length", 0)), MAX_BODY))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(min(size, MAX_BODY)))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_POST(self):
        body = self.body()
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        try:
            found = list(spans_of(body)) if self.path.endswith("/v1/traces") else []
            self.server.sink.take(found)
            status = 200
        except (ValueError, IndexError, UnicodeDecodeError):
            status = 400
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass        # a client that was killed in the middle of a request


class Sink:
    """Listens on a port of loopback, a free one for 0, until close()."""

    def __init__(self, port=0):
        self.spans = []
        self.news = threading.Condition()
        self.server = Server(("127.0.0.1", port), Handler)
        self.server.sink = self
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def take(self, found):
        with self.news:
            self.spans += found
            self.news.notify_all()

    def of_programs(self):
        """The spans that do not tell of runmain itself."""
        with self.news:
            return [span for span in self.spans if span.resource.get("service.name") != "runmain"]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
