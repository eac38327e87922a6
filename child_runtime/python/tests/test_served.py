"""Real servers under a real runmain: each request exactly one server span, each process that serves an id of its own."""
import concurrent.futures
import json
import os
import signal
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

from served import APPS, Served

REQUESTS = 60


class ServedTest(unittest.TestCase):
    def check(self, served, processes=1):
        """Answers by as many processes, a span each, as many instance ids."""
        paths = ["/r%d" % i for i in range(REQUESTS)]
        pids = set()
        while len(pids) < processes:
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(served.get, paths))
            self.assertNotIn(None, answers, served.printed())
            pids.update(answers)
            paths = [p + "x" for p in paths] if len(pids) < processes else paths
        served.wait_for(lambda: all(p in served.paths() for p in paths), "span of each request")
        time.sleep(0.5)  # for what would come twice
        spans = served.sink.of()
        self.assertEqual({n for p, n in served.paths().items()}, {1}, served.paths().most_common(5))
        self.assertEqual(len({(s.trace, s.id) for s in spans}), len(spans))
        servers = {(s.resource["service.instance.id"], s.resource["process.pid"]) for s in spans}
        self.assertEqual(len(servers), processes)
        self.assertEqual({str(pid) for _, pid in servers}, pids)
        self.assertEqual(len({i for i, _ in servers}), processes)
        return spans

    def run_one(self, command, processes=1, **keys):
        with Served(command, **keys) as served:
            spans = self.check(served, processes)
            status = served.status()
            self.assertNotIn("not balance", status)
            return spans, served.sink

    def test_flask_debug_as_it_is(self):
        self.run_one("python %s/apps/app_flask.py" % HERE)

    def test_flask_run(self):
        self.run_one("flask --app app_flask run --debug --port {PORT}", listen=False, port_key=True)

    def test_gunicorn(self):
        self.run_one("gunicorn -w 3 app_flask:app", processes=3)

    def test_gunicorn_preload(self):
        self.run_one("gunicorn --preload -w 3 app_flask:app", processes=3)

    def test_gunicorn_with_uvicorn_workers(self):
        self.run_one("gunicorn -w 2 -k uvicorn_worker.UvicornWorker app_fastapi:app", processes=2)

    def test_gunicorn_preload_and_own_provider(self):
        spans, _ = self.run_one("gunicorn --preload -w 2 app_flask_own:app", processes=2, auto=False)
        self.assertEqual(len([s for s in spans if s.name == "inner"]), len([s for s in spans if s.kind == 2]))
        self.assertEqual([s for s in spans if s.name == "boot"], [])  # the arbiter's, which does not serve
        self.assertEqual({s.resource.get("own") for s in spans}, {"yes"})

    def test_own_provider_and_auto(self):
        spans, _ = self.run_one("gunicorn -w 2 app_flask_own:app", processes=2)
        self.assertEqual(len([s for s in spans if s.name == "boot"]), 2)
        self.assertEqual({s.resource.get("own") for s in spans}, {"yes"})

    def test_uvicorn(self):
        self.run_one("uvicorn app_fastapi:app --fd 3")

    def test_uvicorn_without_our_socket(self):
        self.run_one("uvicorn app_fastapi:app --port {PORT}", listen=False, port_key=True)

    def test_uvicorn_workers(self):
        self.run_one("uvicorn app_fastapi:app --fd 3 --workers 2", processes=2)

    def test_uvicorn_reload(self):
        self.run_one("uvicorn app_fastapi:app --fd 3 --reload")

    def test_uvicorn_run_of_a_program(self):
        with Served("python %s/apps/app_uvicorn_run.py" % HERE) as served:
            self.check(served)
            main = json.loads(served.status("--json"))["services"][0]["workers"][0]["pid"]
            self.assertEqual(served.get("/who"), str(main))  # no child of a reloader
            with open("/proc/%d/net/tcp" % main) as file:
                listening = [row for row in file if row.split()[3] == "0A" and row.split()[1].endswith(":%04X" % served.port)]
            self.assertEqual(len(listening), 1)  # ours, and no second one

    def test_hypercorn(self):
        self.run_one("hypercorn -b fd://3 app_fastapi:app")

    def test_hypercorn_workers(self):
        self.run_one("hypercorn -w 2 -b fd://3 app_fastapi:app", processes=2)

    def test_granian(self):
        self.run_one("granian --interface asgi --workers 2 --port {PORT} app_fastapi:app", processes=2, listen=False, port_key=True)

    def test_django_runserver_on_our_socket(self):
        self.run_one("python %s/apps/manage.py runserver {PORT}" % HERE, env={"PYTHONPATH": ""})

    def test_opentelemetry_instrument(self):
        self.run_one("opentelemetry-instrument gunicorn -w 2 app_flask:app", processes=2, auto=False)

    def test_opentelemetry_instrument_and_reload(self):
        self.run_one("opentelemetry-instrument uvicorn app_fastapi:app --fd 3 --reload", auto=False)

    def test_siblings_that_listen_each(self):
        self.run_one("python %s/app_siblings.py" % APPS, processes=2, listen=False, port_key=True)

    def test_a_program_that_executes_itself_anew(self):
        with Served("python %s/app_exec.py" % APPS) as served:
            pid = served.get("/a")
            for path in ("/b", "/c"):
                served.get("/again")
                self.assertEqual(served.get(path), pid, served.printed())
            served.wait_for(lambda: {"/a", "/b", "/c"} <= set(served.paths()), "span of each request")
            self.assertEqual(len({s.resource["service.instance.id"] for s in served.sink.of()}), 3)

    def test_celery_loses_no_task_of_one_task_children(self):
        import subprocess

        for pool, processes in (("prefork --max-tasks-per-child 1", 12), ("prefork", 2), ("solo", 1), ("threads", 1)):
            with tempfile.TemporaryDirectory() as folder:
                environment = {"TEST_FOLDER": folder, "C_FORCE_ROOT": "1"}
                command = "celery -A app_celery worker -c 2 --pool " + pool
                with Served(command, listen=False, env=environment, answers=False) as served:
                    sender = dict(os.environ, PYTHONPATH=APPS, **environment)
                    subprocess.run([sys.executable, APPS + "/app_celery.py", "12"], env=sender, check=True, timeout=30)
                    runs = lambda: [s for s in served.sink.of() if s.name == "run/app_celery.work"]  # noqa: E731
                    served.wait_for(lambda: len(runs()) >= 12, "span of each task with " + pool, 40)
                    self.assertEqual(len({s.id for s in runs()}), 12)
                    self.assertEqual(len(runs()), 12)
                    ids = {s.resource["service.instance.id"] for s in served.sink.of()}
                    self.assertLessEqual(len(ids), processes)
                    self.assertEqual(len(ids), len({s.resource["process.pid"] for s in served.sink.of()}))

    def test_instrumented_in_the_lifespan(self):
        with Served("uvicorn app_fastapi_lifespan:app --fd 3", auto=False) as served:
            self.check(served)
            served.wait_for(lambda: any(n == "answers" for n, _ in served.sink.metrics), "metric")
            served.wait_for(lambda: len({b for b, _ in served.sink.logs}) > REQUESTS, "log of each request")
            bodies = [b for b, _ in served.sink.logs if b != "answered /up"]
            self.assertEqual(len(bodies), len(set(bodies)))
            ids = {r["service.instance.id"] for _, r in served.sink.logs + served.sink.metrics}
            self.assertEqual(ids, {s.resource["service.instance.id"] for s in served.sink.of()})

    def test_killed_workers_lose_no_finished_span(self):
        with Served("gunicorn -w 2 --threads 4 app_flask:app") as served:
            answered, end, kills = [], time.monotonic() + 8, 0
            lock = threading.Lock()

            def load(number):
                n = 0
                while time.monotonic() < end:
                    path = "/k%d-%d" % (number, n)
                    pid = served.get(path)
                    if pid:
                        with lock:
                            answered.append((path, pid))
                    n += 1
                    time.sleep(0.018)

            threads = [threading.Thread(target=load, args=(i,)) for i in range(4)]
            for thread in threads:
                thread.start()
            while time.monotonic() < end - 0.5:
                time.sleep(0.35)
                try:
                    os.kill(int(answered[-1][1]), signal.SIGKILL)
                    kills += 1
                except ProcessLookupError:
                    pass  # nobody has answered since
            for thread in threads:
                thread.join()
            missing = lambda: [p for p, _ in answered if p not in served.paths()]  # noqa: E731
            try:
                served.wait_for(lambda: not missing(), "span of each answer")
            finally:
                print("%d kills, %d answers, %d without a span" % (kills, len(answered), len(missing())), file=sys.stderr)
            # What was open at a kill is closed by runmain, and has no path.
            self.assertEqual({n for p, n in served.paths().items() if p}, {1}, served.paths().most_common(5))
            self.assertGreaterEqual(kills, 5)
            self.assertGreater(len(answered), 5 * kills)


if __name__ == "__main__":
    unittest.main()
