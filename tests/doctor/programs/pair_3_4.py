"""One exporter in two processors, in the parent and in the child of the debug reloader."""
from exporter_twice_flask import app
from serving import serve

if __name__ == "__main__":
    serve(app, debug=True)
