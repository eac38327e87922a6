"""The calls of the package. Each works unsupervised, too."""
import contextlib
import os
import sys
import threading

from . import _environment, _process

_setup = None
_drains = []
_drain_pid = 0


class Setup:
    """What setup_tracing() did: `first` says whether this call did it, `where` which file and line did."""

    def __init__(self, first, where, pid):
        self.first, self.where, self.pid = first, where, pid

    def __repr__(self):
        return "%s at %s by process %d" % ("set up" if self.first else "already set up", self.where, self.pid)


def serving():
    """Whether this process serves: it holds the role, or runmain is not there."""
    return _process.current().serves


def serve():
    """Claims. True: this process serves."""
    return _process.current().claim(explicit=True)


def why_not_serving():
    return _process.current().why


def setup_tracing(instrument=True):
    """Starts the SDK, unless the program has set a provider, and with `instrument` the installed instrumentations.
    In a launcher (an arbiter that preloads the program) the SDK waits for the process that serves; in a helper of one
    nothing is started.

    Once in a process and its forks, whoever calls it how often, and after importlib.reload(), too. Returns a Setup.
    """
    global _setup
    if _setup is not None:
        return Setup(False, _setup.where, _setup.pid)
    frame = sys._getframe(1)
    _setup = Setup(True, "%s:%d" % (frame.f_code.co_filename, frame.f_lineno), os.getpid())
    if _environment.environment.void and not _environment.environment.is_plain:
        return _setup
    try:
        _set_up(instrument)
    except Exception as error:
        _process.tell("tracing could not be set up", error)
    return _setup


def _set_up(instrument):
    from . import _boot, _instrument, _sdk

    if _environment.environment.is_plain:
        _start_plain()
    else:
        _boot.install(auto=False)
        _sdk.want()
        _sdk.need()
    if instrument:
        _boot.watch_libraries()
        _instrument.start()


def _start_plain():
    """Without runmain, or with its telemetry off or direct: as OpenTelemetry does it, with the exporter that is
    installed."""
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
    except ImportError:
        return
    if trace._TRACER_PROVIDER is not None:
        return
    from . import _sdk

    provider = TracerProvider()
    exports = os.environ.get("OTEL_TRACES_EXPORTER", "otlp") != "none"
    processor = _sdk.make_otlp_processor() if exports else None
    if processor is not None:
        provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)


# ---- words over the channel


def _say(words):
    process = _process.current()
    if process.state != _process.GRANTED or process.channel is None:
        return False
    try:
        process.channel.say(words)
        return True
    except OSError:
        return False


def ready():
    """This process accepts: the old generation may drain."""
    return _say({"ready": True})


def drained():
    """All that was accepted is answered."""
    return _say({"drained": True})


def on_drain(call):
    """`call(budget_seconds)` when runmain asks this process to drain. Needs the role by then; one thread waits."""
    _drains.append(call)
    if _on_grant not in _process.when_granted:
        _process.when_granted.append(_on_grant)
    if _process.current().state == _process.GRANTED:
        _on_grant()


def _on_grant():
    global _drain_pid
    process = _process.current()
    if _drain_pid != process.pid:
        _drain_pid = process.pid
        threading.Thread(target=_await_drain, args=(process.channel,), name="runmain-drain", daemon=True).start()


def _await_drain(channel):
    while True:
        try:
            said = channel.read(3600)
        except (OSError, ValueError):
            return
        if said is not None and "drain" in said:
            budget = said["drain"].get("budget_ms", 0) / 1000 if isinstance(said["drain"], dict) else 0
            for call in list(_drains):
                try:
                    call(budget)
                except Exception as error:  # the others are called all the same
                    sys.stderr.write("runmain: on_drain: %r, ignoring\n" % (error,))
            return  # a second word changes nothing


# ---- for frameworks and runners


def lifespan(inner=None):
    """A lifespan for FastAPI and Starlette: claims, runs `inner`, says ready; says drained at the end."""

    @contextlib.asynccontextmanager
    async def run(app):
        serve()
        if inner is None:
            ready()
            yield
        else:
            async with inner(app) as state:
                ready()
                yield state
        drained()

    return run


def post_fork(server=None, worker=None, **_):
    """For gunicorn's post_fork, uWSGI's @postfork, Celery's worker_process_init: this process serves. Gunicorn wants
    two names, Celery any."""
    return serve()
