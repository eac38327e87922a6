#!/usr/bin/env python3
"""The official exporters of Python and Node against our receiver: what they send comes, what they are told they
understand, and a program that sends each span twice is found out.

usage: otlp_clients.py T_RECEIVER FOLDER     (FOLDER: for packages; exit status 77: some cannot be installed)
"""
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON_PACKAGES = ["opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"]
NODE_PACKAGES = ["@opentelemetry/api", "@opentelemetry/api-logs", "@opentelemetry/sdk-trace-node",
                 "@opentelemetry/sdk-metrics", "@opentelemetry/sdk-logs"]
NODE_PACKAGES += [f"@opentelemetry/exporter-{signal}-otlp-{form}" for signal in ("trace", "metrics", "logs")
                  for form in ("http", "proto")]
PATIENCE = 60


def check(condition, *what):
    if not condition:
        print("FAILED:", *what)
        sys.exit(1)


# ---- packages

def python_client(folder):
    """Its command, or None."""
    python = folder + "/venv/bin/python"
    probe = [python, "-c", "import opentelemetry.exporter.otlp.proto.http.trace_exporter"]
    if not os.path.exists(python) or subprocess.run(probe, stderr=subprocess.DEVNULL).returncode != 0:
        made = subprocess.run([sys.executable, "-m", "venv", folder + "/venv"], capture_output=True)
        pip = [folder + "/venv/bin/pip", "install", "-q", *PYTHON_PACKAGES]
        if made.returncode != 0 or subprocess.run(pip).returncode != 0:
            return None
    return [python, HERE + "/otlp_client.py"]


def node_client(folder):
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None
    if not all(os.path.exists(f"{folder}/node_modules/{name}/package.json") for name in NODE_PACKAGES):
        os.makedirs(folder, exist_ok=True)
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, *NODE_PACKAGES]
        if subprocess.run(npm).returncode != 0:
            return None
    os.environ["NODE_PATH"] = os.path.abspath(folder) + "/node_modules"
    return ["node", HERE + "/otlp_client.js"]


# ---- the receiver and a client

class Receiver:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self.follow, daemon=True).start()
        _, self.port, *self.tokens = self.line().split()

    def follow(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def line(self):
        line = self.lines.get(timeout=PATIENCE)
        check(line is not None, "the receiver ended")
        return line

    def say(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def taken(self):
        """All lines so far, and the counters by their names."""
        self.say("counters")
        lines = []
        while not (line := self.line()).startswith("counters "):
            lines.append(line)
        names = ("requests", "full", "no_token", "foreign_token", "refused", "bad_http", "bad_data")
        return lines, dict(zip(names, map(int, line.split()[1:])))

    def end(self):
        self.process.stdin.close()
        check(self.process.wait(timeout=PATIENCE) == 0, "the receiver's exit status")


def environment(receiver, token, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    headers = f"runmain-token={receiver.tokens[token]}" if token is not None else "other=1"
    return {**kept, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}",
            "OTEL_EXPORTER_OTLP_HEADERS": headers, "OTEL_SERVICE_NAME": "client", **more}


def run(command, env):
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE)
    check(done.returncode == 0, command, done.stdout, done.stderr)
    return done


# ---- what is tried with each

def spans_come(receiver, command, token, **more):
    done = run(command + ["spans", "40", "1"], environment(receiver, token, **more))
    sent = sorted(done.stdout.strip().split("\n"))
    lines, _ = receiver.taken()
    check("retrying" in done.stderr or not done.stderr, done.stderr)
    requests = [line.split() for line in lines if line.startswith("request ")]
    check(all(r[1:3] == ["traces", f"1:{token}:4:1"] and r[5] == "0" for r in requests), requests)
    items = [json.loads(line[5:]) for line in lines if line.startswith("item ")]
    check(sorted(f"{i['traceId']} {i['spanId']}" for i in items) == sent and len(items) == 40, command, lines, sent)
    check(items[0]["name"] == "span é 0" and items[0]["events"][0]["name"] == "event", items[0])
    check(not any(line.startswith("note ") for line in lines), lines)


def others_come(receiver, command):
    for what, names in (("metrics", {"requests", "seconds"}), ("logs", {"it went wrong: really"})):
        done = run(command + [what], environment(receiver, 0))
        lines, _ = receiver.taken()
        items = [json.loads(line[5:]) for line in lines if line.startswith("item ")]
        seen = {i["name"] if what == "metrics" else i["body"]["stringValue"] for i in items}
        check(names <= seen and any(line.startswith(f"request {what} 1:0:4:1 ") for line in lines), what, lines, done)


def comes_again(receiver, command):
    """A receiver that is full is asked again, and not at once."""
    receiver.say("full 1")
    check(receiver.line() == "ok", "ok")
    _, before = receiver.taken()
    began = time.monotonic()
    spans_come(receiver, command, 0)
    _, after = receiver.taken()
    check(after["full"] == before["full"] + 1, after)
    check(time.monotonic() - began > 0.7, "it did not wait")


def is_refused(receiver, command):
    _, before = receiver.taken()
    done = subprocess.run(command + ["spans", "3", "1"], env=environment(receiver, None), capture_output=True, text=True,
                          timeout=PATIENCE)
    lines, after = receiver.taken()
    check(after["no_token"] == before["no_token"] + 1 and not lines, before, after, lines)
    return done.stdout + done.stderr


def is_found_out(receiver, command):
    done = run(command + ["spans", "30", "2"], environment(receiver, 1))
    done = run(command + ["spans", "30", "2"], environment(receiver, 1))
    lines, _ = receiver.taken()
    check(sum(line.startswith("item ") for line in lines) == 60, "each once", lines, done)
    notes = [line for line in lines if line.startswith("note ")]
    check(len(notes) == 1 and "1:1:4:1 sends each span twice, byte by byte" in notes[0], notes)


def try_all(program, command, name):
    receiver = Receiver(program)
    spans_come(receiver, command, 0)
    spans_come(receiver, command, 1, OTEL_EXPORTER_OTLP_COMPRESSION="gzip")
    others_come(receiver, command)
    comes_again(receiver, command)
    said = is_refused(receiver, command)
    check(name != "python" or "401" in said, said)
    receiver.end()
    receiver = Receiver(program)  # its finder of duplicates has seen nothing yet
    is_found_out(receiver, command)
    _, counters = receiver.taken()
    check(counters["bad_http"] == counters["bad_data"] == counters["refused"] == 0, counters)
    receiver.end()
    print(name, "and ours agree", flush=True)


def main():
    program, folder = sys.argv[1:3]
    missing = []
    python = python_client(folder)
    if python is None:
        missing.append("Python's")
    else:
        try_all(program, python, "python")
    node = node_client(folder)
    if node is None:
        missing.append("Node's")
    else:
        for form in ("http", "proto"):
            try_all(program, node + [form], "node " + form)
    if missing:
        print("skipped:", " and ".join(missing), "packages cannot be installed")
        sys.exit(77)


if __name__ == "__main__":
    main()
