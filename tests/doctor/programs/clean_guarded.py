"""The debug reloader's child sets tracing up, and its parent does not."""
import os

from flask import Flask

from serving import serve

app = Flask(__name__)


@app.route("/")
def hello():
    return "hello"


if __name__ == "__main__":
    if os.environ.get("WERKZEUG_RUN_MAIN") == "true":
        import tracing
        from opentelemetry.instrumentation.flask import FlaskInstrumentor
        tracing.set_up()
        FlaskInstrumentor().instrument_app(app)
    serve(app, debug=True)
