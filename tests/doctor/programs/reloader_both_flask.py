"""Sets tracing up when it is loaded, which the debug reloader does in the parent and in the child."""
from flask import Flask
from opentelemetry.instrumentation.flask import FlaskInstrumentor

import tracing
from serving import serve

tracing.set_up()
app = Flask(__name__)
FlaskInstrumentor().instrument_app(app)


@app.route("/")
def hello():
    return "hello"


if __name__ == "__main__":
    serve(app, debug=True)
