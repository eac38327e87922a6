"""The factory and the script set tracing up, each time with one exporter in two processors."""
from flask import Flask
from opentelemetry.instrumentation.flask import FlaskInstrumentor

import tracing_twice
from serving import serve


def create_app():
    tracing_twice.set_up()
    app = Flask(__name__)
    FlaskInstrumentor().instrument_app(app)
    app.add_url_rule("/", view_func=lambda: "hello")
    return app


if __name__ == "__main__":
    tracing_twice.set_up()
    serve(create_app())
