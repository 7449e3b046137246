"""The report as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks import growth, memory
from benchmarks.figures import duration
from benchmarks.libraries import FLOORS, LIBRARIES, OURS, PEERS
from benchmarks.machine import QUIET

Results = dict[str, dict[str, Any]]


def page(report: dict[str, Any], picture: str = "") -> str:
    """Return the whole page."""
    parts = [_head(report)]
    if report["speed"]:
        parts += [_goals(report["speed"]), _times(report["speed"])]
        floors = _floors(report["speed"])
        parts += [floors] if floors else []
    if report["memory"]:
        parts.append(_memory(report["memory"]))
    if report["growth"]:
        parts.append(_growth(report["growth"], picture))
    if report["fits"]:
        parts.append(_fits(report["fits"], report["data"]))
    parts.append(_remarks(report))
    return "\n\n".join(part for part in parts if part) + "\n"


def fastest_peer(results: Results) -> tuple[str, float] | None:
    """Return the peer with the smallest median."""
    found = [(name, results[name]["median"]) for name in PEERS if "median" in results.get(name, {})]
    return min(found, key=lambda pair: pair[1]) if found else None


def floor_of(results: Results, precision: str, instructions: Sequence[str] = ()) -> float | None:
    """Return the time of the products at a precision ("auto": any), by the fastest route that keeps it."""
    found = [
        result["median"]
        for name, result in results.items()
        if name in FLOORS
        and "median" in result
        and precision in (result["precision"], "auto")
        # With AMX the route through oneDNN rounds to bfloat16.
        and not (name.endswith("oneDNN") and "amx_bf16" in instructions)
    ]
    return min(found, default=None)


def _head(report: dict[str, Any]) -> str:
    machine, settings = report["machine"], report["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    absent = [name for name in PEERS if name not in settings["libraries"]]
    left_out = f" Not measured: {', '.join(absent)}." if absent else ""
    where = machine["gpu"] or f"{machine['processor']}, {machine['cores']} cores"
    kind = "quick mode: fewer cases, rounds and rows, shorter fits" if settings["quick"] else "full mode"
    return (
        f"# Benchmark: {where}\n\n"
        f"{machine['date']}, {kind}; {settings['rounds']} rounds, interleaved, one process a library, "
        f"one at a time, {settings['threads']} threads. Flows have 8 layers, two hidden layers of 256, "
        "relu; Adam at 1e-3. Every time is a median, with the 10th and 90th percentile in brackets.\n\n"
        f"{versions}; Python {machine['python']}; {' '.join(machine['instructions'])}."
        f"{left_out}{_business(report['busy'])}"
    )


def _business(shares: Sequence[float]) -> str:
    """Return how busy others kept the machine, where that was noted."""
    if not shares:
        return ""
    most = max(shares)
    told = f"\n\nBetween the measurements other programs used at most {most:.0%} of the processors"
    return told + (
        ": **the machine was shared, and the times are not to be trusted.**" if most > QUIET else "."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _goals(cases: list[dict[str, Any]]) -> str:
    rows: list[list[str]] = []
    for case in cases:
        results, goal = case["results"], case["case"]["goal"]
        peer = fastest_peer(results)
        cells = [case["name"], *(_median(results.get(name, {})) for name in ("diffeo", "diffeo float32"))]
        if peer is None or "median" not in results.get("diffeo", {}):
            rows.append([*cells, "", "", _goal(goal), ""])
            continue
        ratio = peer[1] / results["diffeo"]["median"]
        met = "" if goal is None else "yes" if ratio >= goal else "**no**"
        rows.append([*cells, f"{peer[0]} {duration(peer[1])}", f"{ratio:.2f}×", _goal(goal), met])
    head = ["work", "diffeo", "diffeo float32", "fastest peer", "faster by", "goal", "met"]
    return "## Against the fastest peer\n\n" + _table(head, rows)


def _goal(goal: float | None) -> str:
    return "" if goal is None else f"≥ {goal:g}×"


def _median(result: dict[str, Any]) -> str:
    return duration(result["median"]) if "median" in result else ""


def _times(cases: list[dict[str, Any]]) -> str:
    names = [name for name in LIBRARIES if any(name in case["results"] for case in cases)]
    rows = [[case["name"], *(_spread(case["results"].get(name, {})) for name in names)] for case in cases]
    first = [[case["name"], *(_first(case["results"].get(name, {})) for name in names)] for case in cases]
    return (
        "## All times\n\n"
        + _table(["work", *names], rows)
        + "\n\nA dash: the library lacks the work, or the run failed; the remarks say which.\n\n"
        + "First calls, compilation included:\n\n"
        + _table(["work", *names], first)
    )


def _spread(result: dict[str, Any]) -> str:
    if "median" not in result:
        return "–"
    low, high = duration(result["low"]), duration(result["high"])
    return f"{duration(result['median'])} [{low}, {high}] n={result['n']}"


def _first(result: dict[str, Any]) -> str:
    return duration(result["first_call"]) if "first_call" in result else "–"


def _floors(cases: list[dict[str, Any]]) -> str:
    rows: list[list[str]] = []
    for case in cases:
        results, wanted = case["results"], case["case"]["floor"]
        if not any("median" in results.get(name, {}) for name in FLOORS):
            continue
        peer = fastest_peer(results)
        names = [*(name for name in OURS if name in results), *([peer[0]] if peer else [])]
        for name in names:
            result = results[name]
            precision = result.get("precision", "float32")
            floor = floor_of(results, precision, case.get("instructions", ()))
            if "median" not in result or floor is None:
                continue
            ratio = result["median"] / floor
            judged = name in OURS and wanted is not None
            met = ("yes" if ratio <= wanted else "**no**") if judged else ""
            limit = f"≤ {wanted:g}" if judged else ""
            rows.append([case["name"], name, precision, duration(floor), f"{ratio:.2f}", limit, met])
    if not rows:
        return ""
    head = ["training step", "library", "precision", "products alone", "ratio", "goal", "met"]
    return (
        "## Against the matrix products\n\nThe forward product and the two backward products of every "
        "linear layer of our flow, at the precision of the library in the row, by the fastest route. "
        "Who leaves out what ReLU made 0 may take less.\n\n" + _table(head, rows)
    )


def _memory(found: list[dict[str, Any]]) -> str:
    names = list(found[0]["results"])
    mega = 1 / 2**20
    rows = [[name, *(_bytes(point["results"].get(name, {}), mega) for point in found)] for name in names]
    head = ["library", *(f"K={point['case']['layers']}" for point in found)]
    text = (
        f"## Memory\n\nAffine couplings, D={found[0]['case']['features']}, "
        f"B={found[0]['case']['rows']}; MiB. Each in a fresh process: the peak since before its first step "
        "(compilation, gradients and Adam's moments are in it) / that of a later step beyond what is held "
        "between steps (activations, and gradients where they are freed); the time of a step.\n\n"
        + _table(head, rows)
    )
    ratios = memory.ratios(found)
    if ratios:
        shallow, deep = found[0]["case"]["layers"], found[-1]["case"]["layers"]
        head = ["library", *next(iter(ratios.values()))]
        rows = [[name, *map(_ratio, values.values())] for name, values in ratios.items()]
        text += (
            f"\n\nRatios, K={deep} over K={shallow}. The goal for constant memory: ≤ 1.3 of memory at "
            "≤ 1.6 of time per layer. State is the weights' gradients and moments, of which there are "
            f"{deep / shallow:.0f} times as many.\n\n" + _table(head, rows)
        )
    return text


def _ratio(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _bytes(result: dict[str, Any], unit: float) -> str:
    if "peak" not in result:
        return "–"
    return f"{result['peak'] * unit:.0f} / {result['step'] * unit:.0f}; {duration(result['seconds'])}"


def _growth(points: list[dict[str, Any]], picture: str) -> str:
    fitted = growth.fitted(points)
    names = [name for name in LIBRARIES if any(fitted[axis].get(name) is not None for axis in fitted)]
    rows = [[name, *(_exponent(fitted[axis].get(name)) for axis in fitted)] for name in names]
    shown = f"\n\n![Time of a training step against D, K and B]({picture})" if picture else ""
    return (
        "## Growth\n\nA training step of affine couplings (D=64, K=8, B=1024, one of them varied): the "
        "exponent a of time ∝ sizeᵃ, fitted over the whole range.\n\n"
        + _table(["library", *fitted], rows)
        + shown
    )


def _exponent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _fits(found: list[dict[str, Any]], data: str) -> str:
    rows: list[list[str]] = []
    for table in found:
        for name, result in table["results"].items():
            about = f"{table['table']} ({table['rows']:,} × {table['columns']})"
            if "nats" not in result:
                rows.append([about, name, "–", "", "", ""])
                continue
            reached = result.get("reached")
            speed = "" if name in PEERS else "not reached" if reached is None else duration(reached)
            share = "" if name in PEERS or reached is None else f"{reached / table['budget']:.2f}"
            cells = [f"{result['nats']:.3f}", duration(result["at"]), speed, share]
            rows.append([about, name, *cells])
    head = ["table", "library", "best nats", "at", "to the best peer's", "share of the peers' budget"]
    again = " and again with batches of 512" if len(found[0]["batches"]) > 1 else ""
    return (
        f"## Fits\n\n{data[:1].upper()}{data[1:]}. Log-density per row, larger is better, in standardised "
        f"units; {found[0]['budget']:g} s for each peer, by its documented loop{again}; "
        "the goal for `diffeo.fit` is at most 0.25 of that, to what the best of them reached. Our flow "
        "is theirs (8 RQ-spline couplings); `diffeo.FlowDensity` chooses flows itself.\n\n"
        + _table(head, rows)
    )


def _remarks(report: dict[str, Any]) -> str:
    """Return what is missing, what failed, and how flows differ."""
    found: dict[str, list[str]] = {}
    for case in [*report["speed"], *report["memory"], *report["growth"], *report["fits"]]:
        where = case.get("name") or f"fit, {case['table']}"
        for name, result in case["results"].items():
            for key in ("missing", "error", "differs"):
                if result.get(key):
                    found.setdefault(f"{name}: {result[key]}", []).append(where)
            if result.get("not_finite"):
                text = f"{name}: a loss or density was not finite while it was timed"
                found.setdefault(text, []).append(where)
    lines = [
        f"- {text} ({places[0]}{f' and {len(places) - 1} more' if len(places) > 1 else ''})"
        for text, places in sorted(found.items())
        if not text.startswith("products")
    ]
    if report["skipped"]:
        lines.append(f"- not measured, for want of time: {'; '.join(dict.fromkeys(report['skipped']))}")
    lines += _counts(report["speed"])
    return "## Remarks\n\n" + "\n".join(lines) if lines else ""


def _counts(cases: list[dict[str, Any]]) -> list[str]:
    """Return a line for each flow with the numbers that each library trains."""
    seen: dict[tuple[Any, ...], str] = {}
    for case in cases:
        c = case["case"]
        key = c["law"], c["structure"], c["features"]
        counts = {
            name: result["parameters"]
            for name, result in case["results"].items()
            if name in LIBRARIES and "parameters" in result
        }
        if counts and key not in seen:
            flow = case["name"].split(", ", 1)[1].rsplit(", B=", 1)[0]
            seen[key] = f"- parameters, {flow}: " + ", ".join(f"{n} {v:,}" for n, v in counts.items())
    return list(seen.values())
