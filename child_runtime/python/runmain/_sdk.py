"""Starting the SDK for a program that does not do it: RUNMAIN_AUTO=1, opentelemetry-instrument, setup_tracing().

Invariants: once in a process and its forks, at the claim or when the program first needs a provider before it, and
never in a known launcher: what asks for tracers at an import (instrumentations do) holds the API's proxies until
then, which follow. A provider that the program has set is kept. Distro and configurator are
loaded by their entry points, as opentelemetry-instrument does; where these are OpenTelemetry's own and the exporter
is OTLP, the provider is made directly: no exporter, no HTTP client, no protobuf is imported for it. Non-goal:
instrumentations (_instrument), metrics and logs (_signals).
"""
import logging
import os
import sys
from contextlib import contextmanager
from importlib import import_module

from . import _environment, _process, _provider, _signals, _sink
from ._entry_points import entry_points
from ._environment import setting

_started = False
_wanted = False
_OTLP_NAMES = ("", "otlp", "otlp_proto_http", "otlp_proto_grpc")
_OWN = ("opentelemetry.distro", "opentelemetry.sdk")
distro = None
_when_started = []
_resource = (0, None)  # the pid that it was made for, which may be in it


def is_installed():
    from importlib.util import find_spec

    try:
        return find_spec("opentelemetry.sdk") is not None
    except (ImportError, ValueError):
        return False


def tell_missing():
    """In one process of a service's first generation."""
    settings = _environment.environment
    if settings.worker <= 0 and settings.generation <= 1:
        text = "runmain: there is no opentelemetry-sdk in %s (pip install opentelemetry-distro): nothing is traced\n"
        _environment.complain(text % sys.prefix)


def want():
    """At the claim, or at the first need before it."""
    global _wanted
    if _environment.environment.is_plain:
        return
    if not _wanted:
        _wanted = True
        _provider.when_needed.append(need)
        _process.when_granted.append(start)
        if _is_standard() and not _environment.environment.has_listeners and _signals.has_handler() and _has_logs():
            _signals.start_logs()  # a job may log without ever having a span
    if _process.current().state == _process.GRANTED:
        start()


def need():
    """The program asks for a provider, or for a span."""
    if _wanted and not _started and not _process.current().is_launcher:
        start()


def start():
    """Idempotent. False: there is no SDK."""
    global _started
    with _process.current().lock:
        if _started:
            return True
        try:
            import opentelemetry.sdk.trace  # noqa: F401
        except ImportError:
            return False
        except Exception as error:  # packages that do not fit each other
            _process.tell("the SDK of OpenTelemetry cannot be imported", error)
            return False
        if _started:  # by what was imported
            return True
        _started = True
        try:
            _start()
        except Exception as error:  # asked for by a span: not its program's to hear of
            _environment.complain("runmain: OpenTelemetry cannot be started: %r, ignoring\n" % (error,))
        for call in _when_started:
            call()
    return True


def after_start(call):
    if _started:
        call()
    else:
        _when_started.append(call)


def _start():
    configure_distro()
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    if _must_ask_configurator() and _ask_configurator():
        return
    if setting("OTEL_TRACES_EXPORTER") != "none":
        _set_tracer_provider()
    if setting("OTEL_METRICS_EXPORTER") in _OTLP_NAMES:
        _process.when_granted.append(_signals.start_metrics)
        if _process.current().state == _process.GRANTED:
            _signals.start_metrics()
    if _has_logs():
        _signals.start_logs()


def _ask_configurator():
    """False: it cannot, and not because of the spans, which are ours then."""
    from opentelemetry import trace
    from opentelemetry.instrumentation.auto_instrumentation import _load

    of_program = trace._TRACER_PROVIDER
    try:
        with _provider.made_for_program(), _installed_exporters():
            _load._load_configurators()
    except Exception as error:
        if _is_other("TRACES"):
            raise
        _process.tell("OpenTelemetry's configurator", error)
        return False
    finally:
        if of_program is not None:
            trace.set_tracer_provider(of_program)
    return True


@contextmanager
def _installed_exporters():
    """Whatever the protocol that is asked for (runmain's receiver speaks HTTP), the exporter is the one that is there:
    what it is given is in the mailbox. Where there is none, spans are in the mailbox all the same."""
    before = {}
    for signal in ("TRACES", "METRICS", "LOGS"):
        names = [one.strip() for one in setting("OTEL_%s_EXPORTER" % signal).split(",")]
        if "otlp" not in names:
            continue
        protocol, name = _installed_protocol(signal), "OTEL_%s_EXPORTER" % signal
        if protocol is not None:
            name, value = "OTEL_EXPORTER_OTLP_%s_PROTOCOL" % signal, protocol
        else:
            value = ",".join(one for one in names if one != "otlp") or "none"
        before[name] = os.environ.get(name)
        os.environ[name] = value
    try:
        yield
    finally:
        for name, value in before.items():
            _restore(name, value)


