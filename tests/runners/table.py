"""The table of the matrix in Markdown. The last results of both halves are kept in the build folder, so that the table
of one half has the other one beside it.
"""
import json
import os

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def told(result, plain):
    """A verdict in a few words."""
    if not result:
        return ""
    v = result
    if not v["requests"]:
        return "nothing was answered: " + "; ".join(v["faults"][:1])
    words = [f"{v['initialised']} / {v['serving']}"]
    n = v["requests"]
    for key, text in (("unseen", "without a span"), ("twice", "with two"), ("lost", "lost")):
        if v[key]:
            words.append(f"{v[key]} of {n + (v[key] if key == 'lost' else 0)} {text}")
    if v["copies"]:
        words.append(f"{v['copies']} spans twice")
    if plain and v["serving"] and v["ids"] != v["serving"]:
        words.append(f"{v['ids']} instance ids")
    if v["start_ups"] > v["serving"]:
        words.append(f"{v['start_ups']} start-up spans")
    if v.get("start_ups_lost"):     # results of before this was looked at are kept, too
        words.append(f"{v['start_ups_lost']} start-up spans lost")
    if v["stop_s"] is None:
        words.append("ignores SIGTERM")
    if not plain:
        words.append(f"{n} requests, {v['ids']} instance ids")
    return ", ".join(words)


def line(case, which, verdict):
    return f"{case.name} ({which}): {told(vars(verdict), False)}: " + ("; ".join(verdict.faults) or "right")


def kept(build, half, case, which, verdict):
    """All results so far, this one among them: {name: {set: {half: verdict}}}."""
    path = build + "/results.json"
    known = {}
    if os.path.exists(path):
        with open(path) as file:
            known = json.load(file)
    label = which if case.language == "python" else "node"
    known.setdefault(case.name, {}).setdefault(label, {})[half] = dict(vars(verdict), owned=case.owned)
    with open(path + ".new", "w") as file:
        json.dump(known, file, indent=1)
    os.rename(path + ".new", path)
    return known


def markdown(known):
    import cases
    rows = ["| runner | packages | plain | under runmain | verdict |", "|---|---|---|---|---|"]
    for case in cases.CASES:
        for label in ("current", "0.62", "node"):
            both = known.get(case.name, {}).get(label)
            if not both:
                continue
            under = both.get("runmain")
            verdict = "" if not under else "wrong: " + "; ".join(under["faults"]) if under["faults"] else "right"
            rows.append(f"| {case.name} | {label} | {told(both.get('plain'), True)} | {told(under, False)} | {verdict} |")
    return "\n".join(rows) + "\n"


def write(path, text):
    """Between the marks of the file, which it must have."""
    with open(path) as file:
        page = file.read()
    head, rest = page.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    with open(path, "w") as file:
        file.write(f"{head}{BEGIN}\n{text}{END}{tail}")
