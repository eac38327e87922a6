"""What a program says to `runmain doctor`: hooks that write records, and change nothing that the program does.

Invariants: no failure of a hook reaches the program, one line on stderr tells the first of a kind; nothing is imported
here that a program without OpenTelemetry would not have. _records writes, _python_path keeps us in what the process
starts, _ends are forks, signals and ends; the others are loaded by the import of what they hook. Non-goal: judging.
"""
import os

# The hooks on imports are runmain's own; as a part of this package they find their modules here.
__path__.append(os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "runmain"))

HOOKS = {
    "opentelemetry.context": "_spans:on_context",
    "opentelemetry.trace": "_tracing:on_api",
    "opentelemetry.sdk.trace": "_tracing:on_sdk",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter": "_exporting:on_http_spans",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter": "_exporting:on_metrics",
    "opentelemetry.exporter.otlp.proto.http._log_exporter": "_exporting:on_logs",
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter": "_exporting:on_grpc_spans",
    "opentelemetry.exporter.otlp.proto.grpc.metric_exporter": "_exporting:on_metrics",
    "opentelemetry.exporter.otlp.proto.grpc._log_exporter": "_exporting:on_logs",
    "opentelemetry.instrumentation.instrumentor": "_applied:on_instrumentor",
    "opentelemetry.instrumentation.flask": "_applied:on_flask",
    "opentelemetry.instrumentation.fastapi": "_applied:on_fastapi",
    "opentelemetry.instrumentation.starlette": "_applied:on_starlette",
    "opentelemetry.instrumentation.asgi": "_applied:on_middleware",
    "opentelemetry.instrumentation.wsgi": "_applied:on_middleware",
    "opentelemetry.instrumentation.django.middleware.otel_middleware": "_applied:on_django",
    "starlette.applications": "_applied:on_applications",
    "signal": "_ends:on_signal",
    "asyncio.unix_events": "_ends:on_asyncio",
    "celery": "_packages:seen",
    "django": "_packages:seen",
    "fastapi": "_packages:seen",
    "flask": "_packages:seen",
    "gunicorn": "_packages:seen",
    "starlette": "_packages:seen",
    "uvicorn": "_packages:seen",
}


def start(folder):
    """`folder`: that of our sitecustomize, in front of PYTHONPATH."""
    from . import _ends, _imports, _python_path, _records

    _python_path.keep(folder)
    _records.start()
    _ends.start()
    for name, call in HOOKS.items():
        _imports.when_imported(name, call)