def _restore(name, value):
    if value is None:
        del os.environ[name]
    else:
        os.environ[name] = value


def _installed_protocol(signal):
    wanted = setting("OTEL_EXPORTER_OTLP_%s_PROTOCOL" % signal) or setting("OTEL_EXPORTER_OTLP_PROTOCOL")
    found = {one.name for one in entry_points("opentelemetry_%s_exporter" % signal.lower())}
    names = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
    return next((one for one in (wanted, *names) if names.get(one) in found), None)


def _is_other(signal):
    """An exporter that is not ours to replace."""
    return setting("OTEL_%s_EXPORTER" % signal) not in _OTLP_NAMES + ("none",)


def _has_logs():
    return setting("OTEL_LOGS_EXPORTER") in _OTLP_NAMES


def configure_distro():
    """Idempotent. It needs no SDK, and what it sets counts for the instrumentations, too."""
    global distro
    if distro is not None:
        return
    try:
        from opentelemetry.instrumentation.distro import BaseDistro, DefaultDistro
    except ImportError:
        return
    distro = _installed_distro(BaseDistro) or DefaultDistro()
    distro.configure()


def _installed_distro(kind):
    """The one that the environment names, else the first one: as opentelemetry-instrument chooses."""
    wanted = os.environ.get("OTEL_PYTHON_DISTRO")
    for entry_point in entry_points("opentelemetry_distro"):
        if wanted in (None, entry_point.name):
            try:
                found = entry_point.load()()
            except Exception:
                logging.getLogger("runmain").exception("distribution %s failed", entry_point.name)
                raise
            if isinstance(found, kind):
                return found
    return None


def _is_standard():
    return (
        not any(_is_other(signal) for signal in ("TRACES", "METRICS", "LOGS"))
        and setting("OTEL_PYTHON_ID_GENERATOR") in ("", "random")
        and setting("OTEL_PYTHON_CONFIGURATOR") in ("", "configurator")
        and not any(setting(name) for name in ("OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"))
    )


def _must_ask_configurator():
    if distro is None:
        return False
    if not _is_standard():
        return True
    return any(not one.value.startswith(_OWN) for one in entry_points("opentelemetry_configurator"))


def resource():
    """Of all that is made for the program: a detector may take its time."""
    global _resource
    if _resource[0] != os.getpid():
        _resource = (os.getpid(), _make_resource())
    return _resource[1]


def _make_resource():
    from opentelemetry.sdk.resources import Resource

    attributes = {}
    if distro is not None:
        from opentelemetry.instrumentation.version import __version__

        attributes["telemetry.auto.version"] = __version__
    gevent = sys.modules.get("gevent.monkey")
    if gevent is None or not gevent.is_module_patched("threading") or gevent.is_module_patched("queue"):
        return Resource.create(attributes)
    return _resource_without_threads(attributes)


def _resource_without_threads(attributes):
    """Where threads are greenlets and queues are not (Flask-SocketIO's debug mode), an idle thread of the pool that
    asks the detectors would stop the process."""
    from concurrent import futures
    from types import SimpleNamespace

    from opentelemetry.sdk import resources

    class Executor(futures.Executor):
        def __init__(self, *_, **__):
            pass

        def submit(self, call, *args, **kwargs):
            future = futures.Future()
            try:
                future.set_result(call(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)
            return future

    before = resources.concurrent
    names = {"ThreadPoolExecutor": Executor, "TimeoutError": futures.TimeoutError}
    resources.concurrent = SimpleNamespace(futures=SimpleNamespace(**names))
    try:
        return resources.Resource.create(attributes)
    finally:
        resources.concurrent = before


def _set_tracer_provider():
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    if trace._TRACER_PROVIDER is None:
        provider = TracerProvider(resource=resource())
        with _provider.made_for_program():
            trace.set_tracer_provider(provider)
        _export_without_mailbox(provider)


def _export_without_mailbox(provider):
    """Where a role comes without one, as the environment says."""
    added = []

    def add(waiting):
        if added or _provider.has_stepped_aside(provider):  # the program's own exporters work
            return
        processor = make_otlp_processor()
        if processor is None:
            return
        added.append(processor)
        provider.add_span_processor(processor)
        for kind, item in waiting:
            if kind == "span":
                processor.on_end(item)

    _sink.when_elsewhere.append(add)
    if _process.current().sink.state is _sink.ELSEWHERE:
        add(())


def make_otlp_processor():
    """With the exporter that is installed, that of the protocol first; None: there is none."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    protocol = setting("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or setting("OTEL_EXPORTER_OTLP_PROTOCOL")
    for name in ("grpc", "http") if protocol == "grpc" else ("http", "grpc"):
        try:
            module = import_module("opentelemetry.exporter.otlp.proto.%s.trace_exporter" % name)
        except ImportError:
            continue
        return BatchSpanProcessor(module.OTLPSpanExporter())
    return None
