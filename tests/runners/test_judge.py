"""What tests/runners judges, judged: `python3 -m unittest discover tests/runners`."""
import importlib.machinery
import importlib.util
import os
import sys
import unittest

import cases
import judge
import load
import sink


def answers(*pids):
    found = load.Answers()
    found.pids = {f"trace{i}": pid for i, pid in enumerate(pids)}
    return found


def span(trace, pid, name="GET /", kind=sink.SERVER, number=0):
    resource = {"process.pid": pid, "service.instance.id": f"instance {pid}"}
    return sink.Span(trace, f"{name} {pid} {number}", "", name, kind, "", resource, {}, 0, 0)


def started(pid, number=0):
    return span(f"start {pid}", pid, "start-up", 1, number)


def faults(spans, generations=2, **more):
    case = cases.Case("a program", "", (), **more)
    return judge.judged(case, answers(1, 2), spans, set(), generations).faults


SERVED = [span("trace0", 1), span("trace1", 2)]


class Starts(unittest.TestCase):
    def test_one_start_up_span_of_each_process_is_right(self):
        self.assertEqual(faults([*SERVED, started(1), started(2)]), [])

    def test_a_start_up_span_that_is_lost_is_a_fault(self):
        self.assertEqual(faults([*SERVED, started(1)]), ["1 of 2 processes without their start-up span"])

    def test_a_process_that_makes_two_is_a_fault(self):
        self.assertEqual(faults([*SERVED, started(1), started(2), started(2, 1)]),
                         ["1 processes with more than one start-up span"])

    def test_one_of_a_process_that_does_not_serve_is_a_fault(self):
        self.assertIn("1 start-up spans of processes that do not serve",
                      faults([*SERVED, started(1), started(2), started(3)]))

    def test_a_preloaded_program_has_none(self):
        self.assertEqual(faults(SERVED, preload=True), [])
        self.assertIn("1 start-up spans of processes that do not serve", faults([*SERVED, started(3)], preload=True))

    def test_a_program_that_makes_none_is_not_asked_for_one(self):
        self.assertEqual(faults(SERVED, start_up=""), [])


class Requests(unittest.TestCase):
    def test_a_request_without_a_server_span_is_a_fault(self):
        self.assertIn("1 requests without a server span", faults([SERVED[0], started(1), started(2)]))

    def test_a_span_that_comes_twice_is_a_fault(self):
        self.assertEqual(faults([*SERVED, SERVED[0], started(1), started(2)]), ["1 spans came twice"])

    def test_two_processes_with_one_instance_id_are_a_fault(self):
        shared = [one._replace(resource=dict(one.resource, **{"service.instance.id": "one"}))
                  for one in (*SERVED, started(1), started(2))]
        self.assertIn("2 processes served with 1 instance ids", faults(shared))


class Reloads(unittest.TestCase):
    def test_each_set_of_packages_is_reloaded_ten_times_unless_it_is_to_be_brief(self):
        path = os.path.dirname(os.path.abspath(__file__)) + "/run"
        spec = importlib.util.spec_from_loader("run", importlib.machinery.SourceFileLoader("run", path))
        run = importlib.util.module_from_spec(spec)
        kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        self.addCleanup(setattr, sys, "dont_write_bytecode", kept)
        spec.loader.exec_module(run)
        for words, count in (([], 10), (["--set", "0.62"], 10), (["--set", "current"], 10), (["--brief"], 3),
                             (["--brief", "--reloads", "5"], 5), (["--plain"], 2)):
            self.assertEqual(run.reloads_of(run.options(["bin", "build", *words])), count, words)


if __name__ == "__main__":
    unittest.main()
