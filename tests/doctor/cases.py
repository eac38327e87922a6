"""Programs and what is wrong with them, one row each: sick ones by one cause or by two, and clean ones.

In a command @PORT@ is the port, in the environment @DEAD@ is a collector that accepts nothing, @REFUSED@ one where
nobody listens, @AUDIT@ a second living one, and @INJECTOR@ a library named as the injector's.
"""
from dataclasses import dataclass

CAUSES = {
    1: "double-init", 2: "auto-and-manual", 3: "exporter-twice", 4: "reloader-both", 5: "preload-fork",
    6: "wrong-process", 7: "too-late", 8: "nothing-instrumented", 9: "shared-instance-id", 10: "refused-after-fork",
    11: "sigterm-swallowed", 12: "lost-at-exit", 13: "dead-collector", 14: "never-activated", 15: "never-ended",
    16: "repeated-ids", 17: "sdk-and-injector"}
EITHER, NEW, OLD = ("current", "0.62"), ("current",), ("0.62",)
NODE = "Node"


@dataclass
class Case:
    name: str
    framework: str              # Flask, FastAPI, Django, Node
    command: str
    expected: frozenset         # of CAUSES' words
    sets: tuple                 # of packages; Node's programs have one set, which counts as current
    environment: dict
    old: frozenset              # expected with 0.62
    brief: bool = False         # one of those that are run at each build

    def expects(self, which):
        return self.old if which == "0.62" else self.expected

    def words(self, port):
        return self.command.replace("@PORT@", str(port))


def named(numbers):
    return frozenset(CAUSES[number] for number in numbers)


def case(name, framework, command, *numbers, sets=EITHER, old=None, brief=False, **environment):
    """`old`: the causes with 0.62, where they are others."""
    sets = NEW if framework == NODE else sets
    return Case(name, framework, command, named(numbers), sets, environment, named(numbers if old is None else old), brief)


OTEL = "opentelemetry-instrument "
UVICORN = "uvicorn --host 127.0.0.1 --port @PORT@ "
FLASK = "flask --app %s run -p @PORT@"
AGAIN = "gunicorn -c gunicorn_again.py --preload "
REGISTER = {"NODE_OPTIONS": "--require @opentelemetry/auto-instrumentations-node/register"}
ID = {"OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=shop-1"}
OWN = {"FASTAPI_OTEL_AUTO_CONFIGURE": "true"}     # the newest FastAPI sets tracing up by itself

