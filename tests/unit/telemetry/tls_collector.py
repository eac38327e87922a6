#!/usr/bin/env python3
"""A collector that speaks TLS: prints its port, then for each request what came, until its stdin ends.

usage: tls_collector.py GOLDEN_FOLDER [--client]     (--client: only clients with client.pem)
"""
import http.server
import os
import ssl
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        peer = self.connection.getpeercert()
        name = dict(part[0] for part in peer["subject"])["commonName"] if peer else "-"
        print(self.path, len(body), name, flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass


folder = sys.argv[1]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder + "/server.pem", folder + "/server.key")
if "--client" in sys.argv:
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(folder + "/client.pem")
server = Server(("0.0.0.0", 0), Handler)  # also 127.0.0.2, which the certificate does not name
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
os._exit(0)
