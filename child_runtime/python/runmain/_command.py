"""What this process was started as: `flask run`, `manage.py runserver`, a script, another server, opentelemetry-instrument.

Invariant: read from the words alone; nothing is imported for it. Non-goals: who claims (_runners), what is told about
reloaders (_reloaders).
"""
import os
import sys

# Programs that serve or work by themselves, whatever they import of Werkzeug: none of them calls run_simple().
_OTHERS = frozenset(
    """celery daphne django-admin dramatiq fastapi granian gunicorn gunicornc huey_consumer hypercorn py.test pytest rq
    rqworker taskiq uvicorn uwsgi waitress waitress-serve""".split()
)
_DJANGO = ("manage", "django-admin", "django")
_FLASK_VALUES = ("-A", "--app", "-e", "--env-file")  # options of `flask` with a value of their own


def may_run_werkzeug():
    """Whether it may be Werkzeug's server that serves: known of a command, possible for a script."""
    name, words = _command()
    if name == "flask":
        return _first_word(words) == "run"
    if name in _DJANGO:
        return words[:1] == ["run"] or runs_django_server()  # by Flask's groups of commands, or django-extensions
    return name not in _OTHERS


def runs_django_server():
    return sys.argv[1:] != [] and sys.argv[1].startswith("runserver")


def _command():
    """The program's name, and its arguments."""
    words = list(getattr(sys, "argv", ())) or [""]
    if words[0] == "-m":  # its package is being imported
        return _module(), words[1:]
    folder, name = os.path.split(words[0])
    if name in ("__main__.py", "__init__.py"):
        name = os.path.basename(folder)
    return (name[:-3] if name.endswith(".py") else name), words[1:]


def _module():
    """Of `python -m MODULE`; the package of it."""
    words = getattr(sys, "orig_argv", None) or _words_of_kernel()
    for word, following in zip(words, words[1:] + [""]):
        if word.startswith("-m") and word != "-m":
            following = word[2:]
        if word.startswith("-m"):
            return following.partition(".")[0]
    return ""


def _words_of_kernel():
    """Before Python 3.10."""
    try:
        with open("/proc/self/cmdline", "rb") as file:
            return [os.fsdecode(word) for word in file.read().split(b"\0")]
    except OSError:
        return []


def _first_word(words):
    """The first that is no option of `flask`, nor the value of one."""
    is_value = False
    for word in words:
        if not is_value and not word.startswith("-"):
            return word
        is_value = not is_value and word in _FLASK_VALUES
    return ""


# ---- opentelemetry-instrument


def opentelemetry_instrument(module):
    """Its run() puts its own folder, with a sitecustomize, in front of ours and executes the program."""
    execute = getattr(module, "execl", None)
    if execute is None or getattr(execute, "_runmain", False):
        return
    theirs = os.path.dirname(os.path.abspath(module.__file__))
    ours = bootstrap_folder()

    def execl(*args):
        parts = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p not in (theirs, ours)]
        # Ours does what theirs would do, once, and in who serves only.
        os.environ["PYTHONPATH"] = os.pathsep.join([ours] + parts)
        os.environ["RUNMAIN_AUTO"] = "1"
        execute(*args)

    execl._runmain = True
    module.execl = execl


def bootstrap_folder():
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bootstrap")
