"""A claim as a side effect of serving: who begins to accept on the service's address, and who gets a connection there.

Invariants: a process that only listens (a master, a reloader's parent) never claims. Who begins to accept claims unless
another process of the child has the role; who gets a connection serves, whoever else does, and claims explicitly. Once
that is settled an accept costs one look at a word more than before. A service without a listener takes any TCP socket
for its own. Non-goal: runners that tell by themselves who serves (_runners).
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


def listens(sock):
    """Forks of this process may serve; it does itself if it begins to accept."""
    process = _process.current()
    if not process.has_listened and is_ours(sock):
        process.has_listened = True
        process.serves_by_spans = False


def begins(sock):
    """It is about to accept."""
    process = _process.current()
    if process.state == _process.UNASKED and not process.is_launcher and is_ours(sock):
        # Where spans claim, a child that it has forked may have been faster.
        has_peers = process.has_forked and not _environment.environment.has_listeners
        process.claim(explicit=has_peers or process.parent_served)


def accepted(sock):
    """It has got a connection."""
    process = _process.current()
    if not process.is_settled and not process.is_launcher and is_ours(sock):
        process.claim(explicit=True)


def patch_socket(module):
    cls = module.socket
    if getattr(cls.listen, "_runmain", False):
        return
    listen, accept = cls.listen, cls.accept
    settled = [0]  # the pid for which there is nothing left to do

    @functools.wraps(listen)
    def listen_and_note(self, *args):
        result = listen(self, *args)
        if settled[0] != _process.current().pid:
            listens(self)
        return result

    @functools.wraps(accept)
    def accept_and_claim(self):
        process = _process.current()
        if settled[0] == process.pid:
            return accept(self)
        if self.gettimeout() != 0:  # it waits for a connection; else this may be a look
            begins(self)
        result = accept(self)
        accepted(self)
        if process.is_settled:
            settled[0] = process.pid
        return result

    listen_and_note._runmain = True
    cls.listen, cls.accept = listen_and_note, accept_and_claim


def _patch_begin(cls, name, of):
    """Before `cls.name(…)`: `of(arguments)` is what it begins to accept on."""
    original = getattr(cls, name, None)
    if original is None or getattr(original, "_runmain", False):
        return

    @functools.wraps(original)
    def begin(*args, **kwargs):
        if _process.current().state == _process.UNASKED:
            begins(of(*args, **kwargs))
        return original(*args, **kwargs)

    begin._runmain = True
    setattr(cls, name, begin)


def patch_socketserver(module):
    """It waits with a selector, and accepts when somebody comes."""
    _patch_begin(module.BaseServer, "serve_forever", lambda self, *_, **__: getattr(self, "socket", None))


def patch_asyncio(module):
    _patch_begin(module.BaseSelectorEventLoop, "_start_serving", lambda _loop, _factory, sock, *_, **__: sock)


def patch_tornado(module):
    _patch_begin(module, "add_accept_handler", lambda sock, *_, **__: sock)


def patch_waitress(module):
    _patch_begin(module.BaseWSGIServer, "run", lambda self: self.socket)


def patch_gevent(module):
    """Its sockets are none of Python's."""
    cls = module.BaseServer
    _patch_begin(cls, "start_accepting", lambda self: getattr(self, "socket", None))
    handle = getattr(cls, "do_handle", None)
    if handle is None or getattr(handle, "_runmain", False):
        return

    @functools.wraps(handle)
    def do_handle(self, *args):
        accepted(getattr(self, "socket", None))
        return handle(self, *args)

    do_handle._runmain = True
    cls.do_handle = do_handle


def patch_uvloop(module):
    """uvloop listens and accepts in C."""
    cls = module.Loop
    if getattr(cls, "_runmain", False):
        return
    cls._runmain = True
    for name in ("create_server", "create_unix_server"):
        setattr(cls, name, _claim_after(getattr(cls, name)))


def _claim_after(original):
    @functools.wraps(original)
    async def create(self, protocol_factory, *args, **kwargs):
        ours = []

        def make_protocol():  # for each connection
            if ours:
                accepted(ours.pop())
            return protocol_factory()

        server = await original(self, make_protocol, *args, **kwargs)
        sockets = list(getattr(server, "sockets", None) or ())
        for sock in sockets:
            begins(sock)
        ours += [sock for sock in sockets if is_ours(sock)][:1]
        return server

    return create
