"""The entry points that the installed packages have for OpenTelemetry: distros, instrumentations, configurators, exporters.

Invariant: what entry_points() of the API's _importlib_metadata gives, in the same order. That one takes every
distribution apart, 4 ms in an environment of 90: here only those are that name the group. Where not all of sys.path are
folders, or distributions come from another finder than that of folders, it is asked itself. Non-goals: groups that are
not OpenTelemetry's, what is installed while the process runs.
"""
import os
import sys

_FINDERS = ("_frozen_importlib_external", "importlib_metadata")  # PathFinder, and that of the older APIs' package
_ENDS = (".dist-info", ".egg-info")
_TEXT_MAX = 1 << 16
_offers = None  # [folder of a distribution, what its entry_points.txt says, entry points once they are read]


def entry_points(group):
    """Of a group of OpenTelemetry; empty without its API."""
    try:
        from opentelemetry.util import _importlib_metadata as metadata
    except ImportError:
        return []
    try:
        return _of(group, metadata.Distribution.at)
    except Exception:  # of a kind that is not known here; an API of before 1.28 does not name Distribution
        return list(metadata.entry_points(group=group))


def _of(group, distribution_at):
    global _offers
    if _offers is None:
        _offers = _read()
    found = []
    for offer in _offers:
        if group.encode() in offer[1]:
            if offer[2] is None:
                offer[2] = list(distribution_at(offer[0]).entry_points)
            found += [one for one in offer[2] if one.group == group]
    return found


def _read():
    if any(_finds_others(finder) for finder in sys.meta_path):
        raise ValueError("distributions that are no folders")
    offers, seen = [], set()
    for folder in sys.path:
        for info in _infos(folder):
            name = _normalized(info)
            if name not in seen:  # the first one counts
                seen.add(name)
                info = os.path.join(folder, info)
                text = _text(info + "/entry_points.txt")
                if b"opentelemetry_" in text:
                    offers.append([info, text, None])
    return offers


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
    return [name for name in names if name.endswith(_ENDS)]


def _normalized(info):
    """The name of its distribution, as PEP 503 compares them."""
    name = info.rpartition(".")[0].partition("-")[0].lower().replace(".", "_")
    while "__" in name:
        name = name.replace("__", "_")
    return name


def _text(path):
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # most distributions have none
        return b""
    try:
        text = os.read(file, _TEXT_MAX)
    finally:
        os.close(file)
    if len(text) == _TEXT_MAX:
        raise ValueError("more than one read gives")
    return text
