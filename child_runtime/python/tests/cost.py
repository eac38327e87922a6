"""What it costs: a span's end above the SDK's own, and the bootstrap. Prints, judges nothing.

    python tests/cost.py
"""
import os
import resource
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
SPANS, BATCH = 20000, 100


def span_loop(tracer, attributes, reader=None):
    """CPU time of a start and of an end, each, in us: other load on the machine is not to count."""
    begun, ended = [], []
    clock = time.thread_time_ns
    for _ in range(SPANS // BATCH):
        t0 = clock()
        spans = [tracer.start_span("GET /items/{id}", attributes=attributes) for _ in range(BATCH)]
        t1 = clock()
        for span in spans:
            span.end()
        t2 = clock()
        begun.append((t1 - t0) / BATCH / 1000)
        ended.append((t2 - t1) / BATCH / 1000)
        for lane in reader.taken() if reader is not None else ():
            reader.skip(lane)
    return "%.2f/%.2f" % (statistics.median(begun), statistics.median(ended))


def span_cost():
    import channel

    with_runmain = os.environ.get("RUNMAIN_TOKEN")
    reader = None
    if with_runmain:
        import mailbox_reader

        from runmain import _boot

        _boot.install()
        import runmain

        assert runmain.serve()
        reader = mailbox_reader.Reader(int(os.environ["MAILBOX_FD"]))
        reader.skip = lambda lane: os.pwrite(reader.fd, reader.at(lane, 0, 8), reader.head + lane * reader.stride + 192)
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()
    tracer = provider.get_tracer("bench")
    few = {"http.request.method": "GET", "http.response.status_code": 200}
    many = {"http.attribute.number.%d" % i: "value of attribute %d" % i for i in range(10)}
    span_loop(tracer, few, reader)
    print("%s %s" % (span_loop(tracer, few, reader), span_loop(tracer, many, reader)))


def start_cost(code, environments, rounds=15):
    """CPU time of a process, the median of each environment, in ms; taken in turns."""
    took = [[] for _ in environments]
    for _ in range(rounds):
        for n, environment in enumerate(environments):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], env=environment, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            took[n].append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000)
    return tuple(statistics.median(t) for t in took)


def main():
    if sys.argv[1:] == ["spans"]:
        return span_cost()
    import compileall

    import channel

    # Without these, reading the sources is what is measured.
    for folder in ("bootstrap", "runmain"):
        compileall.compile_dir(os.path.join(os.path.dirname(HERE), folder), quiet=1)
    held = channel.Channel(lanes=4, ring=4 << 20, dictionary=16384, slots=256)
    supervised = dict(os.environ, PYTHONPATH=os.path.join(os.path.dirname(HERE), "bootstrap"), **held.environment())
    automatic = dict(supervised, RUNMAIN_AUTO="1")
    plain = dict(os.environ)
    for name in ("RUNMAIN_TOKEN", "PYTHONPATH"):
        plain.pop(name, None)
    me = [sys.executable, os.path.abspath(__file__), "spans"]
    os.set_inheritable(held.memfd, True)
    for name, environment in (("plain SDK", plain), ("with runmain", dict(supervised, MAILBOX_FD=str(held.memfd)))):
        out = subprocess.run(me, env=environment, stdout=subprocess.PIPE, check=True, close_fds=False).stdout.decode().split()
        print("%s: a span's start/end with 2 attributes %s us, with 10 %s us" % (name, out[0], out[1]))
    for what, code in (
        ("nothing", "pass"),
        ("socket and json", "import socket, json"),
        ("the SDK", "import opentelemetry.sdk.trace; from opentelemetry import trace; trace.set_tracer_provider(opentelemetry.sdk.trace.TracerProvider())"),
        ("flask, instrumented by hand", "import opentelemetry.sdk.trace; from opentelemetry import trace; trace.set_tracer_provider(opentelemetry.sdk.trace.TracerProvider()); from opentelemetry.instrumentation.flask import FlaskInstrumentor; FlaskInstrumentor().instrument()"),
    ):
        print("start, %s: plain %.1f ms, with the bootstrap %.1f ms" % ((what,) + start_cost(code, (plain, supervised))))
    print("start, import flask, RUNMAIN_AUTO=1: %.1f ms" % start_cost("import flask", (automatic,)))


main()
