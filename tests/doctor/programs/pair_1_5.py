"""Two modules set tracing up in gunicorn's master, and its settings do so in each worker."""
import tracing

tracing.set_up()
from preload_fork import app  # noqa: E402, F401
