"""Which process has accepted a connection, by the kernel's word: /proc/net/tcp and /proc/PID/fd."""
import os

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
LIVING = ("01", "03")       # ESTABLISHED, SYN_RECV


def inode_of(connection, theirs):
    """Of the end at port `theirs` of this connection over loopback. 0: nobody has accepted it; None: it is closed."""
    ours = connection.getsockname()[1]
    for table in TABLES:
        with open(table) as file:
            for line in file.readlines()[1:]:
                words = line.split()
                local, remote = (int(words[n].rsplit(":", 1)[1], 16) for n in (1, 2))
                if (local, remote) == (theirs, ours):
                    return int(words[9]) or (0 if words[3] in LIVING else None)
    return None


def holders(inode, pids):
    """Those of the processes that have this socket open."""
    found, name = [], f"socket:[{inode}]"
    for pid in pids:
        try:
            if any(os.readlink(f"/proc/{pid}/fd/{fd}") == name for fd in os.listdir(f"/proc/{pid}/fd")):
                found.append(pid)
        except OSError:
            pass        # it has ended, or closed a descriptor meanwhile: another look is taken
    return found
