#!/usr/bin/env python3
"""A WSGI server for a socket that it is given, which loses no request when it is replaced. Standard library only.

    server.py [--fd N] [--threads N] [--watchdog SECONDS] MODULE:CALLABLE

One thread waits on the listener and on all connections that nobody is answering; requests are answered by a pool of
threads. The drain (docs/contract.md): at SIGTERM it accepts no more; requests in flight are answered; a connection
that was accepted and has not spoken has FRESH_S for its first request, half a request LATE_S for its rest; idle ones
are looked at for IDLE_S more and once again before they are closed; every answer says "Connection: close". Bounded:
connections, head and body.
"""
import argparse, fcntl, importlib, io, os, queue, selectors, signal, socket, struct, sys, termios, threading, time, traceback
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

HEAD_MAX, BODY_MAX = 64 << 10, 16 << 20
CONNECTIONS_MAX = 1000
KEEP_S = 60.0   # between two requests
READ_S = 30.0   # for a request to come, or an answer to go, once it has begun
FRESH_S = 1.0   # in the drain: for the first request of a connection that was accepted before it
LATE_S = 3.0    # in the drain: for the rest of a request that has begun to come
IDLE_S = 0.5    # in the drain: for one more request, which is then told to be the last
LINGER_S = 0.2  # for the client to see our end, so that no unread byte turns our close into a reset


def notify(text):
    name = os.environ.get("NOTIFY_SOCKET")
    if name:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(text.encode(), "\0" + name[1:] if name[0] == "@" else name)


class Bad(Exception):
    """A request that is answered with this status."""


class Connection:
    def __init__(self, sock, peer):
        self.sock, self.peer = sock, peer
        self.buffer = b""     # of the next request
        self.fresh = True     # has not sent a request yet
        self.closing = False  # our side is shut, the client's is waited for
        self.deadline = 0.0

    def waiting_bytes(self):
        return struct.unpack("i", fcntl.ioctl(self.sock, termios.FIONREAD, b"\0" * 4))[0]

    def give_up(self):
        # Whoever waits in recv(2) for more is told that nothing comes.
        try:
            self.sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass

    def read_more(self):
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("closed within a request")
        self.buffer += data

    def read_request(self):
        """Method, target, version, fields and body of the next request; None if the client has ended."""
        self.sock.settimeout(READ_S)
        while b"\r\n\r\n" not in self.buffer:
            if len(self.buffer) > HEAD_MAX:
                raise Bad("431 Request Header Fields Too Large")
            try:
                self.read_more()
            except ConnectionError:
                if self.buffer.strip():
                    raise
                return None
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        if len(head) > HEAD_MAX:
            raise Bad("431 Request Header Fields Too Large")
        try:
            first, *lines = head.decode("latin-1").lstrip("\r\n").split("\r\n")
            method, target, version = first.split(" ")
            fields = [(n.lower(), v.strip()) for n, v in (line.split(":", 1) for line in lines)]
        except ValueError:
            raise Bad("400 Bad Request") from None
        return method, target, version, fields, self.read_body(dict(fields))

    def read_body(self, fields):
        if "transfer-encoding" in fields:
            raise Bad("501 Not Implemented")
        if not fields.get("content-length", "0").isdecimal():
            raise Bad("400 Bad Request")
        size = int(fields.get("content-length", "0"))
        if size > BODY_MAX:
            raise Bad("413 Content Too Large")
        if size and fields.get("expect", "").lower() == "100-continue":
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self.buffer) < size:
            self.read_more()
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return body


