"""What tests/bench/pools and tests/bench/pool_servers share: pools of four workers under gunicorn, uvicorn, pm2, nginx and
runmain, an open-loop load on them, and a clean end. Everything that is started carries a mark in its environment or
its session; end_all() ends what has it, by pid.
"""
import json, os, signal, socket, subprocess, sys, tempfile, time, uuid

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.realpath(HERE + "/../..")
BUILD = ROOT + "/build/bench-peers"
EXAMPLES = ROOT + "/examples"
WORKERS = 4
MARK = "BENCH_POOLS=" + uuid.uuid4().hex
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that "finally" ends what was started

APP_PY = '''
import asyncio, os, time
time.sleep(float(os.environ.get("BOOT", "0")))
def stamp():
    with open(os.environ["STAMPS"], "a") as f:
        f.write(f"{os.getpid()} {time.monotonic_ns()}\\n")
stamp()
def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(1)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(b"%d\\n" % os.getpid())))])
    return [b"%d\\n" % os.getpid()]
async def asgi(scope, receive, send):
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    body = b"%d\\n" % os.getpid()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
'''
BOOT_JS = '''
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000 * Number(process.env.BOOT || 0));
require('fs').appendFileSync(process.env.STAMPS, `${process.pid} ${process.hrtime.bigint()}\\n`);
'''
# As pm2's manual asks for: ready is said, SIGINT closes the server.
PM2_JS = BOOT_JS + '''
const server = require('http').createServer((request, response) => response.end(process.pid + '\\n'));
server.listen(Number(process.env.PORT), '127.0.0.1', () => process.send('ready'));
process.on('SIGINT', () => server.close(() => process.exit(0)));
'''


# ---- processes

def marked():
    """The pids of everything that we started, whoever its parent is now."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as f:
                    if MARK.encode() in f.read() or os.getsid(int(name)) in SESSIONS:
                        found.append(int(name))
            except (OSError, ProcessLookupError):
                pass
    return found


SESSIONS = set()
STARTED = []


def spawn(command, cwd, env=None, **more):
    process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, start_new_session=True,
                               env={**os.environ, **(env or {}), **dict([MARK.split("=")])}, **more)
    SESSIONS.add(process.pid)
    STARTED.append(process)
    return process


def kill(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def end_all():
    for _ in range(50):
        STARTED[:] = [p for p in STARTED if p.poll() is None]
        pids = marked()
        if not pids:
            break
        for pid in pids:
            kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    SESSIONS.clear()


def stat(pid):
    """State, parent and start time; None if it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rsplit(b")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else (fields[0], int(fields[1]))


def cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(p) for p in f.read().split() if stat(int(p))]
    except OSError:
        return []


def smaps(pid, *names):
    """The sum of these fields of smaps_rollup, in bytes."""
    total = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            for line in f:
                if line.split(":")[0] in names:
                    total += int(line.split()[1]) * 1024
    except OSError:
        pass
    return total


def private(pid):
    return smaps(pid, "Private_Clean", "Private_Dirty")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(holds, seconds, every=0.005):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(every)
    return False


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


# ---- peers

class Peer:
    """A pool of WORKERS workers of the same small application."""
    boots = True    # the application has a start that takes time
    stamps = True   # … and says when it is over

    def __init__(self, bin_folder, boot=0.0):
        self.bin, self.boot, self.folder = bin_folder, boot, tempfile.mkdtemp(prefix="pools-")
        self.port, self.process = free_port(), None
        self.env = {"BOOT": str(boot), "STAMPS": self.folder + "/stamps", "PORT": str(self.port)}
        write(self.folder + "/stamps", "")
        write(self.folder + "/app.py", APP_PY)
        write(self.folder + "/boot.js", BOOT_JS)
        write(self.folder + "/app.js", PM2_JS)
        self.log = open(self.folder + "/log", "w")

    def run(self, command):
        self.process = spawn(command, self.folder, self.env, stdout=self.log, stderr=self.log)

    def once(self, command):
        return spawn(command, self.folder, self.env, stdout=self.log, stderr=self.log)

    def masters(self):
        return [self.process.pid] if stat(self.process.pid) else []

    def is_worker(self, pid):
        return True

    def workers(self):
        return [c for m in self.masters() for c in children(m) if self.is_worker(c)]

    def booted(self):
        """When the application of each process was there, in ns."""
        with open(self.folder + "/stamps") as f:
            return {int(p): int(t) for p, t in (line.split() for line in f if line.endswith("\n"))}

    def all_up(self, but=()):
        """Whether WORKERS workers serve and none of `but` is left."""
        pids = self.workers()
        if len(pids) != WORKERS or set(pids) & set(but):
            return False
        return not self.stamps or set(pids) <= set(self.booted())

    def wait_up(self, seconds):
        if not until(self.all_up, seconds + 10 + self.boot * WORKERS):
            raise TimeoutError(f"{self.title} does not start:\n" + open(self.folder + "/log").read()[-2000:])
        until(lambda: self.answers() == 1, 10)

    def answers(self, count=1):
        """How many of so many requests are answered."""
        good = 0
        for _ in range(count):
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                    s.settimeout(1)
                    s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    good += s.recv(100).startswith(b"HTTP/1.1 200")
            except OSError:
                pass
        return good

    def reload(self):
        os.kill(self.process.pid, signal.SIGHUP)

    def end(self):
        end_all()
        self.log.close()
        subprocess.run(["rm", "-rf", self.folder])


