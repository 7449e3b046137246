"""The end of the demo: a report of a table that has groups, and its findings in five lines.

The data are 442 people with diabetes (Efron et al., *Least angle regression*, 2004, bundled with
scikit-learn): age, sex, body mass, blood pressure, six serum measurements, and the disease a year on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

#: What the rows do not say by themselves: s3, nearly always whole, has halves too.
_KINDS: Any = {"s3": {"kind": "rounded", "lattice": 0.5}}

#: Seconds that the density may take, where the demo has no budget of its own.
_SECONDS = 15.0

_LINES = 5


def write_report(path: Path, *, seed: int, time_budget: float | None) -> Any:
    """Fit the density of 70 % of the people, report on the others by sex, write the page."""
    from diffeo.estimator import FlowDensity
    from diffeo.report import examine

    people = _people()
    order = np.random.default_rng(seed).permutation(people.height)
    held = round(0.3 * people.height)
    model = FlowDensity(time_budget=time_budget or _SECONDS, kinds=_KINDS, random_state=seed, verbose=False)
    model.fit(people[order[held:].tolist()])
    found = examine(model, people[order[:held].tolist()], group="sex", seed=seed, name="diabetes by sex")
    found.save(path)
    return found


def findings(found: Any) -> str:
    """Return the first findings that are news, a line each."""
    told = [sentence for verdict, sentence in found.summary if verdict != "told"]
    rest = [sentence for verdict, sentence in found.summary[1:] if verdict == "told"]
    return "\n".join(f"· {line}" for line in (told + rest)[:_LINES])


def _people() -> Any:
    import polars as pl
    from sklearn.datasets import load_diabetes

    bunch: Any = load_diabetes(scaled=False)
    frame = pl.DataFrame(dict(zip(bunch.feature_names, bunch.data.T, strict=True)))
    # The data do not say which of 1 and 2 is which.
    named = pl.when(pl.col("sex") == 1).then(pl.lit("sex 1")).otherwise(pl.lit("sex 2"))
    return frame.with_columns(named.alias("sex"), pl.Series("progression", bunch.target))
