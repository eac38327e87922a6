"""The entry points that the installed packages have for OpenTelemetry: distros, instrumentations, configurators, exporters.

Invariant: what entry_points() of the API's _importlib_metadata gives, in the same order. That one takes every
distribution apart, 4 ms in an environment of 90: here only those are that name a group of OpenTelemetry. Where not all
of sys.path are folders, or distributions come from another finder than that of folders, it is asked itself. Non-goals:
groups of others, what is installed while the process runs.
"""
import os
import sys

_FAMILY = "opentelemetry_"
_FINDERS = ("_frozen_importlib_external", "importlib_metadata")  # PathFinder, and that of the older APIs' package
_ENDS = (".dist-info", ".egg-info")
_found = None  # group -> entry points


def entry_points(group):
    """Of a group of OpenTelemetry; empty without its API."""
    global _found
    try:
        from opentelemetry.util import _importlib_metadata as metadata
    except ImportError:
        return []
    if _found is None:
        try:
            _found = _read(metadata.Distribution.at)
        except Exception:  # of a kind that is not known here; an API of before 1.28 does not name Distribution
            _found = None
    return list(metadata.entry_points(group=group)) if _found is None else _found.get(group, [])


def _read(distribution_at):
    if any(_finds_others(finder) for finder in sys.meta_path):
        raise ValueError("distributions that are no folders")
    found, seen = {}, set()
    for folder in sys.path:
        for info in _infos(folder):
            name = _normalized(info)
            if name not in seen:  # the first one counts
                seen.add(name)
                _take(os.path.join(folder, info), distribution_at, found)
    return found


def _finds_others(finder):
    return hasattr(finder, "find_distributions") and getattr(finder, "__module__", "") not in _FINDERS


def _infos(folder):
    if folder.lower().endswith(".egg"):
        raise ValueError("an egg")
    try:
        names = os.listdir(folder or ".")
    except NotADirectoryError:  # an archive
        raise
    except OSError:
        return []
    return [name for name in names if name.lower().endswith(_ENDS)]


def _normalized(info):
    """The name of its distribution, as PEP 503 compares them."""
    name = info.rpartition(".")[0].partition("-")[0].lower().replace(".", "_")
    while "__" in name:
        name = name.replace("__", "_")
    return name


def _take(folder, distribution_at, found):
    try:
        file = os.open(folder + "/entry_points.txt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # most have none
        return
    try:
        text = os.read(file, os.fstat(file).st_size)
    finally:
        os.close(file)
    if _FAMILY.encode() in text:
        for one in distribution_at(folder).entry_points:
            if one.group.startswith(_FAMILY):
                found.setdefault(one.group, []).append(one)
