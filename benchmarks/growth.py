"""How time grows with D, K and B: exponents fitted on logarithms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.figures import exponent

#: The field of a case that an axis is.
FIELDS = {"D": "features", "K": "layers", "B": "rows"}


def fitted(points: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return for each axis and library the exponent a of seconds ∝ sizeᵃ.

    Args:
        points: measured cases, each with its "axis".
    """
    return {
        axis: {name: exponent(*line) for name, line in lines(points, axis).items()}
        for axis in FIELDS
        if any(point["axis"] == axis for point in points)
    }


def lines(points: Sequence[dict[str, Any]], axis: str) -> dict[str, tuple[list[float], list[float]]]:
    """Return for each library its sizes and median seconds along an axis."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for point in points:
        if point["axis"] != axis:
            continue
        for name, result in point["results"].items():
            if "median" in result:
                sizes, seconds = found.setdefault(name, ([], []))
                sizes.append(point["case"][FIELDS[axis]])
                seconds.append(result["median"])
    return found
