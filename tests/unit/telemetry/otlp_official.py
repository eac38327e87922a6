#!/usr/bin/env python3
"""Our OTLP bytes in the eyes of the official protobuf package, and its bytes in ours.

usage: otlp_official.py T_OTLP VENV     (exit status 77: the package cannot be installed)
"""
import base64
import json
import os
import random
import subprocess
import sys

SEED = 20250707
PACKAGE = "opentelemetry-proto"


def enter_venv(folder):
    """Goes on in a virtual environment that has the package."""
    python = folder + "/bin/python"
    if os.environ.get("OTLP_VENV") == folder:
        return
    have = os.path.exists(python) and subprocess.run([python, "-c", "import opentelemetry.proto"],
                                                     stderr=subprocess.DEVNULL).returncode == 0
    if not have:
        made = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True)
        if made.returncode != 0 or subprocess.run([folder + "/bin/pip", "install", "-q", PACKAGE]).returncode != 0:
            print(f"skipped: {PACKAGE} cannot be installed")
            sys.exit(77)
    os.environ["OTLP_VENV"] = folder
    os.execv(python, [python] + sys.argv)


class Ours:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, verb, signal, argument):
        self.process.stdin.write(f"{verb} {signal} {argument}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")


def check(condition, *what):
    if not condition:
        print("FAILED:", *what)
        sys.exit(1)


# ---- random messages

PROFILES_ONLY = {"string_value_strindex", "key_strindex"}  # no part of traces, metrics and logs
KEYS = ["a", "b", "http.route", "schlüssel"]


def text(rng):
    return "".join(rng.choice("abc \"\\\n\u0001é€😀") for _ in range(rng.randrange(12)))


def number(rng, low, high):
    return rng.choice([0, 1, low, high, rng.randint(low, high)])


def value_of(rng, field):
    name = field.name
    if field.type == field.TYPE_BYTES:
        if name in ("trace_id",):
            return rng.randbytes(16)
        if name in ("span_id", "parent_span_id"):
            return rng.randbytes(8)
        return rng.randbytes(rng.randrange(9))
    if field.type == field.TYPE_STRING:
        return text(rng)
    if field.type == field.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type == field.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    if field.type == field.TYPE_DOUBLE:
        return rng.choice([0.0, -0.5, 1e300, 5e-324, float("inf"), float("-inf"), float("nan"), rng.random()])
    bounds = {field.TYPE_INT64: (-2**63, 2**63 - 1), field.TYPE_SFIXED64: (-2**63, 2**63 - 1),
              field.TYPE_UINT64: (0, 2**64 - 1), field.TYPE_FIXED64: (0, 2**64 - 1),
              field.TYPE_UINT32: (0, 2**32 - 1), field.TYPE_FIXED32: (0, 2**32 - 1),
              field.TYPE_SINT32: (-2**31, 2**31 - 1), field.TYPE_INT32: (-2**31, 2**31 - 1)}
    return number(rng, *bounds[field.type])


def fill(rng, message, depth=0):
    for field in message.DESCRIPTOR.fields:
        always = field.name in ("resource_spans", "scope_spans", "spans", "resource_metrics", "scope_metrics", "metrics",
                                "resource_logs", "scope_logs", "log_records", "trace_id", "span_id")
        if field.name in PROFILES_ONLY or (not always and rng.random() < 0.4):
            continue
        repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
        if field.type == field.TYPE_MESSAGE:
            if depth > 9:
                continue
            keys = rng.sample(KEYS, rng.randrange(len(KEYS)))
            count = (len(keys) if field.message_type.name == "KeyValue" else rng.randrange(1, 3)) if repeated else 1
            for n in range(count):
                part = getattr(message, field.name).add() if repeated else getattr(message, field.name)
                fill(rng, part, depth + 1)
                part.SetInParent()
                if field.message_type.name == "KeyValue":
                    part.key = keys[n]
        elif repeated:
            getattr(message, field.name).extend(value_of(rng, field) for _ in range(rng.randrange(4)))
        else:
            setattr(message, field.name, value_of(rng, field))
    if message.DESCRIPTOR.name == "Span" and message.end_time_unix_nano < message.start_time_unix_nano:
        message.end_time_unix_nano = message.start_time_unix_nano


def same(a, b):
    return a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True)


def with_base64_ids(node):
    """OTLP's JSON has ids in hex, where protobuf's has base64."""
    if isinstance(node, list):
        return [with_base64_ids(n) for n in node]
    if not isinstance(node, dict):
        return node
    return {k: base64.b64encode(bytes.fromhex(v)).decode() if k in ("traceId", "spanId", "parentSpanId")
            else with_base64_ids(v) for k, v in node.items()}


# ---- the checks