ALONE = [
    case("set up by factory and script", "Flask", "python double_init_flask.py", 1, brief=True),
    case("set up by program and by opentelemetry-instrument", "FastAPI", OTEL + UVICORN + "double_init_auto:app", 1),
    case("set up by two modules", NODE, "node double_init.js", 1, brief=True),
    case("set up by program and by the register", NODE, "node clean.js", 1, **REGISTER),
    case("middleware by hand, Flask", "Flask", OTEL + FLASK % "auto_and_manual_flask", 2),
    case("middleware by hand, FastAPI", "FastAPI", OTEL + UVICORN + "auto_and_manual_fastapi:app", 2, brief=True),
    case("middleware and instrumentor in code", "FastAPI", UVICORN + "auto_and_manual_code:app", 2),
    case("Starlette's middleware and instrumentor", "FastAPI", UVICORN + "auto_and_manual_starlette:app", 2, sets=NEW),
    case("server spans by hand", NODE, "node auto_and_manual.js", 2, **REGISTER),
    case("exporter twice, Flask", "Flask", "python exporter_twice_flask.py", 3, brief=True),
    case("exporter twice, added", "FastAPI", OTEL + UVICORN + "exporter_twice_fastapi:app", 3),
    case("exporter twice, FastAPI's own", "FastAPI", UVICORN + "clean_fastapi:app", 3, sets=NEW, **OWN),
    case("exporter twice, Node", NODE, "node exporter_twice.js", 3),
    case("debug=True", "Flask", "python reloader_both_flask.py", 4, brief=True),
    # Below 0.63 the child's environment has lost opentelemetry-instrument's folder: nobody who serves is instrumented.
    case("flask run --debug", "Flask", OTEL + FLASK % "hello_flask" + " --debug", 4, old=(6,)),
    case("uvicorn --reload", "FastAPI", OTEL + UVICORN + "--reload hello_fastapi:app", 4, old=(6,), brief=True),
    case("uvicorn --workers", "FastAPI", OTEL + UVICORN + "--workers 2 hello_fastapi:app", 4, old=(6,)),
    case("nodemon", NODE, "nodemon hello.js", 4, **REGISTER),
    case("preload and post_fork", "Flask", AGAIN + "preload_fork:app", 5, brief=True),
    case("preload and post_fork, Uvicorn's workers", "FastAPI",
         AGAIN + "-k uvicorn_worker.UvicornWorker preload_fork_fastapi:app", 5),
    case("opentelemetry-instrument and post_fork", "Flask", OTEL + "gunicorn -c gunicorn_again.py hello_flask:app", 5),
    case("a span open at the fork", "Flask", "gunicorn -c gunicorn_open.py preload_fork_open:app", 5),
    case("set up by the script that starts workers", "FastAPI", "python wrong_process.py", 6, brief=True),
    case("set up by the script that starts a server", NODE, "node wrong_process.js", 6),
    # The newest FastAPI makes server spans itself, where nobody has instrumented the app and a provider is set.
    case("instrumented in the lifespan", "FastAPI", UVICORN + "too_late:app", old=(7,)),
    case("instrumented after the app was made", "Flask", "python too_late_flask.py", 7, brief=True),
    case("loaded before tracing", NODE, "node too_late.js", 7),
    case("post_fork that only sets the provider", "Flask", "gunicorn -c gunicorn_workers.py hello_flask:app", 8,
         brief=True),
    case("a provider only", "FastAPI", UVICORN + "nothing_instrumented:app", old=(8,), brief=True),
    case("a provider only, Node", NODE, "node nothing_instrumented.js", 8),
    case("instance id from the environment, gunicorn", "Flask",
         "gunicorn -c gunicorn_workers.py shared_instance_id:app", 9, brief=True, **ID),
    case("instance id from the environment, uvicorn", "FastAPI", UVICORN + "--workers 2 clean_fastapi:app", 9, **ID),
    case("ended before the fork", "Flask", "gunicorn -c gunicorn_refused.py preload_fork:app", 10, brief=True),
    case("ended before the fork, Uvicorn's workers", "FastAPI",
         "gunicorn -c gunicorn_refused.py -k uvicorn_worker.UvicornWorker preload_fork_fastapi:app", 10),
    case("SIGTERM only ends tracing", "Flask", "python sigterm_swallowed.py", 11),
    case("SIGTERM only ends tracing, Node", NODE, "node sigterm_swallowed.js", 11),
    case("SIGTERM and the register", NODE, "node hello_plain.js", 11, brief=True, **REGISTER),
    case("os._exit at SIGTERM", "Flask", "python lost_at_exit_flask.py", 12, brief=True),
    case("killed by its starter", "Flask", "python lost_at_exit_kill.py", 12),
    case("a forked process for each request", "FastAPI", UVICORN + "lost_at_exit_fork:app", 12),
    case("process.exit at SIGTERM", NODE, "node lost_at_exit.js", 12),
    case("a collector that accepts nothing", "FastAPI", UVICORN + "clean_fastapi:app", 13, brief=True,
         OTEL_EXPORTER_OTLP_ENDPOINT="@DEAD@"),
    case("a collector that is not there", "Flask", "python clean_flask.py", 13, OTEL_EXPORTER_OTLP_ENDPOINT="@REFUSED@"),
    case("a collector that accepts nothing, Node", NODE, "node clean.js", 13, OTEL_EXPORTER_OTLP_ENDPOINT="@DEAD@"),
    case("never activated, Flask", "Flask", "python never_activated.py", 14, brief=True),
    case("never activated, Node", NODE, "node never_activated.js", 14),
    case("never ended, FastAPI", "FastAPI", UVICORN + "never_ended:app", 15, brief=True),
    case("never ended, Node", NODE, "node never_ended.js", 15),
    case("random.seed, gunicorn", "Flask", "gunicorn -c gunicorn_workers.py repeated_ids:app", 16, brief=True),
    case("random.seed, uvicorn", "FastAPI", UVICORN + "--workers 2 repeated_ids_fastapi:app", 16),
    case("injector, Flask", "Flask", "python clean_flask.py", 17, LD_PRELOAD="@INJECTOR@"),
    case("injector, Node", NODE, "node clean.js", 17, brief=True, LD_PRELOAD="@INJECTOR@"),
]