class GunicornSync(Peer):
    title, kind = "gunicorn sync", ["-k", "sync"]

    @classmethod
    def version(cls):
        return tool_version(BUILD + "/venv/bin/gunicorn", "--version")

    def start(self):
        self.run([BUILD + "/venv/bin/gunicorn", "-w", str(WORKERS), *self.kind, "-b", f"127.0.0.1:{self.port}", "app:wsgi"])


class GunicornThreads(GunicornSync):
    title, kind = "gunicorn gthread", ["-k", "gthread", "--threads", "4"]


class Uvicorn(Peer):
    title = "uvicorn --workers"

    @classmethod
    def version(cls):
        return tool_version(BUILD + "/venv/bin/uvicorn", "--version")

    def start(self):
        self.run([BUILD + "/venv/bin/uvicorn", "--workers", str(WORKERS), "--port", str(self.port), "--no-access-log", "app:asgi"])

    def is_worker(self, pid):
        return "spawn_main" in cmdline(pid)


class Pm2(Peer):
    title = "pm2 cluster"

    @classmethod
    def version(cls):
        return "pm2 " + json.load(open(BUILD + "/node_modules/pm2/package.json"))["version"]

    def start(self):
        self.env["PM2_HOME"] = self.folder + "/home"
        write(self.folder + "/pool.config.js", "module.exports = {apps: [{name: 'web', script: 'app.js', instances: "
              f"{WORKERS}, exec_mode: 'cluster', wait_ready: true}}]}};\n")
        self.once([BUILD + "/node_modules/.bin/pm2", "start", "pool.config.js"])

    def masters(self):
        try:
            pid = int(open(self.folder + "/home/pm2.pid").read())
            return [pid] if stat(pid) else []
        except (OSError, ValueError):
            return []

    def is_worker(self, pid):
        return "app.js" in cmdline(pid)

    def reload(self):
        self.once([BUILD + "/node_modules/.bin/pm2", "reload", "web"])


class Nginx(Peer):
    title, boots, stamps = "nginx", False, False

    @classmethod
    def program(cls):
        there = subprocess.run(["sh", "-c", "command -v nginx"], capture_output=True, text=True).stdout.strip()
        return there or BUILD + "/nginx/usr/sbin/nginx"

    @classmethod
    def version(cls):
        return tool_version(cls.program(), "-v").replace("nginx version: ", "")

    def start(self):
        write(self.folder + "/nginx.conf", f"""daemon off; worker_processes {WORKERS}; pid {self.folder}/pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000;
  client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
  server {{ listen 127.0.0.1:{self.port} backlog=4096; location / {{ return 200 "$pid\\n"; }} }} }}
""")
        self.run([self.program(), "-p", self.folder, "-e", "stderr", "-c", self.folder + "/nginx.conf"])

    def is_worker(self, pid):
        return "worker process" in cmdline(pid)


