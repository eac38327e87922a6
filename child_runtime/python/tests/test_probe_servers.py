"""Servers under the probe: each process has a file with what it does, and the same processes are initialised as without."""
import os
import re
import shutil
import signal
import sys
import unittest

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]

from probed import BIN, HERE, Probed, Server, free_port

APPS = os.path.join(HERE, "apps")


@unittest.skipUnless(shutil.which("opentelemetry-instrument", path=BIN), "no opentelemetry-instrument here")
class ServersTest(Probed):
    def serve(self, command, automatic=True, signals=(signal.SIGTERM,), until=lambda: True):
        """Without the probe and with it (then `until` this is true), at one port; what was initialised in both."""
        before, port, noted = ["opentelemetry-instrument"] if automatic else [], free_port(), []
        for probe in (False, True):
            self.fresh()
            more = {"OTEL_EXPORTER_OTLP_ENDPOINT": self.receiver.endpoint}  # a collector that is gone delays the end
            environment = self.environment(probe=probe, path=(self.witness(), APPS), **more)
            with Server([*before, *command], port, environment, self.folder, signals) as server:
                self.assertNotIn("Not Found", server.answer("/x"))
                if probe:
                    server.wait_until(until)
            noted.append(self.noted())
        without, ours = noted
        self.assertEqual(ours, without)  # numbers of descriptors in arguments are the same, too
        return ours

    def is_serving(self, pid):
        return any(one["kind"] == 2 and one["pid"] == pid for one in self.records("start"))

    def handlers_of_workers(self):
        """pids: gunicorn's workers that have handlers of their own."""
        found = [one for one in self.records("signal") if one["signal"] == "SIGTERM"]
        return {one["pid"] for one in found if "/workers/" in one["handler"]}

    def test_uvicorn_with_its_reloader(self):
        noted = self.serve(["python", "-m", "uvicorn", "app_fastapi:app", "--reload", "--port", "{PORT}"])
        processes = self.by_process()
        self.assertEqual(len(processes), 3)  # the reloader, the resource tracker, the server
        made = {one["pid"] for one in self.records("provider")}
        self.assertEqual(len(made), len(noted))
        parent = next(pid for pid, records in processes.items() if any(one["ppid"] == os.getpid() for one in records if one["k"] == "process"))
        self.assertIn(parent, made)
        serving = [pid for pid in processes if self.is_serving(pid)]
        if len(noted) == 1:  # before 0.63 only the reloader is instrumented
            self.assertEqual((made, serving), ({parent}, []))
        else:
            self.assertEqual(len(serving), 1)
            self.assertNotEqual(serving[0], parent)
            self.assertIn("fastapi", [one["library"] for one in self.records("instrument") if one["pid"] == serving[0]])

    def test_flask_with_its_reloader(self):
        noted = self.serve(["flask", "--app", "app_probe_flask", "run", "--debug", "--port", "{PORT}"], signals=(signal.SIGINT,))
        processes = self.by_process()
        self.assertEqual(len(processes), 2)
        made = {one["pid"] for one in self.records("provider")}
        self.assertEqual(len(made), len(noted))
        serving = [pid for pid in processes if self.is_serving(pid)]
        self.assertEqual(len(serving), len(noted) - 1)
        child = next(pid for pid, records in processes.items() if records[0]["ppid"] in processes)
        self.assertTrue(set(serving) <= {child})

    def test_gunicorn_that_preloads_and_sets_up_again_after_the_fork(self):
        # One that is signalled before it has its handlers would be waited for: gunicorn's own race, 30 s of it.
        command = ["gunicorn", "--preload", "--graceful-timeout", "2", "-c", APPS + "/app_probe_preload.py", "-b", "127.0.0.1:{PORT}", "-w", "2", "app_probe_preload:make_app()"]
        self.serve(command, automatic=False, until=lambda: len(self.handlers_of_workers()) == 2)
        processes = self.by_process()
        forks = self.records("fork")
        self.assertEqual((len(processes), len(forks)), (3, 2))
        arbiter = forks[0]["parent"]
        self.assertEqual({one["parent"] for one in forks}, {arbiter})
        provider = next(one for one in self.records("provider") if one["pid"] == arbiter)
        boot = next(one for one in self.records("start") if one["name"] == "boot")
        self.assertEqual(boot["pid"], arbiter)
        for fork in forks:
            self.assertEqual(fork["providers"], [provider["id"]])
            self.assertEqual([one["span"] for one in fork["open"]], [boot["span"]])
            in_worker = {one["k"]: one for one in processes[fork["pid"]]}
            self.assertEqual((in_worker["set"]["accepted"], in_worker["set"]["first_pid"]), (False, arbiter))
            self.assertRegex(" ".join(in_worker["set"]["stack"]), re.escape(APPS) + "/app_probe_preload.py:[0-9]+ post_fork")
        self.assertEqual(self.handlers_of_workers(), {one["pid"] for one in forks})
        serving = [pid for pid in processes if self.is_serving(pid)]
        self.assertTrue(serving and set(serving) <= {one["pid"] for one in forks})
        self.assertTrue({one["pid"] for one in self.records("export") if one["ok"]} >= set(serving))
        self.assertIn("gunicorn", [one["name"] for one in self.records("package")])


if __name__ == "__main__":
    unittest.main()