def goes_round(ours, signal, make, rounds, rng):
    """JSON of ours is what the official package reads, and the way back gives the same message."""
    from google.protobuf import json_format
    for n in range(rounds):
        request = make()
        fill(rng, request)
        as_hex = request.SerializeToString().hex()
        said = ours("json", signal, as_hex)
        check(not said.startswith("fault"), signal, n, said)
        read = json_format.Parse(json.dumps(with_base64_ids(json.loads(said))), make())
        check(same(read, request), signal, n, "JSON is another message", said)
        back = make()
        back.ParseFromString(bytes.fromhex(ours("bytes", signal, said)))
        check(same(back, request), signal, n, "bytes of JSON are another message", said)


def items_of(request, resources, scopes, items):
    """Each item with all that it is of."""
    found = []
    for resource in getattr(request, resources):
        for scope in getattr(resource, scopes):
            for item in getattr(scope, items):
                found.append((resource.resource.SerializeToString(deterministic=True), resource.schema_url,
                              scope.scope.SerializeToString(deterministic=True), scope.schema_url,
                              item.SerializeToString(deterministic=True)))
    return sorted(found)


def batches(ours, signal, make, names, rounds, rng):
    """A request through our batch has the same items with the same origin, and no group twice."""
    for n in range(rounds):
        request = make()
        fill(rng, request)
        said = ours("batch", signal, request.SerializeToString().hex())
        check(said != "fault", signal, n, "refused")
        out = make()
        out.ParseFromString(bytes.fromhex(said))
        check(items_of(out, *names) == items_of(request, *names), signal, n, "other items")
        groups = [(r.resource.SerializeToString(), r.schema_url) for r in getattr(out, names[0])]
        check(len(groups) == len(set(groups)), signal, n, "a resource twice")
        check(all(getattr(s, names[2]) for r in getattr(out, names[0]) for s in getattr(r, names[1])), "empty envelope")


def repairs(ours, span_type, rounds, rng):
    """What the package writes is sound; with duplicate keys and an early end it is repaired to what it should be."""
    for n in range(rounds):
        span = span_type()
        fill(rng, span, 3)
        check(ours("check", "traces", span.SerializeToString().hex()) == "sound", n, span)
        wanted = span_type()
        wanted.CopyFrom(span)
        del wanted.attributes[:]
        del span.attributes[:]
        last = {}
        for i in range(rng.randrange(2, 40)):
            key = rng.choice(KEYS)
            last[key] = i
            span.attributes.add(key=key).value.int_value = i
        for key, i in sorted(last.items(), key=lambda item: item[1]):
            wanted.attributes.add(key=key).value.int_value = i
        if rng.random() < 0.5:
            span.start_time_unix_nano, span.end_time_unix_nano = 10, 5
            wanted.start_time_unix_nano, wanted.end_time_unix_nano = 10, 10
        said = ours("check", "traces", span.SerializeToString().hex())
        if said == "sound":
            check(same(span, wanted), n, "said to be sound")
            continue
        check(said.startswith("repaired "), n, said)
        out = span_type()
        out.ParseFromString(bytes.fromhex(said.split()[1]))
        check(same(out, wanted), n, "repaired to something else", out, wanted)


def reconstructed(ours, span_type):
    span = span_type()
    span.ParseFromString(bytes.fromhex(ours("open", "traces", "0102030405060708")))
    check(span.span_id == bytes(range(1, 9)) and span.trace_id == b"\x07" * 16, span)
    check(span.name == "GET /" and span.kind == span.SPAN_KIND_SERVER, span)
    check(span.start_time_unix_nano == 1000 and span.end_time_unix_nano == 5000, span)
    check(span.status.code == span.status.STATUS_CODE_ERROR and "SIGKILL" in span.status.message, span)
    values = {a.key: a.value for a in span.attributes}
    check(values["runmain.reconstructed"].bool_value and values["runmain.exit.signal"].string_value == "SIGKILL", span)


def main():
    program, venv = sys.argv[1:3]
    enter_venv(venv)
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span
    rng = random.Random(SEED)
    ours = Ours(program)
    print("seed", SEED)
    for signal, make, names in (("traces", ExportTraceServiceRequest, ("resource_spans", "scope_spans", "spans")),
                                ("metrics", ExportMetricsServiceRequest, ("resource_metrics", "scope_metrics", "metrics")),
                                ("logs", ExportLogsServiceRequest, ("resource_logs", "scope_logs", "log_records"))):
        goes_round(ours, signal, make, 60, rng)
        batches(ours, signal, make, names, 60, rng)
    repairs(ours, Span, 200, rng)
    reconstructed(ours, Span)
    print("the official package and ours agree")


if __name__ == "__main__":
    main()
