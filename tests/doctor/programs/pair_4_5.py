"""A development server: watchfiles restarts a gunicorn that loads the app before it forks. Each sets tracing up."""
import tracing
from gunicorn.app.wsgiapp import WSGIApplication
from watchfiles import run_process

tracing.set_up()


def serve():
    import sys
    sys.argv = ["gunicorn", "--preload", "-c", "gunicorn_again.py", "hello_instrumented:app"]
    WSGIApplication().run()


if __name__ == "__main__":
    run_process(".", target=serve)