PAIRS = [
    case("1+2", "FastAPI", OTEL + UVICORN + "pair_1_2:app", 1, 2),
    case("1+2, Node", NODE, "node pair_1_2.js", 1, 2, **REGISTER),
    case("1+3", "Flask", "python pair_1_3.py", 1, 3),
    case("1+4", "FastAPI", "python pair_1_4.py", 1, 4),
    case("1+5", "Flask", AGAIN + "pair_1_5:app", 1, 5),
    case("2+3", "FastAPI", OTEL + UVICORN + "pair_2_3:app", 2, 3),
    case("2+4", "Flask", "python pair_2_4.py", 2, 4),
    case("2+4, uvicorn --reload", "FastAPI", OTEL + UVICORN + "--reload auto_and_manual_fastapi:app", 2, 4, old=(6,)),
    case("2+4, Node", NODE, "nodemon auto_and_manual.js", 2, 4, **REGISTER),
    case("2+5", "Flask", AGAIN + "pair_2_5:app", 2, 5),
    case("3+4", "Flask", "python pair_3_4.py", 3, 4),
    case("3+5", "Flask", "gunicorn -c gunicorn_more.py preload_fork:app", 3, 5),
    case("4+5", "Flask", "python pair_4_5.py", 4, 5),
]

CLEAN = [
    case("clean: Flask", "Flask", "python clean_flask.py", brief=True),
    case("clean: Flask, reloader guarded", "Flask", "python clean_guarded.py", brief=True),
    case("clean: FastAPI with a lifespan", "FastAPI", UVICORN + "clean_fastapi:app"),
    case("clean: FastAPI's own tracing", "FastAPI", UVICORN + "hello_fastapi:app", sets=NEW, **OWN),
    case("clean: opentelemetry-instrument flask run", "Flask", OTEL + FLASK % "hello_flask", brief=True),
    case("clean: gunicorn with post_fork", "Flask", "gunicorn -c gunicorn_workers.py hello_instrumented:app", brief=True),
    case("clean: preload and post_fork", "Flask", "gunicorn --preload -c gunicorn_workers.py hello_instrumented:app"),
    case("clean: uvicorn --workers", "FastAPI", UVICORN + "--workers 2 clean_fastapi:app"),
    case("clean: Node", NODE, "node clean.js", brief=True),
    case("clean: Node with the register", NODE, "node hello.js", **REGISTER),
    # Node's own watcher loads no --require in its parent.
    case("clean: node --watch", NODE, "node --watch hello.js", **REGISTER),
    case("clean: span ids again in other traces", "Flask", "python clean_counted_ids.py", brief=True),
    case("clean: console and OTLP", "Flask", "python clean_console.py"),
    case("clean: two providers on purpose", "FastAPI", UVICORN + "clean_two_providers:app", AUDIT_ENDPOINT="@AUDIT@"),
    case("clean: long spans in the background", "FastAPI", UVICORN + "clean_background:app"),
    case("clean: Django", "Django", "gunicorn -b 127.0.0.1:@PORT@ clean_django:app"),
]

CASES = ALONE + PAIRS + CLEAN


def runs(only, sets, brief):
    """(case, set) in the order in which they run."""
    for which in sets:
        for one in CASES:
            if which in one.sets and (one.brief or not brief) and (not only or any(word in one.name for word in only)):
                yield one, which
