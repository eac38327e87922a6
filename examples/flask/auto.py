"""Nothing about telemetry in here: that is opentelemetry-instrument's, or runmain's with --auto."""
from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello():
    return "hello\n"


if __name__ == "__main__":
    app.run(debug=True)
