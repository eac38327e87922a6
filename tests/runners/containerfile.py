"""Reads a Containerfile as far as examples/container goes, and lays its image out as a folder, without an engine: what
the file says is what runs. Invariant: an instruction that is not known is a fault, so that none is left out in silence.
"""
import json
import os
import shlex
import shutil

HOST = ("bin", "lib", "lib64", "sbin", "usr")       # in place of the base image
PLACES = ("dev", "etc", "proc", "run", "tmp", "root", "srv")


class Containerfile:
    def __init__(self, path):
        self.context = os.path.dirname(path)
        self.copies, self.environment, self.runs = [], {}, []
        self.folder, self.user, self.health, self.command = "/", "root", None, None
        with open(path) as file:
            for line in file.read().replace("\\\n", " ").splitlines():
                if line.strip() and not line.startswith("#"):
                    self.take(*line.split(None, 1))

    def take(self, word, rest):
        if word == "COPY":
            *sources, target = rest.split()
            self.copies += [(source, os.path.join(self.folder, target)) for source in sources]
        elif word == "WORKDIR":
            self.folder = rest
        elif word == "USER":
            self.user = rest
        elif word == "ENV":
            self.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "RUN":
            self.runs.append(rest)
        elif word == "HEALTHCHECK":
            self.health = json.loads(rest.removeprefix("CMD "))
        elif word == "ENTRYPOINT":
            self.command = json.loads(rest)
        elif word not in ("FROM", "EXPOSE"):
            raise SystemExit(f"FAILED: {word} in the Containerfile is not known to this test")

    def lay_out(self, root, hosts):
        """The root file system but for what is mounted. (what, where) of that: parts of this machine."""
        mounts = []
        for name in HOST:
            if os.path.islink("/" + name):
                os.symlink(os.readlink("/" + name), f"{root}/{name}")
            elif os.path.exists("/" + name):
                os.mkdir(f"{root}/{name}")
                mounts.append(("/" + name, f"{root}/{name}"))
        for name in PLACES:
            os.mkdir(f"{root}/{name}")
        for name in ("null", "zero", "random", "urandom"):
            with open(f"{root}/dev/{name}", "w"):
                mounts.append((f"/dev/{name}", f"{root}/dev/{name}"))
        for name in ("passwd", "group", "nsswitch.conf"):
            shutil.copy("/etc/" + name, root + "/etc/" + name)
        with open(root + "/etc/hosts", "w") as file:
            file.write(hosts)
        for source, target in self.copies:
            if source != "runmain/":        # is mounted: /usr is this machine's
                shutil.copy(f"{self.context}/{source}", root + target)
        return mounts


def install(programs, runtimes, prefix):
    """What `cmake --install` makes of runmain, for an image."""
    for folder in ("bin", "libexec/runmain", "share/runmain"):
        os.makedirs(f"{prefix}/{folder}")
    shutil.copy(programs + "/runmain", prefix + "/bin")
    for name in ("keeper", "supervisor", "observer"):
        shutil.copy(f"{programs}/runmain-{name}", prefix + "/libexec/runmain")
    for language in ("python", "node"):
        shutil.copytree(f"{runtimes}/{language}", f"{prefix}/share/runmain/{language}",
                        ignore=shutil.ignore_patterns("__pycache__", "test", "tests"))
