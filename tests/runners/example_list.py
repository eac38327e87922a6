"""The programs of examples/, one row each and one more behind opentelemetry-instrument: how they are run, and what is
expected of them. What cases.Case says counts here, too: `plain` is the command as people give it.
"""
from dataclasses import dataclass, replace

import cases

WRAPPER = "opentelemetry-instrument "


@dataclass
class Example(cases.Case):
    file: str = ""          # of examples/; it is the one that is saved
    start_up: str = ""
    auto: bool = False      # no telemetry in the code
    kind: str = "server"    # "job": ends by itself; "tasks": Celery's
    printed: int = 0        # spans a request, on the terminal
    nested: bool = False    # of a job: its spans nest


def example(file, command, note="", **more):
    return Example(file + (", " + note if note else ""), command, (), file=file, **more)


SERVE = {"under": "serve", "reloads": "hup", "processes": 2}
START = "load settings"


def flask(name, note="", command="", **more):
    return example(f"flask/{name}.py", command or f"python {name}.py", note, **more)


def fastapi(name, command, note="", **more):
    return example(f"fastapi/{name}.py", command, note, **more)


def uvicorn(name, flags, note, **more):
    return fastapi(name, f"uvicorn {name}:app {flags} --port @PORT@", note, **more)


SERVERS = [
    flask("module_level", start_up=START),
    flask("module_level", "--no-reload", "flask --app module_level run --debug --no-reload -p @PORT@", start_up=START),
    flask("guarded"),
    flask("no_reloader"),
    flask("factory", "", "flask --app factory run --debug -p @PORT@"),
    flask("console", printed=2),
    flask("auto", auto=True),
    flask("auto", "flask run --debug", "flask --app auto run --debug -p @PORT@", auto=True),
    flask("double_instrument"),
    flask("auto_and_manual", auto=True),
    flask("two_processors"),
    example("gunicorn/app.py", "gunicorn app:app", "preload and post_fork", preload=True, **SERVE),
    example("gunicorn/app.py", "gunicorn app:app", "--workers 1 --listen", preload=True,
            **dict(SERVE, under="serve --workers 1 --listen 127.0.0.1:@PORT@")),
    example("gunicorn-auto/app.py", "gunicorn -w 2 -b 127.0.0.1:@PORT@ app:app", auto=True, **SERVE),
    example("gunicorn-auto/app.py", "gunicorn -w 2 --preload -b 127.0.0.1:@PORT@ app:app", "--preload", auto=True,
            preload=True, **SERVE),
    example("gunicorn-auto/app.py", "gunicorn -b 127.0.0.1:@PORT@ app:app", "workers of runmain", auto=True,
            **dict(SERVE, under="serve --workers 2")),
    uvicorn("lifespan", "--reload", "--reload"),
    uvicorn("lifespan", "--workers 2", "--workers 2", drops=True, **SERVE),
    uvicorn("main", "--reload", "--reload", auto=True),
    uvicorn("main", "--workers 2", "--workers 2", auto=True, drops=True, **SERVE),
    uvicorn("main", "", "workers of runmain", auto=True, **dict(SERVE, under="serve --workers 2")),
    fastapi("main", "fastapi dev main.py --port @PORT@", "fastapi dev", auto=True),
    fastapi("programmatic", "python programmatic.py", "uvicorn.run(reload=True)", owned=False),
    fastapi("run_app", "python run_app.py", "uvicorn.run(app)", owned=False),
    example("django/manage.py", "python manage.py runserver @PORT@", owned=False),
    example("django/auto.py", "python auto.py runserver @PORT@", owned=False, auto=True),
]
NODE = [
    example("node/express.js", "node express.js", owned=False, auto=True, language="node"),
    example("node/express.js", "npm run dev", "npm run dev", owned=False, auto=True, language="node"),
    example("node/http.js", "node http.js", "--listen", auto=True, language="node",
            under="dev --no-runner --listen 127.0.0.1:@PORT@"),
]
REST = [
    example("asyncio/not_nested.py", "python not_nested.py", auto=True, kind="job"),
    example("asyncio/nested.py", "python nested.py", auto=True, kind="job", nested=True),
    example("celery/tasks.py", "celery -A tasks worker -c 2 -l warning", kind="tasks", **SERVE),
]


def wrapped(one):
    """The same with opentelemetry-instrument in front, which brings the instrumentation in place of --auto."""
    return replace(one, name=one.name + " °", plain=WRAPPER + one.plain, auto=False)


ALL = [row for one in SERVERS for row in (one, wrapped(one))] + NODE + REST
