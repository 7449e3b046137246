"""The page of measurements, from the journal alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.images.projection import projection
from benchmarks.images.protocol import CLASSICAL, DRAWS
from benchmarks.images.recipes import PUBLISHED
from benchmarks.machine import QUIET

#: Multiples of a fit's steps that its course is projected to.
FURTHER = (10, 100)

#: How far the best is to be ahead of Gaussian and mixture on digits, in bits per dimension.
WANTED = 0.3


def page(records: Sequence[dict[str, Any]]) -> str:
    """Return the page as Markdown."""
    parts = ["# Bits per dimension of images", _protocol(records)]
    for chosen in dict.fromkeys(record["set"] for record in records):
        mine = [record for record in records if record["set"] == chosen]
        parts += [f"## {chosen}", _splits(mine), _table(mine)]
        parts.append(_verdict(mine))
        parts.append(_courses(mine))
        parts.append(_projections(mine))
    return "\n\n".join(part for part in parts if part) + "\n"


def _protocol(records: Sequence[dict[str, Any]]) -> str:
    machine = records[0]["machine"]
    loud = sum((record["busy"] or 0) > QUIET for record in records)
    return (
        f"Measured on {machine['processor']}, {machine['cores']} cores, {machine['date']}, torch "
        f"{machine['versions'].get('torch', '?')}. Test images are dequantised by uniform noise, drawn "
        f"{DRAWS} times each; the figure is an upper bound of −log₂ P(image) / dimensions, through all "
        f"preprocessing; K = {DRAWS} is the closer bound of these draws together. Lower is better. Of "
        f"{len(records)} fits, {loud} began while others used more than "
        f"{QUIET:.0%} of the processors: their steps would be more on a quiet machine."
    )


def _splits(records: Sequence[dict[str, Any]]) -> str:
    """Return how many images were learnt from, watched and measured on; by method where that differs."""
    splits: dict[str, list[str]] = {}
    for record in records:
        splits.setdefault(record["split"], []).append(record["method"])
    lines: list[str] = []
    for split, methods in splits.items():
        those = f" of {', '.join(dict.fromkeys(methods))}" if len(splits) > 1 else ""
        lines.append(f"Images{those}: {split} (training, validation, test).")
    cores = sorted({record["machine"]["cores"] for record in records})
    lines.append(f"On {' or '.join(map(str, cores))} core{'s' if cores != [1] else ''}.")
    return "\n\n".join(lines)


def _table(records: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"| method | bits/dim | K = {DRAWS} | seeds | nats of y in [0, 1] | steps | seconds | parameters | "
        "published |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[tuple[str, float, str], list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["method"], record["budget"], record["split"]), []).append(record)
    for (method, *_), those in sorted(groups.items(), key=_mean):
        published = PUBLISHED.get((those[0]["set"], method))
        spread = f" ± {statistics.stdev(r['bits'] for r in those):.3f}" if len(those) > 1 else ""
        weighted = [r["weighted bits"] for r in those if "weighted bits" in r]  # older fits lack them
        closer = f"{statistics.mean(weighted):.3f}" if len(weighted) == len(those) else ""
        lines.append(
            f"| {method} | {statistics.mean(r['bits'] for r in those):.3f}{spread} | {closer} | "
            f"{len(those)} | {statistics.mean(r['nats'] for r in those):.1f} | "
            f"{statistics.mean(r['steps'] for r in those):.0f} | "
            f"{statistics.mean(r['seconds'] for r in those):.0f} | {those[0]['parameters']:,} | "
            f"{'' if published is None else published} |"
        )
    return "\n".join(lines)


def _mean(item: tuple[tuple[str, float, str], list[dict[str, Any]]]) -> float:
    return statistics.mean(record["bits"] for record in item[1])


def _verdict(records: Sequence[dict[str, Any]]) -> str:
    """Return how far the best flow is ahead of the best classical density, on the same seeds."""
    flows = [record for record in records if record["method"] not in CLASSICAL]
    if not flows:
        return ""
    best = min(flows, key=lambda record: record["bits"])
    classical = [
        record for record in records if record["method"] in CLASSICAL and record["split"] == best["split"]
    ]
    lines: list[str] = []
    for what in ("", " of logits"):
        those = [record for record in classical if record["method"].endswith("of logits") == bool(what)]
        if not those:
            continue
        other = min(those, key=lambda record: record["bits"])
        ahead = other["bits"] - best["bits"]
        kept = "kept" if ahead >= WANTED else "missed"
        goal = f" (wanted: {WANTED}; {kept})" if records[0]["set"] == "digits" else ""
        lines.append(f"{best['method']} is {ahead:.3f} bits/dim ahead of the {other['method']}{goal}.")
    return " ".join(lines)


def _courses(records: Sequence[dict[str, Any]]) -> str:
    """Return the course of each fit: steps and held-out bits per dimension, at five places."""
    lines = ["| method | seed | held-out bits/dim at steps |", "| --- | --- | --- |"]
    for record in records:
        course = record["course"]
        if course:
            places = sorted({round(k * (len(course) - 1) / 4) for k in range(5)})
            told = ", ".join(f"{course[k][2]:.3f} at {course[k][0]:,.0f}" for k in places)
            lines.append(f"| {record['method']} | {record['seed']} | {told} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _projections(records: Sequence[dict[str, Any]]) -> str:
    """Return where unfinished courses would lead with ten and with a hundred times the steps."""
    lines = [
        "Projections, no measurements: a power law through the course, and in brackets a logarithm, which "
        "never levels off (`benchmarks/images/projection.py`).",
        "",
        "| method | seed | "
        + " | ".join(f"bits/dim at {further} × the steps" for further in FURTHER)
        + " | published |",
        "| --- | --- | " + "--- | " * len(FURTHER) + "--- |",
    ]
    for record in records:
        flow = record["method"].split()[0]  # "NICE" of "NICE standardised"
        wanted = PUBLISHED.get((record["set"], flow))
        if wanted is None:
            continue
        found = [projection(record["course"], further * record["steps"]) for further in FURTHER]
        told = " | ".join(
            "too few looks" if p is None else f"{p.levelling:.2f} ({p.going_on:.2f})" for p in found
        )
        lines.append(f"| {record['method']} | {record['seed']} | {told} | {wanted} |")
    return "\n".join(lines) if len(lines) > 4 else ""
