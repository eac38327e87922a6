"""A claim as a side effect of serving: the first listen or accept on the service's address.

Invariant: after the grant a call costs one look at a word more than before. A service without a listener claims with
the first TCP listen. Non-goal: runners that tell by themselves who serves (_runners).
"""
import functools

from . import _environment, _process


def is_ours(sock):
    """Whether this is a listening socket of the service."""
    settings = _environment.environment
    try:
        family = int(sock.family)
        name = sock.getsockname()
    except (OSError, AttributeError):
        return False
    if family == 1:
        path = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        return path.replace("\0", "@") in settings.paths
    if family not in (2, 10) or int(sock.type) & 0xF != 1:
        return False
    return name[1] in settings.ports if settings.has_listeners else True


def by_the_way(sock, explicit=False):
    process = _process.current()
    if process.state == _process.UNASKED and not process.is_launcher and is_ours(sock):
        # Where spans claim, a child that it has forked may have been faster.
        has_peers = process.has_forked and not _environment.environment.has_listeners
        process.claim(explicit or has_peers)


def patch_socket(module):
    cls = module.socket
    if getattr(cls.listen, "_runmain", False):
        return
    listen, accept = cls.listen, cls.accept
    done = [0]  # the pid for which there is nothing left to do

    def look(sock, accepts):
        process = _process.current()
        if process.state != _process.UNASKED:
            process.serves_by_spans = process.serves_by_spans and not is_ours(sock)
            done[0] = process.pid if not process.serves_by_spans else 0
        else:
            # A server that forked after it had listened, and so got the role: who accepts serves, too.
            by_the_way(sock, explicit=accepts and process.parent_served)

    @functools.wraps(listen)
    def listen_and_claim(self, *args):
        result = listen(self, *args)
        if done[0] != _process.current().pid:
            look(self, False)
        return result

    @functools.wraps(accept)
    def accept_and_claim(self):
        if done[0] != _process.current().pid:
            look(self, True)
        return accept(self)

    listen_and_claim._runmain = True
    cls.listen, cls.accept = listen_and_claim, accept_and_claim


def patch_gevent(module):
    """Its sockets are none of Python's."""
    cls = module.BaseServer
    original = cls.start_accepting
    if getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    def start_accepting(self):
        by_the_way(getattr(self, "socket", None), explicit=_process.current().parent_served)
        return original(self)

    start_accepting._runmain = True
    cls.start_accepting = start_accepting


def patch_uvloop(module):
    """uvloop listens in C."""
    cls = module.Loop
    if getattr(cls, "_runmain", False):
        return
    cls._runmain = True
    for name in ("create_server", "create_unix_server"):
        setattr(cls, name, _claim_after(getattr(cls, name)))


def _claim_after(original):
    @functools.wraps(original)
    async def create(self, *args, **kwargs):
        server = await original(self, *args, **kwargs)
        for sock in getattr(server, "sockets", None) or ():
            by_the_way(sock)
        return server

    return create
