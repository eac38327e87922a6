import os

from flask import Flask
from opentelemetry import trace

with trace.get_tracer("app").start_as_current_span("start-up"):
    pass
app = Flask(__name__)


@app.route("/")
def hello():
    return f"save 0 {os.getpid()}"


if __name__ == "__main__":
    app.run(debug=True, port=@PORT@)
