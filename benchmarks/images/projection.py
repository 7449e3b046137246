"""Where a course would lead with more steps: a projection, and no measurement.

Through the held-out bits per dimension b(n) of a fit after n steps goes b∞ + c n^(−α), by least squares
over the later two thirds of its steps, but for the last tenth. The same with b = a − s log n never levels
off. Both are rough: the learning rate falls by a cosine all along, a longer fit would fall later and
deeper, and one that learns its images by heart would not get there at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: Looks that a course has at least, between the first third and the last tenth.
FEWEST = 4

#: Exponents that are tried.
EXPONENTS = np.linspace(0.05, 2.0, 40)


class Projection(NamedTuple):
    """Bits per dimension after ``steps``: where the course levels off as a power law, and where never."""

    steps: int
    levelling: float
    going_on: float


def projection(course: Sequence[Sequence[float]], steps: int) -> Projection | None:
    """Return where a course (step, seconds, bits per dimension) leads to; None where it is too short.

    >>> course = [[n, 0.0, 2 + 10 * n**-0.5] for n in range(100, 2000, 100)]
    >>> found = projection(course, 10_000)
    >>> round(found.levelling, 2), found.going_on < found.levelling
    (2.1, True)
    """
    last = course[-1][0] if course else 0
    used = [(n, bits) for n, _, bits in course if last / 3 <= n <= 0.9 * last]
    if len(used) < FEWEST:
        return None
    n, bits = np.array(used).T
    best: tuple[float, float] | None = None
    for exponent in EXPONENTS:
        design = np.stack([np.ones_like(n), n**-exponent], 1)
        weights, *_ = np.linalg.lstsq(design, bits, rcond=None)
        off = float(np.square(design @ weights - bits).sum())
        if weights[1] > 0 and (best is None or off < best[0]):
            best = off, float(weights[0] + weights[1] * steps**-exponent)
    if best is None:
        return None
    slope, start = np.polyfit(np.log(n), bits, 1)
    return Projection(steps, best[1], float(start + slope * np.log(steps)))
