#!/usr/bin/env python3
"""An ASGI server for a socket that it is given, which loses no request when it is replaced. Standard library only.

    server.py [--fd N] MODULE:CALLABLE

asyncio, HTTP/1.1 and lifespan, no WebSockets. The listener is accepted on by the loop itself: asyncio.start_server
would listen(2) again on a socket that all workers share, with a shorter backlog. The drain (docs/contract.md): at
SIGTERM it accepts no more; requests in flight are answered; a connection that was accepted and has not spoken has
FRESH_S for its first request; idle ones are looked at for IDLE_S more and once again before they are closed; every
answer says "Connection: close". Bounded: connections, head and body.
"""
import argparse, asyncio, fcntl, importlib, os, signal, socket, struct, sys, termios, traceback
from urllib.parse import unquote

HEAD_MAX, BODY_MAX = 64 << 10, 16 << 20
CONNECTIONS_MAX = 5000
KEEP_S = 60.0   # between two requests
FRESH_S = 1.0   # in the drain: for the first request of a connection that was accepted before it
IDLE_S = 0.5    # in the drain: for one more request, which is then told to be the last
LINGER_S = 0.2  # for the client to see our end, so that no unread byte turns our close into a reset
REASONS = {200: "OK", 204: "No Content", 304: "Not Modified", 400: "Bad Request", 404: "Not Found",
           413: "Content Too Large", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
           501: "Not Implemented"}


def notify(text):
    name = os.environ.get("NOTIFY_SOCKET")
    if name:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(text.encode(), "\0" + name[1:] if name[0] == "@" else name)


class Connection(asyncio.Protocol):
    def __init__(self, server):
        self.server, self.loop = server, asyncio.get_running_loop()
        self.buffer, self.request = b"", None
        self.fresh, self.ended, self.closing = True, False, False
        self.task = self.timer = None
        self.writable, self.gone = asyncio.Event(), asyncio.Event()
        self.writable.set()

    # ---- what asyncio tells

    def connection_made(self, transport):
        self.transport = transport
        self.server.connections.add(self)
        self.expect()

    def connection_lost(self, error):
        self.server.connections.discard(self)
        self.gone.set()
        self.writable.set()
        if self.timer:
            self.timer.cancel()
        self.server.look()

    def data_received(self, data):
        if self.closing:
            return
        self.buffer += data
        if len(self.buffer) > HEAD_MAX + BODY_MAX:
            self.transport.pause_reading()
        self.next_request()

    def eof_received(self):
        self.ended = True
        if not self.task:
            return False  # asyncio closes
        self.gone.set()
        return True

    def pause_writing(self):
        self.writable.clear()

    def resume_writing(self):
        self.writable.set()

    # ---- waiting for a request

    def expect(self):
        """From now on a request is waited for, so long as the server allows."""
        if self.timer:
            self.timer.cancel()
        limit = (FRESH_S if self.fresh else IDLE_S) if self.server.draining else KEEP_S
        self.timer = self.loop.call_later(LINGER_S if self.closing else limit, self.expired)

    def expired(self):
        if self.task:
            return
        if self.closing:
            self.transport.close()
            return
        sock = self.transport.get_extra_info("socket")
        if struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, b"\0" * 4))[0]:  # the last look
            self.expect()
            return
        # At once: asyncio's own close comes a turn of the loop later, and a request may come before it.
        sock.shutdown(socket.SHUT_WR)
        self.closing = True
        self.expect()

    def next_request(self):
        if self.task or self.closing:
            return
        end = self.buffer.find(b"\r\n\r\n")
        if max(end, len(self.buffer) if end < 0 else 0) > HEAD_MAX:
            self.refuse(431)
        if end < 0 or self.closing:
            return
        try:
            first, *lines = self.buffer[:end].lstrip(b"\r\n").split(b"\r\n")
            method, target, version = first.decode("latin-1").split(" ")
            fields = [(n.lower(), v.strip()) for n, v in (line.split(b":", 1) for line in lines)]
            size = int(dict(fields).get(b"content-length", b"0"))
        except ValueError:
            self.refuse(400)
            return
        if b"transfer-encoding" in dict(fields) or size > BODY_MAX or size < 0:
            self.refuse(501 if size <= BODY_MAX else 413)
            return
        if len(self.buffer) < end + 4 + size:
            if dict(fields).get(b"expect", b"").lower() == b"100-continue" and len(self.buffer) == end + 4:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        body, self.buffer = self.buffer[end + 4:end + 4 + size], self.buffer[end + 4 + size:]
        self.fresh = False
        self.timer.cancel()
        self.transport.resume_reading()
        self.task = self.loop.create_task(self.answer(method, target, version, fields, body))

    def refuse(self, status):
        self.fresh = False
        self.transport.write(f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Length: 0\r\n"
                             "Connection: close\r\n\r\n".encode())
        self.end()

    def end(self):
        """Our side is shut, the client's is waited for."""
        self.closing = True
        if self.ended:
            self.transport.close()
            return
        self.transport.write_eof()
        self.expect()

    # ---- answering

    async def answer(self, method, target, version, fields, body):
        words = dict(fields).get(b"connection", b"").lower()
        wanted = b"close" not in words if version == "HTTP/1.1" else b"keep-alive" in words
        answer = Answer(self, method, version == "HTTP/1.1", wanted)
        path, _, query = target.partition("?")
        peer, own = self.transport.get_extra_info("peername"), self.transport.get_extra_info("sockname")
        scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": version[5:],
                 "method": method, "scheme": "http", "path": unquote(path), "raw_path": path.encode("latin-1"),
                 "query_string": query.encode("latin-1"), "root_path": "", "headers": fields,
                 "client": peer[:2] if isinstance(peer, tuple) else None,
                 "server": own[:2] if isinstance(own, tuple) else None, "state": self.server.state.copy()}
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            await self.gone.wait()
            return {"type": "http.disconnect"}

        try:
            await self.server.app(scope, receive, answer.send)
        except Exception:
            traceback.print_exc()
        if not answer.done:
            await answer.fail()
        self.task = None
        if self.transport.is_closing():
            return
        if not answer.keep or self.ended:
            self.end()
            return
        self.expect()
        self.next_request()


