"""Records: one JSON object a line, in a file of this process (docs/doctor-records.md).

Invariants: one write(2) a line, no lock, no thread, nothing buffered; a forked child notices by its pid, also where the
fork was made in C (uWSGI), and has a file of its own. Bounds: LINES_MAX, of which spans have SPAN_LINES_MAX; what is
left out is counted (`left_out`). Any thread, also a signal handler.
"""
import os
import sys
import time

from _weakref import ref as _ref

try:
    from _json import encode_basestring_ascii as _quoted  # json itself costs 3 ms
except ImportError:
    from json.encoder import encode_basestring_ascii as _quoted

LINES_MAX, LINE_MAX = 4096, 16384
SPAN_LINES_MAX = 3072  # what comes last (exit, shutdown, kill) finds room
STACK_MAX, STRING_MAX, ARGV_MAX = 12, 1024, 64
_OF_SPANS = frozenset(("start", "end", "activate", "export"))
_CUT = ("resource", "argv", "open", "stack")  # what a line that is too long goes without, in this order
_FD_MIN = 200  # the program's own descriptors have the numbers that they would have without us
_HERE = os.path.dirname(os.path.abspath(__file__))
_OURS = (os.path.dirname(_HERE) + os.sep, os.path.join(os.path.dirname(os.path.dirname(_HERE)), "runmain", "_imports.py"))

left_out = 0  # lines of this process
at_fork = None  # the fields of a `fork` record
_folder = ""
_pid = 0
_fd = -1
_identity = None  # of the file behind _fd
_lines = _span_lines = 0
_is_off = False
_told = set()
_numbers = {}  # id() -> (weak reference or None, number)
_last_number = 0


def start():
    global _folder
    _folder = os.path.abspath(os.environ["RUNMAIN_DOCTOR"])
    _begin(os.getpid())


def tell(what, error):
    """Once for each `what`."""
    if what not in _told:
        _told.add(what)
        try:
            sys.stderr.write("runmain: the doctor's probe: %s: %r, ignoring\n" % (what, error))
        except Exception:
            pass


def write(kind, /, **fields):
    """Appends a record. Fields that are None are left out. Never raises."""
    try:
        pid = os.getpid()
        if pid != _pid:
            _begin(pid)
        if _has_room(kind):
            _append(kind, pid, fields)
    except Exception as error:
        tell("a record of %s" % kind, error)


def check_fork():
    """Begins the file of a forked child."""
    pid = os.getpid()
    if pid != _pid:
        _begin(pid)


def safely(call):
    """`call`, whose failure is told and not raised."""

    def quiet(*args, **kwargs):
        try:
            return call(*args, **kwargs)
        except Exception as error:
            tell(call.__name__, error)
            return None

    return quiet


# ---- the file


def _begin(pid):
    global _pid, _fd, _lines, _span_lines, left_out
    parent, _pid = _pid, pid
    _lines = _span_lines = left_out = 0
    if _fd >= 0 and _is_ours():
        os.close(_fd)
    _fd = -1
    runtime = "python %d.%d.%d" % sys.version_info[:3]
    write("process", runtime=runtime, ppid=os.getppid(), argv=_argv(), forked=parent != 0)
    if parent != 0:
        write("fork", parent=parent, **(at_fork() if at_fork is not None else {}))


def _argv():
    try:
        with open("/proc/self/cmdline", "rb") as file:
            parts = file.read(LINE_MAX).split(b"\0")[:-1]
        return [os.fsdecode(one) for one in parts[:ARGV_MAX]]
    except OSError:
        return list(getattr(sys, "orig_argv", ()))[:ARGV_MAX] or None


def _has_room(kind):
    global _lines, _span_lines, left_out
    full = _lines >= LINES_MAX - 1 or (kind in _OF_SPANS and _span_lines >= SPAN_LINES_MAX)
    if not full:
        _lines += 1
        _span_lines += kind in _OF_SPANS
        return True
    left_out += 1
    if left_out == 1:
        _append("full", _pid, {})
    return False


def _append(kind, pid, fields):
    global _is_off
    if _is_off:
        return
    fields = dict({"k": kind, "t": time.monotonic_ns(), "pid": pid}, **fields)
    line = _encoded(fields) + "\n"
    for name in _CUT:
        if len(line) <= LINE_MAX:
            break
        fields.pop(name, None)
        line = _encoded(fields) + "\n"
    try:
        if _fd < 0 or not _is_ours():
            _open(pid)
        os.write(_fd, line.encode("ascii"))
    except OSError as error:
        _is_off = True
        tell("nothing can be written", error)


def _open(pid):
    global _fd, _identity
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open("%s/%d.jsonl" % (_folder, pid), flags, 0o644)
    try:
        import fcntl

        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FD_MIN)
    except (ImportError, OSError):  # a low limit of descriptors
        high = fd
    if high != fd:
        os.close(fd)
    status = os.fstat(high)
    _fd, _identity = high, (status.st_dev, status.st_ino)


def _is_ours():
    """A daemon closes all descriptors, and opens others with the same numbers."""
    try:
        status = os.fstat(_fd)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == _identity


def _encoded(value):
    if isinstance(value, str):
        value = value[:STRING_MAX]
        return _quoted(value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8"))
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return "%.3f" % value
    if isinstance(value, dict):
        items = ["%s:%s" % (_encoded(name), _encoded(one)) for name, one in value.items() if one is not None or name in _NULL]
        return "{" + ",".join(items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([_encoded(one) for one in value]) + "]"
    return "null" if value is None else _encoded(str(value))


_NULL = frozenset(("provider",))  # null says something


# ---- what records speak of


def number_of(thing):
    """A small number, the same for one object as long as it lives, also in forked children."""
    global _last_number
    key = id(thing)
    known = _numbers.get(key)
    if known is not None and (known[0] is None or known[0]() is thing):
        return known[1]
    _last_number += 1
    number = _last_number
    try:
        weak = _ref(thing, lambda gone: _forget(key, number))
    except TypeError:
        weak = None
    _numbers[key] = (weak, number)
    return number


def _forget(key, number):
    if _numbers is not None and _numbers.get(key, (None, 0))[1] == number:
        del _numbers[key]


def class_of(thing):
    return type(thing).__name__


def frames():
    """The frames of the program and its packages, innermost first."""
    frame = sys._getframe(1)
    while frame is not None:
        if not _is_left_out(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


def _is_left_out(name):
    return name.startswith(_OURS) or name.startswith("<frozen importlib") or name.endswith("/importlib/__init__.py")


def module_of(frame):
    return frame.f_globals.get("__name__") or ""


def place(frame):
    """FILE:LINE FUNCTION"""
    code = frame.f_code
    name = code.co_filename
    if not name.startswith(("<", "/")):
        name = os.path.abspath(name)
    return "%s:%d %s" % (name, frame.f_lineno, getattr(code, "co_qualname", code.co_name))


def stack():
    found = []
    for frame in frames():
        found.append(place(frame))
        if len(found) == STACK_MAX:
            break
    return found
