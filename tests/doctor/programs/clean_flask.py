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
    serve(app)
