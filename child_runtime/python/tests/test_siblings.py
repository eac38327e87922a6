"""Processes of one child that each listen: who accepts a connection serves, who only listens does not."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

from in_process import HEAD, InProcess

# `siblings(serve)`: two processes, forked, of which the second has been refused when the first connection comes to it.
SIBLINGS = HEAD + """
import socket
def connected(address):
    other = socket.create_connection(address); other.settimeout(10)
    return other
def bound():
    s = socket.socket(); s.bind(("127.0.0.1", 0))
    return s
def siblings(serve):
    for n in range(2):
        if os.fork() == 0:
            trace.set_tracer_provider(TracerProvider())
            serve(n)
            os._exit(0)
        time.sleep(0.8)
    for _ in range(2): assert os.wait()[1] == 0
def answer(n):
    assert runmain.serving(), runmain.why_not_serving()
    span("answer of %d" % n)
    time.sleep(1.2 if n == 0 else 0)  # it has the role while the other one asks
"""

SERVERS = {
    "an accept that waits": """
        s = bound(); s.listen(); c = connected(s.getsockname()); s.accept(); answer(n)
    """,
    "an accept that does not wait": """
        s = bound(); s.listen(); s.setblocking(False)
        c = connected(s.getsockname()); s.accept(); answer(n)
    """,
    "socketserver": """
        import socketserver
        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                answer(n); threading.Thread(target=self.server.shutdown).start()
        server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
        c = connected(server.server_address); server.serve_forever(0.05)
    """,
    "asyncio": """
        import asyncio
        async def main():
            done = asyncio.Event()
            server = await asyncio.start_server(lambda r, w: (answer(n), done.set()), "127.0.0.1", 0)
            r, w = await asyncio.open_connection(*server.sockets[0].getsockname())
            await done.wait()
        asyncio.run(main())
    """,
    "uvloop": """
        import asyncio, uvloop
        async def main():
            done = asyncio.Event()
            server = await asyncio.start_server(lambda r, w: (answer(n), done.set()), "127.0.0.1", 0)
            r, w = await asyncio.open_connection(*server.sockets[0].getsockname())
            await done.wait()
        uvloop.install(); asyncio.run(main())
    """,
}


class Siblings(InProcess):
    def setUp(self):
        super().setUp()
        self.channel.as_runmain = True

    def run_siblings(self, body, check=0, **more):
        lines = ["def serve(n):"] + ["    " + line for line in body.splitlines()] + ["siblings(serve)"]
        return self.run_code("\n".join(lines), check, SIBLINGS, **more)

    def test_a_sibling_that_was_refused_serves_with_its_first_connection(self):
        for name, body in SERVERS.items():
            with self.subTest(name):
                self.setUp()
                self.run_siblings(body)
                self.assertEqual(self.names(), ["answer of 0", "answer of 1"])
                self.assertEqual(len(set(self.channel.holders)), 2)
                self.assertEqual(len(self.channel.holders), 2, self.channel.claims)

    def test_gevent_s_server_serves_with_its_first_connection(self):
        self.channel.holders.append(1)  # of another process
        self.run_code("""
            import _socket, types
            from runmain import _serving
            class Server:
                socket = _socket.socket()
                def start_accepting(self): return runmain.serving()
                def do_handle(self, *args): return runmain.serving()
            Server.socket.bind(("127.0.0.1", 0)); Server.socket.listen()
            _serving.patch_gevent(types.SimpleNamespace(BaseServer=Server))
            assert not Server().start_accepting() and Server().do_handle(1, 2)
        """)
        self.assertEqual([c["explicit"] for c in self.channel.claims], [False, True])

    def test_who_was_refused_and_gets_no_connection_does_not_ask_again(self):
        self.channel.holders.append(1)
        self.run_code("""
            import asyncio
            async def main():
                await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
                await asyncio.sleep(0.5)
            asyncio.run(main())
        """)
        self.assertEqual([c["explicit"] for c in self.channel.claims], [False])

    def test_a_server_in_c_that_was_refused_serves_with_its_first_span(self):
        self.channel.holders.append(1)
        self.run_code("""
            import asyncio, _socket
            trace.set_tracer_provider(TracerProvider())
            async def main():
                server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
                assert not runmain.serving()
                for n in range(2):
                    tracer().start_span("answer", kind=trace.SpanKind.SERVER).end()
                    time.sleep(1.1)
                span("inside")
            asyncio.run(main())
            assert runmain.serving()
        """)
        self.assertEqual(self.names(), ["answer", "answer", "inside"])

    def test_a_master_that_only_listens_never_claims_and_its_children_do(self):
        self.run_code("""
            s = bound(); s.listen()
            trace.set_tracer_provider(TracerProvider())
            children = []
            for n in range(2):
                pid = os.fork()
                if pid == 0:
                    c = connected(s.getsockname()); s.accept(); answer(n); os._exit(0)
                children.append(pid)
            for pid in children: assert os.waitpid(pid, 0)[1] == 0
            assert not runmain.serving()
        """, head=HEAD + SIBLINGS.partition(HEAD)[2])
        self.assertEqual(self.names(), ["answer of 0", "answer of 1"])
        self.assertEqual(len(set(self.channel.holders)), 2)

    def test_children_that_a_listening_master_spawns_are_no_helpers(self):
        self.run_code("""
            import subprocess
            s = bound(); s.listen()
            code = "import socket; s = socket.socket(fileno=%d); c = socket.create_connection(s.getsockname()); s.accept(); import runmain; assert runmain.serving()"
            subprocess.run([sys.executable, "-c", code % s.fileno()], pass_fds=[s.fileno()], check=True)
            assert not runmain.serving()
        """, head=SIBLINGS)
        self.assertEqual(len(self.channel.holders), 1)

    def test_a_helper_of_who_serves_that_accepts_is_none_that_serves(self):
        self.run_code("""
            import subprocess
            runmain.serve()
            code = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); c = socket.create_connection(s.getsockname()); s.accept(); import runmain; assert not runmain.serving()"
            subprocess.run([sys.executable, "-c", code], check=True)
        """, head=SIBLINGS)
        self.assertEqual(len(self.channel.claims), 1)

    def test_another_address_than_the_service_s_says_nothing(self):
        self.run_siblings("""
            s = bound(); s.listen(); c = connected(s.getsockname()); s.accept(); assert not runmain.serving()
        """, SERVER_STARTER_PORT="127.0.0.1:1=3")
        self.assertEqual(self.channel.claims, [])


if __name__ == "__main__":
    unittest.main()
