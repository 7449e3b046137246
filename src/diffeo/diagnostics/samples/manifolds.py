"""Precision and recall of samples: do they lie where the data lie, and wherever the data lie?

The region that a sample fills is the union of balls around its rows, each as wide as the distance to the
row's k-th neighbour in the sample. Samples outside the data's region are bad ones (precision, density);
data outside the samples' region, or data whose ball no sample is in, are modes left out (recall, coverage).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffeo.diagnostics.samples.rows import MOST, Array, at_most, distances, two_samples
from diffeo.errors import at_least


@dataclass(frozen=True)
class PrecisionRecall:
    """How the regions of data and samples overlap.

    Attributes:
        precision: the share of samples within the data's region.
        recall: the share of data within the samples' region.
        density: in how many balls of data a sample is, over k: 1 on average where the laws are one.
        coverage: the share of data whose ball holds a sample; 1 − 2⁻ᵏ on average where the laws are one.
        errors: standard errors of these four, from the choice of the rows that are judged.
        k: the neighbour that sets a ball's radius.
        rows: rows of each sample.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    errors: tuple[float, float, float, float]
    k: int
    rows: int

    def __str__(self) -> str:
        precision, recall, density, coverage = self.errors
        return (
            f"{self.precision:.1%} ± {precision:.1%} of the samples lie among the data (density "
            f"{self.density:.2f} ± {density:.2f}), and {self.recall:.1%} ± {recall:.1%} of the data among "
            f"the samples (coverage {self.coverage:.1%} ± {coverage:.1%})."
        )


def precision_recall(
    data: Any, samples: Any, k: int = 5, *, seed: int = 0, most: int = MOST
) -> PrecisionRecall:
    """Return precision and recall, density and coverage of samples beside data.

    As many rows of each are compared, since balls shrink as rows are added. Distances are those of the rows
    as they are: columns of different units are best standardised first. One far row has a wide ball:
    precision and recall suffer from such rows of data and of samples, coverage does not.

    Args:
        data: real rows, (rows, …).
        samples: a model's.
        k: the neighbour that sets a ball's radius.
        seed: of the choice of rows.
        most: rows of each that are compared, at most.

    Raises:
        DataError: there are no more than k rows, a value is not finite, or the widths differ.

    Source: Kynkäänniemi, Karras, Laine, Lehtinen & Aila, *Improved precision and recall metric for
    assessing generative models* (2019), equations 1 and 2; Naeem, Oh, Uh, Choi & Yoo, *Reliable fidelity
    and diversity metrics for generative models* (2020), equations 3 and 4.

    >>> draws = np.random.default_rng(0)
    >>> data = np.concatenate([draws.normal(size=(200, 2)), draws.normal(size=(200, 2)) + 20])
    >>> half = precision_recall(data, draws.normal(size=(400, 2)))
    >>> half.precision > 0.9, half.recall < 0.6
    (True, True)
    """
    at_least("k", k, 1)
    at_least("seed", seed, 0)
    at_least("most", most, k + 1)
    a, b = two_samples(data, samples, ("data", "samples"), least=k + 1)
    draws = np.random.default_rng(seed)
    n = min(len(a), len(b), most)
    a, b = at_most(a, n, draws), at_most(b, n, draws)
    across = distances(a, b)
    in_data = across <= _radii(a, k)[:, None]  # (data, samples): sample j is in the ball of row i
    in_samples = across <= _radii(b, k)[None, :]
    judged = (
        in_data.any(0).astype(float),
        in_samples.any(1).astype(float),
        in_data.sum(0) / k,
        in_data.any(1).astype(float),
    )
    precision, recall, density, coverage = (float(values.mean()) for values in judged)
    errors = tuple(max(float(values.std(ddof=1)), n**-0.5) / n**0.5 for values in judged)
    return PrecisionRecall(
        precision, recall, density, coverage, (errors[0], errors[1], errors[2], errors[3]), k, n
    )


def _radii(rows: Array, k: int) -> Array:
    """Return the distance of each row to its k-th neighbour, itself not counted."""
    return np.partition(distances(rows, rows), k, axis=1)[:, k]