class Answer:
    def __init__(self, connection, method, chunks_known, wanted):
        self.connection, self.method = connection, method
        self.chunks_known, self.wanted = chunks_known, wanted
        self.head = None      # until the first bytes of the body say whether they are all
        self.keep = self.chunked = self.done = self.begun = self.bare = False

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.head = (message["status"], [(bytes(n).lower(), bytes(v)) for n, v in message.get("headers", [])])
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        out = b"" if self.begun else self.first(len(body), more)
        if body and not self.bare:
            out += b"%x\r\n%b\r\n" % (len(body), body) if self.chunked else body
        if not more:
            out += b"0\r\n\r\n" if self.chunked else b""
            self.done = True
        if out and not self.connection.transport.is_closing():
            self.connection.transport.write(out)
            await self.connection.writable.wait()

    def first(self, size, more):
        status, headers = self.head
        names = dict(headers)
        self.begun = True
        self.bare = self.method == "HEAD" or status in (204, 304)
        self.chunked = more and b"content-length" not in names and self.chunks_known and not self.bare
        # A body whose end only the connection's end can tell ends it.
        told = b"content-length" in names or self.chunked or not more or self.bare
        self.keep = self.wanted and told and not self.connection.server.draining
        lines = [b"HTTP/1.1 %d %b" % (status, REASONS.get(status, "Status").encode())]
        lines += [n + b": " + v for n, v in headers if n not in (b"connection", b"transfer-encoding")]
        if self.chunked:
            lines.append(b"transfer-encoding: chunked")
        elif not more and b"content-length" not in names and status not in (204, 304):
            lines.append(b"content-length: %d" % size)
        lines.append(b"connection: " + (b"keep-alive" if self.keep else b"close"))
        return b"\r\n".join(lines) + b"\r\n\r\n"

    async def fail(self):
        """The application ended without a whole answer."""
        self.keep = False
        if self.begun:
            self.connection.transport.abort()  # the client must not take half of it for all
            return
        self.wanted = False
        await self.send({"type": "http.response.start", "status": 500})
        await self.send({"type": "http.response.body", "body": b"error\n"})


class Lifespan:
    """The application's start and end, if it knows of them."""

    def __init__(self, app, state):
        self.app, self.state, self.known = app, state, True
        self.to_app, self.from_app = asyncio.Queue(), asyncio.Queue()

    async def _run(self):
        try:
            await self.app({"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"},
                            "state": self.state}, self.to_app.get, self.from_app.put)
        except Exception:
            self.known = False  # as the specification says: it goes on without
        await self.from_app.put({"type": "ended"})

    async def tell(self, what):
        if what == "startup":
            self.task = asyncio.create_task(self._run())
        if self.known and not self.task.done():
            await self.to_app.put({"type": "lifespan." + what})
            answer = await self.from_app.get()
            if answer["type"] == f"lifespan.{what}.failed":
                sys.exit(f"lifespan {what} failed: {answer.get('message', '')}")


class Server:
    def __init__(self, listener, app):
        self.listener, self.app, self.connections, self.state = listener, app, set(), {}
        self.making = 0  # accepted, but not a connection yet
        self.draining, self.accepting = False, False

    async def run(self):
        self.loop, self.drained = asyncio.get_running_loop(), asyncio.Event()
        self.listener.setblocking(False)  # shared by all workers, and each of them wants it
        lifespan = Lifespan(self.app, self.state)
        await lifespan.tell("startup")
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.begin_drain)
        self.look()
        notify("READY=1")
        await self.drained.wait()
        await lifespan.tell("shutdown")

    def look(self):
        """Accepts while there is room; the drain is over when nobody is left."""
        wanted = not self.draining and len(self.connections) < CONNECTIONS_MAX
        if wanted and not self.accepting:
            self.loop.add_reader(self.listener, self.accept)
        elif self.accepting and not wanted:
            self.loop.remove_reader(self.listener)
        self.accepting = wanted
        if self.draining and not self.connections and not self.making:
            self.drained.set()

    def accept(self):
        try:
            sock, _ = self.listener.accept()
        except OSError:  # another worker was faster, or the client has gone
            return
        self.making += 1
        task = self.loop.create_task(self.loop.connect_accepted_socket(lambda: Connection(self), sock))
        task.add_done_callback(self.made)

    def made(self, task):
        self.making -= 1
        task.exception()  # a client that has gone already is none of our faults
        self.look()

    def begin_drain(self):
        if not self.draining:
            self.draining = True
            notify("STOPPING=1")
            for c in list(self.connections):
                if not c.task and not c.closing:
                    c.expect()
            self.look()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fd", type=int, default=3)
    parser.add_argument("app", metavar="MODULE:CALLABLE")
    options = parser.parse_args()
    sys.path.insert(0, os.getcwd())
    module, _, name = options.app.partition(":")
    app = getattr(importlib.import_module(module), name or "app")
    asyncio.run(Server(socket.socket(fileno=options.fd), app).run())


main()
