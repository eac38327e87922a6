"""Notes in the file RUNNERS_WITNESS which processes of Python make an SDK: `PID WHAT`, one a line.

Looked at from outside of what is tested: a provider, a processor with a thread and an exporter are noted when they are
made, whoever makes them (with the stacks in the file RUNNERS_STACKS, if that is set). No goal: changing anything.
"""
import os
import sys

WATCHED = {"opentelemetry.sdk.trace": {"TracerProvider": "provider"},
           "opentelemetry.sdk.trace.export": {"BatchSpanProcessor": "thread"},
           "opentelemetry.exporter.otlp.proto.http.trace_exporter": {"OTLPSpanExporter": "exporter"}}


def note(what):
    with open(os.environ["RUNNERS_WITNESS"], "a") as file:
        file.write(f"{os.getpid()} {what}\n")
    if "RUNNERS_STACKS" in os.environ:
        import traceback
        with open(os.environ["RUNNERS_STACKS"], "a") as file:
            file.write(f"{os.getpid()} {what} {sys.argv}\n{''.join(traceback.format_stack())}\n")


def noted(kind, what):
    made = kind.__init__

    def init(self, *args, **kwargs):
        note(what)
        made(self, *args, **kwargs)

    kind.__init__ = init


class Loader:
    """The module's own loader, and then the notes."""

    def __init__(self, loader):
        self.loader = loader

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        for name, what in WATCHED[module.__name__].items():
            noted(getattr(module, name), what)


class Finder:
    def __init__(self):
        self.busy = set()

    def find_spec(self, name, path=None, target=None):
        if name not in WATCHED or name in self.busy:
            return None
        self.busy.add(name)
        try:
            for finder in sys.meta_path:
                find = getattr(finder, "find_spec", None)
                spec = find(name, path, target) if finder is not self and find else None
                if spec is not None:
                    if spec.loader is not None:
                        spec.loader = Loader(spec.loader)
                    return spec
        finally:
            self.busy.discard(name)
        return None


if "RUNNERS_WITNESS" in os.environ:
    sys.meta_path.insert(0, Finder())
