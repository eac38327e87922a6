"""Nothing about telemetry in here, and no gunicorn.conf.py beside it."""
from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello():
    return "hello\n"
