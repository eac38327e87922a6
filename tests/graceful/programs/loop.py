#!/usr/bin/env python3
"""A server on asyncio's streams that keeps the contract: another shape than server.py. Standard library only."""
import asyncio
import os
import signal
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import BODY, notify  # noqa: E402

FRESH_S, IDLE_S = 1.0, 0.5


class Server:
    def __init__(self):
        self.stop = asyncio.Event()
        self.tasks = set()

    async def head(self, reader, spoken):
        """The next request's head; None when the connection is to be closed."""
        reading = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        stopping = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await asyncio.wait({reading}, timeout=IDLE_S if spoken else FRESH_S)
            return reading.result() if reading.done() else None
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        finally:
            reading.cancel()
            stopping.cancel()

    async def converse(self, reader, writer):
        spoken = False
        try:
            while (head := await self.head(reader, spoken)) is not None:
                close = self.stop.is_set() or b"connection: close" in head.lower()
                field = b"close" if close else b"keep-alive"
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n" % (len(BODY), field) + BODY)
                await writer.drain()
                spoken = True
                if close:
                    break
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 0.2)
        except (OSError, asyncio.TimeoutError):
            pass
        writer.close()

    async def run(self):
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        listener = socket.socket(fileno=3)
        listener.setblocking(False)
        notify("READY=1")
        stopping = asyncio.ensure_future(self.stop.wait())
        while not self.stop.is_set():
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                accepting.cancel()
                break
            self.begin(accepting.result()[0])
        loop.remove_reader(listener.fileno())
        if self.tasks:
            await asyncio.wait(self.tasks)

    def begin(self, sock):
        async def serve():
            await self.converse(*await asyncio.open_connection(sock=sock))
        task = asyncio.ensure_future(serve())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


asyncio.run(Server().run())
