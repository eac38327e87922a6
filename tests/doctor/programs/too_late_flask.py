"""Instruments Flask after it has made its app: only later ones would be traced."""
from flask import Flask
from opentelemetry.instrumentation.flask import FlaskInstrumentor

import tracing
from serving import serve

app = Flask(__name__)


@app.route("/")
def hello():
    return "hello"


if __name__ == "__main__":
    tracing.set_up()
    FlaskInstrumentor().instrument()
    serve(app)
