"""Runners: who of their processes serves, and who only starts others.

Invariants: an arbiter, supervisor or reloader's parent never claims; a worker claims explicitly, since several of one
program may serve. Non-goals: programs that just listen (_serving), reloaders within the program (_reloaders).
"""
import functools
import os
import sys

from . import _process

is_known = False  # a runner of these runs the program, also seen by its forks


def launch():
    _process.current().is_launcher = True
    _note_known()


def serve():
    _note_known()
    return _process.current().claim(explicit=True)


def _note_known():
    global is_known
    is_known = True
    reloaders = sys.modules.get(__package__ + "._reloaders")
    if reloaders is not None:
        reloaders.not_werkzeug()


def _wrap(owner, name, before):
    original = getattr(owner, name, None)
    if original is None or getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    def call(*args, **kwargs):
        before()
        return original(*args, **kwargs)

    call._runmain = True
    setattr(owner, name, call)


def _launches(owner, *names):
    for name in names:
        _wrap(owner, name, launch)


def _serves(owner, *names):
    for name in names:
        _wrap(owner, name, serve)


def _serves_async(owner, name):
    original = getattr(owner, name)
    if getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    async def call(*args, **kwargs):
        serve()
        return await original(*args, **kwargs)

    call._runmain = True
    setattr(owner, name, call)


# ---- gunicorn, uvicorn, hypercorn, granian, celery, RQ, watchfiles


def uvicorn_multiprocess(module):
    _launches(module.Multiprocess, "run")


def uvicorn_reload(module):
    _launches(module.BaseReload, "run")


def uvicorn_server(module):
    _serves_async(module.Server, "startup")


def hypercorn_asyncio(module):
    _serves(module, "asyncio_worker", "uvloop_worker")


def hypercorn_trio(module):
    _serves(module, "trio_worker")


def granian_command(module):
    """Before Click's span of the command, which would last as long as the server; not in a worker that was spawned."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    parent = getattr(multiprocessing, "parent_process", None)
    if parent is None or parent() is None:
        launch()


def granian(module):
    # What a worker makes before it accepts, in Rust.
    _serves(module, "ASGIWorker", "RSGIWorker", "WSGIWorker")


def celery_command(module):
    """The command imports the tasks before it makes its pool."""
    if "worker" in sys.argv[1:] and _pool_of(sys.argv) in ("", "prefork", "processes"):
        launch()


def _pool_of(arguments):
    for argument, following in zip(arguments, arguments[1:] + [""]):
        if argument in ("-P", "--pool"):
            return following
        if argument.startswith("--pool="):
            return argument[len("--pool=") :]
        if argument.startswith("-P"):
            return argument[2:]
    return ""


_prefork_pid = 0


def celery_prefork(module):
    _wrap(module.TaskPool, "on_start", _begin_prefork)


def _begin_prefork():
    global _prefork_pid
    _prefork_pid = os.getpid()
    launch()


def rq_command(module):
    """The command imports what it is told to before it makes a worker."""
    if sys.argv[1:2] in (["worker"], ["worker-pool"]):
        launch()


def rq(module):
    """The main process takes jobs, and a work horse is forked for each, which ends by os._exit()."""
    simple = getattr(module, "SimpleWorker", None)
    original = module.Worker.work
    if getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    def work(self, *args, **kwargs):
        if simple is not None and isinstance(self, simple):
            serve()
        else:
            launch()
        return original(self, *args, **kwargs)

    work._runmain = True
    for one in (module.Worker, simple):  # of newer ones they are brothers
        if one is not None and not getattr(one.work, "_runmain", False):
            one.work = work
    _serves(module.Worker, "main_work_horse")


def watchfiles(module):
    _launches(module, "run_process")


def gunicorn_arbiter(module):
    # The program is preloaded in here, before start().
    _launches(module.Arbiter, "__init__")


def gunicorn_worker(module):
    # After the fork; the application is loaded in here, unless it was preloaded.
    _serves(module.Worker, "init_process")


def uwsgi(module):
    """It forks in C after the program was imported, unless told otherwise, and calls one hook in the child."""
    if getattr(type(module), "_runmain", False):
        return

    class Module(type(module)):
        _runmain = True

        def __setattr__(self, name, value):
            super().__setattr__(name, _after_serving(value) if name == "post_fork_hook" else value)

    if module.worker_id() == 0:
        launch()  # the master; a process without one calls the hook, too
    else:
        serve()  # --lazy-apps: the hook is over
    module.__class__ = Module
    module.post_fork_hook = getattr(module, "post_fork_hook", None)


def _after_serving(hook):
    def post_fork():
        if sys.modules["uwsgi"].worker_id() > 0:  # not in mules and spoolers
            serve()
        if hook is not None:
            hook()

    return post_fork


def hypercorn(module):
    original = module.run
    if getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    def run(config):
        if config.workers != 0:
            launch()
        return original(config)

    run._runmain = True
    module.run = run


def celery(module):
    module.worker_process_init.connect(celery_process_init, weak=False)
    module.worker_ready.connect(celery_ready, weak=False)


def celery_process_init(*args, **kwargs):
    """A pool's process is ready for tasks; also sent by the solo pool."""
    serve()


def celery_ready(*args, **kwargs):
    """Of a pool of threads, the main process serves; of a prefork pool, it does not."""
    if _prefork_pid != os.getpid():
        serve()