class Runmain(Peer):
    """`command` under runmain, WORKERS times."""
    ready = 'ready = { notify = true }'
    own_socket = 'listen = "127.0.0.1:{port}"'
    workers_of_pool = WORKERS

    @classmethod
    def version(cls):
        return "runmain of this tree"

    def command(self):
        raise NotImplementedError

    def start(self):
        self.env.update(XDG_RUNTIME_DIR=self.folder, XDG_STATE_HOME=self.folder)
        words = ", ".join(json.dumps(w) for w in self.command())
        write(self.folder + "/supervisor.toml", f'[runmain]\nmode = "prod"\n[service.web]\ncommand = [{words}]\n'
              f'{self.own_socket.format(port=self.port)}\nworkers = {self.workers_of_pool}\n{self.ready}\n'
              'on_keeper_death = "stop"\n')  # all of this as `runmain serve` has it by itself
        self.run([self.bin + "/runmain", *["up", "-c", "supervisor.toml"]])

    def reload(self):
        return self.once([self.bin + "/runmain", "reload", "web"])  # found by the folder that it runs in

    def masters(self):
        keeper = self.process.pid
        heads = [c for c in children(keeper) if "runmain-supervisor" in cmdline(c)]
        return ([keeper] if stat(keeper) else []) + heads

    def workers(self):
        if not stat(self.process.pid):
            return []
        return [c for c in children(self.process.pid) if "runmain-supervisor" not in cmdline(c)]


class RunmainWsgi(Runmain):
    title = "runmain + WSGI example"

    def command(self):
        return [BUILD + "/venv/bin/python", EXAMPLES + "/pool-wsgi/server.py", "--fd", "{fd}", "app:wsgi"]


class RunmainAsgi(Runmain):
    title = "runmain + ASGI example"

    def command(self):
        return [BUILD + "/venv/bin/python", EXAMPLES + "/pool-asgi/server.py", "--fd", "{fd}", "app:asgi"]


class RunmainNode(Runmain):
    title = "runmain + Node example"

    def command(self):
        return ["node", "-r", "./boot.js", EXAMPLES + "/pool-node/server.js", "--fd", "{fd}"]


class RunmainUvicorn(Runmain):
    title, ready = "runmain + uvicorn --fd", 'ready = { http = "/" }'

    def command(self):
        return [BUILD + "/venv/bin/uvicorn", "--fd", "{fd}", "--no-access-log", "app:asgi"]


class RunmainCpp(Runmain):
    title, boots, stamps = "runmain + C++ example", False, False

    def command(self):
        return [self.bin + "/pool"]


KINDS = {"gunicorn-sync": GunicornSync, "gunicorn-gthread": GunicornThreads, "uvicorn": Uvicorn, "pm2": Pm2,
         "nginx": Nginx, "runmain-wsgi": RunmainWsgi, "runmain-asgi": RunmainAsgi, "runmain-node": RunmainNode,
         "runmain-uvicorn": RunmainUvicorn, "runmain-cpp": RunmainCpp}


# ---- what is needed

def tool_version(program, flag):
    done = subprocess.run([program, flag], capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().split("\n")[0]


def install(python=("gunicorn", "uvicorn")):
    """Peers into build/bench-peers: from pip and npm, nginx from the distribution's package, unpacked there."""
    os.makedirs(BUILD, exist_ok=True)
    if not os.path.exists(BUILD + "/venv/bin/pip"):
        subprocess.run([sys.executable, "-m", "venv", BUILD + "/venv"], check=True)
    missing = [p for p in python if not subprocess.run([BUILD + "/venv/bin/pip", "show", "-q", p],
                                                       capture_output=True).returncode == 0]
    for package in missing:
        subprocess.run([BUILD + "/venv/bin/pip", "install", "-q", package])
    if not os.path.exists(BUILD + "/node_modules/pm2"):
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", BUILD, "pm2"])
    if not os.path.exists(Nginx.program()):
        os.makedirs(BUILD + "/nginx", exist_ok=True)
        subprocess.run("apt-get download nginx && dpkg -x nginx_*.deb .", shell=True, cwd=BUILD + "/nginx",
                       stdout=subprocess.DEVNULL)


# ---- load

class Load:
    """tests/bench/openloop on a peer."""

    def __init__(self, peer, mode, rate, seconds, path="/"):
        self.process = spawn([peer.bin + "/openloop", "--to", f"127.0.0.1:{peer.port}", "--rate", str(rate), "--mode",
                              mode, "--seconds", str(seconds), "--path", path, "--seen"], "/", stdout=subprocess.PIPE, text=True)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        *lines, last = out.strip().split("\n")
        self.seen = [(line.split()[1], int(line.split()[2])) for line in lines if len(line.split()) == 3]
        return json.loads(last)

    def first_of(self, pids):
        """When one of these first answered, in ns. After stop()."""
        return min((t for word, t in self.seen if word.isdigit() and int(word) in pids), default=None)
