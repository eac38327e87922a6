"""Which import leads to which of our modules: data only, so that a process that imports none of these pays for none.

"module:function" is called with the imported module, once it is there.
"""

ALWAYS = {
    "socket": "_serving:patch_socket",
    "socketserver": "_serving:patch_socketserver",
    "asyncio.selector_events": "_serving:patch_asyncio",
    "tornado.netutil": "_serving:patch_tornado",
    "waitress.server": "_serving:patch_waitress",
    "uvloop": "_serving:patch_uvloop",
    "gevent.baseserver": "_serving:patch_gevent",
    "gunicorn.arbiter": "_runners:gunicorn_arbiter",
    "gunicorn.workers.base": "_runners:gunicorn_worker",
    "uvicorn.supervisors.multiprocess": "_runners:uvicorn_multiprocess",
    "uvicorn.supervisors.basereload": "_runners:uvicorn_reload",
    "uvicorn.server": "_runners:uvicorn_server",
    "uvicorn.config": "_reloaders:uvicorn",
    "hypercorn.run": "_runners:hypercorn",
    "hypercorn.asyncio.run": "_runners:hypercorn_asyncio",
    "hypercorn.trio.run": "_runners:hypercorn_trio",
    "granian.cli": "_runners:granian_command",
    "granian.server.mp": "_runners:granian",
    "granian.server.mt": "_runners:granian",
    "celery.bin.celery": "_runners:celery_command",
    "celery.concurrency.prefork": "_runners:celery_prefork",
    "celery.signals": "_runners:celery",
    "rq.cli.cli": "_runners:rq_command",
    "rq.worker": "_runners:rq",
    "watchfiles.run": "_runners:watchfiles",
    "werkzeug.serving": "_reloaders:werkzeug",
    "werkzeug._reloader": "_reloaders:werkzeug_reloader",
    "django.utils.autoreload": "_reloaders:django_reloader",
    "django.core.servers.basehttp": "_reloaders:django_server",
    "opentelemetry.trace": "_provider:patch_api",
    "opentelemetry.metrics._internal": "_others:patch_metrics",
    "opentelemetry._logs._internal": "_others:patch_logs",
    "opentelemetry.sdk.trace": "_provider:patch_sdk",
    "opentelemetry.sdk.trace.export": "_exporters:patch_span_processors",
    "opentelemetry.sdk._logs._internal.export": "_exporters:patch_log_processors",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter": "_exporters:patch_span_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter": "_exporters:patch_span_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter": "_exporters:patch_metric_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.metric_exporter": "_exporters:patch_metric_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter": "_exporters:patch_log_exporter",
    "opentelemetry.exporter.otlp.proto.grpc._log_exporter": "_exporters:patch_log_exporter",
    "opentelemetry.instrumentation.fastapi": "_frameworks:fastapi",
    "opentelemetry.instrumentation.starlette": "_frameworks:starlette",
    "opentelemetry.instrumentation.auto_instrumentation": "_command:opentelemetry_instrument",
}

# Libraries with an instrumentation, under RUNMAIN_AUTO=1. Others are found when the first of them has been imported.
LIBRARIES = """aio_pika aiohttp aiokafka aiopg anthropic asyncclick asyncpg boto boto3 botocore cassandra celery click
confluent_kafka django elasticsearch falcon fastapi flask google.genai grpc httpx jinja2 kafka langchain mysql MySQLdb
openai pika psycopg psycopg2 pymemcache pymongo pymssql pymysql pyramid redis remoulade requests sqlalchemy starlette
tornado tortoise urllib3 vertexai opentelemetry.trace""".split()
