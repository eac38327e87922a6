"""Executes itself anew in the same process, as some reloaders do."""
import os
import sys

from flask import Flask

app = Flask(__name__)


@app.route("/<path:path>")
def answer(path):
    return str(os.getpid())


@app.route("/again")
def again():
    os.execv(sys.executable, [sys.executable] + sys.argv)


if __name__ == "__main__":
    app.run(port=int(os.environ["TEST_PORT"]), threaded=False)
