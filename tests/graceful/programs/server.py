#!/usr/bin/env python3
"""A server of threads that keeps the contract, and by PLANTED breaks one part of it. Standard library only.

    PLANTED=FAULT server.py

One thread accepts from fd 3; each connection has a thread, which looks at it every few milliseconds. The drain: no more
is accepted; a connection that has not spoken has a second, an idle one half a second and a last look, half a request
a second more; every answer says "Connection: close".
"""
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

PLANTED = os.environ.get("PLANTED", "")
WORKER = int(os.environ.get("RUNMAIN_WORKER", "0"))
FRESH_S, IDLE_S, LOOK_S = 1.0, 0.5, 0.02
BODY = os.environ.get("BODY", "hello\n").encode()

draining = threading.Event()
drain_at = 0.0
living = set()
lock = threading.Lock()


def notify(text):
    name = os.environ.get("NOTIFY_SOCKET", "")
    if name:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(text.encode(), "\0" + name[1:] if name[0] == "@" else name)


def answer(sock, close):
    status = "503 Service Unavailable" if PLANTED == "answers-503" and draining.is_set() else "200 OK"
    field = "close" if close else "keep-alive"
    sock.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(BODY)}\r\nConnection: {field}\r\n\r\n".encode() + BODY)


def end(sock):
    """In order: our side first, then what still comes is read, so that no unread byte makes a reset of it."""
    try:
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(0.2)
        while sock.recv(4096):
            pass
    except OSError:
        pass
    sock.close()


def is_over(spoken, buffer):
    """Whether this connection is to be waited for no longer; asked while nothing comes."""
    if not draining.is_set():
        return False
    if buffer:
        return PLANTED != "waits-for-half" and time.monotonic() > drain_at + FRESH_S
    if not spoken:
        return PLANTED != "waits-for-silent" and time.monotonic() > drain_at + FRESH_S
    return PLANTED != "keeps-idle" and time.monotonic() > drain_at + IDLE_S


def converse(sock):
    buffer, spoken = b"", False
    while True:
        if select.select([sock], [], [], LOOK_S)[0]:
            data = sock.recv(65536)
            if not data:
                return
            buffer += data
            while b"\r\n\r\n" in buffer:
                head, buffer = buffer.split(b"\r\n\r\n", 1)
                close = b"connection: close" in head.lower() or (draining.is_set() and PLANTED != "keeps-idle")
                answer(sock, close)
                spoken = True
                if close:
                    return
        elif draining.is_set() and spoken and not buffer and PLANTED == "resets-kept":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        elif draining.is_set() and not spoken and not buffer and PLANTED == "drops-unread":
            return
        elif is_over(spoken, buffer):
            return


def serve(sock):
    try:
        converse(sock)
    except OSError:
        pass
    if PLANTED == "resets-kept" and draining.is_set():
        sock.close()
    else:
        end(sock)
    with lock:
        living.discard(threading.current_thread())


def listen():
    if PLANTED == "own-socket":
        own = socket.create_server(("127.0.0.1", 0))
        return own
    return socket.socket(fileno=3)


def main():
    global drain_at
    wake_in, wake_out = socket.socketpair()
    wake_out.setblocking(False)
    signal.set_wakeup_fd(wake_out.fileno(), warn_on_full_buffer=False)
    if PLANTED == "exits-at-once":
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    elif PLANTED == "ignores-sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: None)
    if PLANTED == "leaves-child":
        # The stop signal goes to the whole tree: only one that is deaf to it stays.
        subprocess.Popen(["sh", "-c", "trap '' TERM; exec sleep 600"], stdin=subprocess.DEVNULL)
    listener = listen()
    listener.setblocking(False)
    notify("READY=1")
    if PLANTED == "ready-too-early":
        time.sleep(4)
    if PLANTED == "second-idle" and WORKER > 0:
        select.select([wake_in], [], [])
        os._exit(0)
    while True:
        readable = select.select([listener, wake_in], [], [])[0]
        if wake_in in readable:
            break
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            continue
        if PLANTED == "one-at-a-time":
            serve(sock)
            continue
        thread = threading.Thread(target=serve, args=(sock,), daemon=True)
        with lock:
            living.add(thread)
        thread.start()
    drain_at = time.monotonic()
    draining.set()
    if PLANTED == "shuts-listener":
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    while True:
        with lock:
            threads = list(living)
        if not threads:
            break
        threads[0].join()
    sys.exit(1 if PLANTED == "exits-1" else 0)


if __name__ == "__main__":
    main()
