"""The factory sets tracing up, and so does the script that calls it."""
from flask import Flask
from opentelemetry.instrumentation.flask import FlaskInstrumentor

import tracing
from serving import serve


def create_app():
    tracing.set_up()
    app = Flask(__name__)
    FlaskInstrumentor().instrument_app(app)
    app.add_url_rule("/", view_func=lambda: "hello")
    return app


if __name__ == "__main__":
    tracing.set_up()
    serve(create_app())