class Server:
    def __init__(self, listener, app, threads):
        self.listener, self.app, self.threads = listener, app, threads
        self.selector = selectors.DefaultSelector()
        self.pool = ThreadPoolExecutor(threads)
        self.quiet = set()          # connections that no thread has
        self.busy = 0               # connections that a thread has
        self.reading = set()        # … and whose request has not come whole
        self.cut_at = 0.0           # in the drain: when these are given up
        self.back = queue.SimpleQueue()
        self.draining = self.accepting = False
        self.beat_s = self.beat_at = 0.0
        self.name = listener.getsockname()
        listener.setblocking(False)  # shared by all workers, and each of them wants it
        self.wake_in, self.wake_out = socket.socketpair()
        self.wake_in.setblocking(False), self.wake_out.setblocking(False)
        self.selector.register(self.wake_in, selectors.EVENT_READ)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.set_wakeup_fd(self.wake_out.fileno(), warn_on_full_buffer=False)

    # ---- the thread that waits

    def run(self):
        self.warm_up()
        self.accept_if_room()
        notify("READY=1")
        while not self.draining or self.quiet or self.busy:
            for key, _ in self.selector.select(self.wait_s()):
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fileobj is self.wake_in:
                    self.woken()
                else:
                    self.readable(key.data)
            self.take_back()
            self.expire()
            self.accept_if_room()
        self.pool.shutdown()

    def warm_up(self):
        # Threads are there before the first request, and do not wait long for each other: a new worker's first
        # answers come while the next worker starts.
        sys.setswitchinterval(0.001)
        together = threading.Barrier(self.threads + 1)
        for _ in range(self.threads):
            self.pool.submit(together.wait)
        together.wait()

    def wait_s(self):
        ends = [c.deadline for c in self.quiet] + ([self.beat_at] if self.beat_s else [])
        ends += [self.cut_at] if self.busy and self.draining and time.monotonic() < self.cut_at else []
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def woken(self):
        try:
            signals = self.wake_in.recv(4096)
        except BlockingIOError:
            return
        if not self.draining and signals.strip(b"\0"):
            self.begin_drain()

    def accept_if_room(self):
        # Who is busy leaves the next connection to another worker.
        wanted = not self.draining and self.busy < self.threads and len(self.quiet) < CONNECTIONS_MAX
        if wanted and not self.accepting:
            self.selector.register(self.listener, selectors.EVENT_READ)
        elif self.accepting and not wanted:
            self.selector.unregister(self.listener)
        self.accepting = wanted

    def accept(self):
        try:
            sock, peer = self.listener.accept()
        except OSError:  # another worker was faster, or the client has gone
            return
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wait_for(Connection(sock, peer))

    def wait_for(self, c):
        limit = (FRESH_S if c.fresh else IDLE_S) if self.draining else KEEP_S
        c.deadline = time.monotonic() + (LINGER_S if c.closing else limit)
        self.quiet.add(c)
        self.selector.register(c.sock, selectors.EVENT_READ, c)

    def forget(self, c):
        self.selector.unregister(c.sock)
        self.quiet.discard(c)

    def readable(self, c):
        if c.closing:
            try:
                if c.sock.recv(65536):
                    return
            except OSError:
                pass
            self.forget(c)
            c.sock.close()
            return
        self.forget(c)
        self.hand_over(c)

    def hand_over(self, c):
        self.busy += 1
        self.pool.submit(self.answer, c)

    def take_back(self):
        while not self.back.empty():
            c = self.back.get()
            self.busy -= 1
            if c.sock.fileno() >= 0:
                if c.buffer and not c.closing:
                    self.hand_over(c)  # the next request came with the last one
                else:
                    self.wait_for(c)

    def expire(self):
        now = time.monotonic()
        if self.beat_s and now >= self.beat_at:
            self.beat_at = now + self.beat_s
            notify("WATCHDOG=1")
        for c in list(self.reading) if self.draining and now >= self.cut_at else ():
            self.reading.discard(c)
            c.give_up()
        for c in [c for c in self.quiet if c.deadline <= now]:
            self.forget(c)
            if not c.closing and c.waiting_bytes():  # the last look
                self.hand_over(c)
            else:
                c.sock.close()

    def begin_drain(self):
        self.draining = True
        self.cut_at = time.monotonic() + LATE_S
        notify("STOPPING=1")
        for c in self.quiet:
            c.deadline = min(c.deadline, time.monotonic() + (FRESH_S if c.fresh else IDLE_S))

    # ---- the threads that answer

    def answer(self, c):
        try:
            self.reading.add(c)
            try:
                request = c.read_request()
            finally:
                self.reading.discard(c)
            c.fresh = False
            if request is None:
                c.sock.close()
            elif not self.call(c, *request):
                self.end(c)
        except Bad as e:
            c.sock.sendall(f"HTTP/1.1 {e}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            self.end(c)
        except OSError:  # the client has gone, or is too slow
            c.sock.close()
        except Exception:
            traceback.print_exc()
            c.sock.close()
        self.back.put(c)
        try:
            self.wake_out.send(b"\0")
        except BlockingIOError:
            pass  # it will wake anyway

    def end(self, c):
        c.sock.shutdown(socket.SHUT_WR)
        c.closing = True

    def environ(self, c, method, target, version, fields, body):
        path, _, query = target.partition("?")
        host, port = (self.name[0], self.name[1]) if isinstance(self.name, tuple) else ("localhost", 0)
        environ = {
            "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": unquote(path, "latin-1"),
            "QUERY_STRING": query, "SERVER_NAME": host, "SERVER_PORT": str(port), "SERVER_PROTOCOL": version,
            "REMOTE_ADDR": c.peer[0] if isinstance(c.peer, tuple) else "", "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body), "wsgi.errors": sys.stderr,
            "wsgi.multithread": self.threads > 1, "wsgi.multiprocess": True, "wsgi.run_once": False}
        for name, value in fields:
            key = name.upper().replace("-", "_")
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key
            environ[key] = environ[key] + "," + value if key in environ else value
        return environ

    def call(self, c, method, target, version, fields, body):
        """Answers. True if the connection stays open."""
        words = dict(fields).get("connection", "").lower()
        wanted = "close" not in words if version == "HTTP/1.1" else "keep-alive" in words
        told = []

        def start_response(status, headers, exc_info=None):
            told[:] = [status, list(headers)]
            return lambda data: chunks.append(data)

        chunks = []
        try:
            result = self.app(self.environ(c, method, target, version, fields, body), start_response)
            try:
                chunks.extend(result)  # whole answers: nothing is sent before its length is known
            finally:
                if hasattr(result, "close"):
                    result.close()
        except Exception:
            traceback.print_exc()
            told, chunks = ["500 Internal Server Error", [("Content-Type", "text/plain")]], [b"error\n"]
        status, headers = told
        payload = b"".join(chunks)
        keep = wanted and not self.draining
        headers = [h for h in headers if h[0].lower() not in ("connection", "content-length")]
        bare = status[:3] in ("204", "304")
        if not bare:
            headers.append(("Content-Length", str(len(payload))))
        headers.append(("Connection", "keep-alive" if keep else "close"))
        head = f"HTTP/1.1 {status}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers) + "\r\n"
        c.sock.sendall(head.encode("latin-1") + (b"" if bare or method == "HEAD" else payload))
        return keep


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fd", type=int, default=3)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--watchdog", type=float, default=0, metavar="SECONDS", help="say WATCHDOG=1 so often")
    parser.add_argument("app", metavar="MODULE:CALLABLE")
    options = parser.parse_args()
    sys.path.insert(0, os.getcwd())
    module, _, name = options.app.partition(":")
    app = getattr(importlib.import_module(module), name or "app")
    server = Server(socket.socket(fileno=options.fd), app, options.threads)
    if options.watchdog:
        server.beat_s = options.watchdog
        notify(f"WATCHDOG_USEC={int(options.watchdog * 3e6)}")  # three beats may be missed
    server.run()


main()
