"""No word of OpenTelemetry, and the debug mode of the tutorials."""
import os

from flask import Flask

app = Flask(__name__)


@app.route("/<path:path>")
def answer(path):
    return str(os.getpid())


if __name__ == "__main__":
    app.run(debug=True, port=int(os.environ["TEST_PORT"]))
