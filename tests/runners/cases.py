"""The runners of the matrix, one row each. @PORT@ stands for the port.

`plain` is the command as people give it; `command` the same under `runmain dev` or `runmain serve`, where it differs.
"""
from dataclasses import dataclass

DJANGO = {"DJANGO_SETTINGS_MODULE": "site1.settings"}


@dataclass
class Case:
    name: str
    plain: str              # none: as another row
    files: tuple            # of programs/; the first one is saved
    under: str = "dev"      # runmain's command, with its flags
    command: str = ""
    processes: int = 1      # that serve at a time
    owned: bool = True      # runmain holds the socket and reloads: no request may be lost …
    drops: bool = False     # … but by the program's own end, which closes what it has accepted and not yet read
    reloads: str = "watch"  # who reloads without runmain: "watch" (itself), "hup" (at SIGHUP), "" (nobody)
    preload: bool = False   # the program is imported by a process that does not serve, as the user asked for
    start_up: str = "start-up"      # the span that the program makes once, before it serves; "": none
    brief: bool = False     # one of those that are run at each build
    language: str = "python"
    environment: tuple = ()
    sets: tuple = ("current", "0.62")

    def words(self, port, plain):
        return (self.plain if plain else self.command or self.plain).replace("@PORT@", str(port))


FLASK, FASTAPI = ("flask_app.py",), ("fastapi_app.py",)
SITE = ("site1/urls.py", "site1/settings.py", "site1/__init__.py", "manage.py")
LISTEN = " --listen 127.0.0.1:@PORT@"
PATIENT = " --timeout-worker-healthcheck 60"     # else it ends workers that have not started after 5 s, as on a busy machine
SERVE = "serve --roll at-once"

CASES = [
    Case("flask run", "flask --app flask_app run -p @PORT@", FLASK, reloads=""),
    Case("flask run --debug", "flask --app flask_app run --debug -p @PORT@", FLASK, brief=True),
    Case("app.run(debug=True)", "python flask_app.py", FLASK, brief=True),
    Case("Django runserver", "python manage.py runserver @PORT@", SITE, owned=False, environment=tuple(DJANGO.items())),
    Case("uvicorn --reload", "uvicorn fastapi_app:app --reload --port @PORT@", FASTAPI, brief=True),
    Case("uvicorn --workers 2", "uvicorn fastapi_app:app --workers 2 --port @PORT@" + PATIENT, FASTAPI, under=SERVE,
         processes=2, drops=True, reloads="hup"),
    Case("uvicorn, workers of runmain", "", FASTAPI, under=SERVE + " --workers 2",
         command="uvicorn fastapi_app:app --port @PORT@", processes=2,
         sets=("current",)),
    Case("fastapi dev", "fastapi dev fastapi_app.py --port @PORT@", FASTAPI),
    Case("gunicorn -w 2", "gunicorn -w 2 -b 127.0.0.1:@PORT@ flask_app:app", FLASK, under=SERVE, processes=2,
         reloads="hup", brief=True),
    Case("gunicorn -w 2 --preload", "gunicorn -w 2 --preload -b 127.0.0.1:@PORT@ flask_app:app", FLASK, under=SERVE,
         processes=2, reloads="", preload=True, brief=True),
    Case("gunicorn, workers of runmain", "", FLASK, under=SERVE + " --workers 2",
         command="gunicorn -b 127.0.0.1:@PORT@ flask_app:app", processes=2,
         sets=("current",)),
    Case("gunicorn -k uvicorn_worker", "gunicorn -w 2 -k uvicorn_worker.UvicornWorker -b 127.0.0.1:@PORT@ fastapi_app:app",
         FASTAPI, under=SERVE, processes=2, drops=True, reloads="hup"),
    Case("hypercorn -w 2", "hypercorn -w 2 -b 127.0.0.1:@PORT@ fastapi_app:app", FASTAPI, under=SERVE, processes=2,
         drops=True, reloads=""),
    Case("granian --workers 2", "granian --interface asgi --workers 2 --port @PORT@ fastapi_app:app", FASTAPI, under=SERVE,
         processes=2, owned=False, reloads="hup"),
    Case("uwsgi -p 2", "uwsgi --master -p 2 --enable-threads --http-socket 127.0.0.1:@PORT@ -w flask_app:app --die-on-term",
         FLASK, under=SERVE + " --workers 1" + LISTEN,
         command="uwsgi --master -p 2 --enable-threads --http-socket fd://{fd} -w flask_app:app --die-on-term",
         processes=2, owned=False, reloads="", preload=True),
    Case("celery worker -c 2", "celery -A tasks worker -c 2 -l warning", ("tasks.py", "publish.py"), under=SERVE,
         processes=2, owned=False, reloads="", preload=True),
    Case("watchfiles", "watchfiles --filter python 'uvicorn fastapi_app:app --port @PORT@'", FASTAPI),
    Case("node", "node server.js", ("server.js",), owned=False, reloads="", brief=True, language="node"),
    Case("node --watch", "node --watch server.js", ("server.js",), owned=False, language="node"),
    Case("npm run dev", "npm run dev", ("server.js", "package.json"), owned=False, reloads="", language="node"),
    Case("tsx watch", "tsx watch server.ts", ("server.ts",), owned=False, language="node"),
    Case("nodemon", "nodemon server.js", ("server.js",), owned=False, language="node"),
    Case("node cluster", "node cluster.js", ("server.js", "cluster.js"), processes=2, owned=False, reloads="",
         brief=True, language="node"),
]


def runs(only, sets, plain, brief=False):
    """(case, set) in the order in which they run; Node's programs have one set."""
    for which in sets:
        for case in CASES:
            if only and not any(word in case.name for word in only):
                continue
            if (plain and not case.plain) or (brief and not case.brief):
                continue
            if which in case.sets and (case.language == "python" or which == "current"):
                yield case, which
