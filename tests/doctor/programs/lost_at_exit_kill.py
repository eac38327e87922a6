"""Starts the server, and kills it when it is to end."""
import signal
import subprocess
import sys

server = subprocess.Popen([sys.executable, "clean_flask.py"])
signal.signal(signal.SIGTERM, lambda *_: server.kill())
server.wait()
