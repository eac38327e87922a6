"""OTLP/HTTP requests to the doctor's receiver, with nothing of the program's (sessions, proxies, certificates) in them.

Bounds: TIMEOUT_S for each step of a request; one connection is kept for an exporter. Any thread, also greenlets: no
lock. A forked child makes connections of its own.
"""
import os

from _weakref import ref as _ref
from urllib.parse import urlsplit

from . import _records

TIMEOUT_S = 5.0
_endpoint = urlsplit(os.environ.get("RUNMAIN_DOCTOR_ENDPOINT", ""))
_headers = dict(one.strip().split("=", 1) for one in os.environ.get("RUNMAIN_DOCTOR_HEADERS", "").split(",") if "=" in one)
_kept = {}  # number of an exporter -> (pid, connection, weak reference: it is closed with the exporter)


def is_off():
    """Without a receiver exporters send to where the program wants."""
    return not _endpoint.hostname


def send(exporter, path, body):
    """Whether the receiver took it. Never raises."""
    number = _records.number_of(exporter)
    pid, connection, _ = _kept.pop(number, (0, None, None))
    if connection is not None and pid == os.getpid():
        answer = _request(connection, path, body)
        if answer is not None:
            return _done(exporter, number, connection, answer)
    connection = _connection()
    answer = _request(connection, path, body)
    if answer is None:
        _records.tell("nothing was sent to the doctor", ConnectionError(_endpoint.netloc))
        return False
    return _done(exporter, number, connection, answer)


def _connection():
    from http.client import HTTPConnection

    return HTTPConnection(_endpoint.hostname, _endpoint.port or 80, timeout=TIMEOUT_S)


def _request(connection, path, body):
    """The status; None: there was no answer, a connection that was kept may have been closed."""
    try:
        headers = dict({"Content-Type": "application/x-protobuf"}, **_headers)
        connection.request("POST", _endpoint.path.rstrip("/") + path, body=body, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except Exception:
        connection.close()
        return None


def _done(exporter, number, connection, status):
    _kept[number] = (os.getpid(), connection, _ref(exporter, lambda _: _close(number)))
    return 200 <= status < 300


def _close(number):
    kept = _kept.pop(number, None)
    if kept is not None:
        kept[1].close()
