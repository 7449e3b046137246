"""How often ``audit`` finds what is there, and what is not: simulated tables, most with one thing planted.

``python -m benchmarks.audit_rates --replications 200`` writes ``benchmarks/results/audit-rates.json`` and
``.md``. Replications already in the file are not done again, so that it may be ended and begun anew.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import diffeo
from diffeo.diagnostics.significance import share_interval

RESULTS = Path(__file__).parent / "results"

#: What is planted; the section and subject of the test that has to find it ("" is any); and the densities
#: inside. A "gaussian" is cheap and sees shifts only: what is cut off or turned takes a flow.
PLANTED = {
    "nothing": ("", "", "gaussian"),
    "nothing, flow": ("", "", "affine"),
    "proxy": ("proxy", "a", "gaussian"),
    "selection": ("overlap", "f", "affine"),
    "joint only": ("joint", "a, b, c", "affine"),
    "gap": ("outcome", "", "gaussian"),
    "share": ("representation", "f", "gaussian"),
    "fit": ("fit", "f", "gaussian"),
}


def table(rows: int, seed: int, planted: str = "nothing") -> pd.DataFrame:
    """Return rows of two groups, three columns and an outcome, with something planted in group f."""
    draws = np.random.default_rng([seed, list(PLANTED).index(planted)])
    f = draws.random(rows) < (0.35 if planted == "share" else 0.5)
    a = draws.normal(size=rows) + 0.8 * f * (planted == "proxy")
    noise = draws.normal(size=rows) * np.where(f & (planted == "fit"), 2.0, 1.0)
    slope = np.where(f & (planted == "joint only"), -0.6, 0.6)
    if planted == "selection":  # the high a of f are hardly ever in the table
        a = np.where(f & (a > 0.5) & (draws.random(rows) < 0.95), -np.abs(a) + 0.5, a)
    b = slope * a + 0.8 * noise
    odds = b + 0.3 * a - 1.4 * f * (planted == "gap")
    y = draws.random(rows) < 1 / (1 + np.exp(-odds))
    c = draws.choice(["x", "y", "z"], rows)
    return pd.DataFrame({"g": np.where(f, "f", "m"), "a": a, "b": b, "c": c, "y": np.where(y, "yes", "no")})


def quiet_model() -> diffeo.FlowDensity:
    """Return a model of the table in which nothing is planted."""
    return diffeo.FlowDensity("gaussian", max_steps=150, random_state=0).fit(table(3_000, seed=0))


def replicate(model: diffeo.FlowDensity, planted: str, seed: int, rows: int = 600) -> dict[str, Any]:
    """Return the findings of one audit: the model knows the quiet table only."""
    result = diffeo.audit(
        model,
        table(rows, seed + 1, planted),
        group="g",
        outcome="y",
        population={"f": 0.5, "m": 0.5},
        architecture=PLANTED[planted][2],
        max_steps=40 if PLANTED[planted][2] == "gaussian" else 150,
        permutations=999,
        random_state=seed,
    )
    return {"seed": seed, "findings": [[one.section, one.about] for one in result.findings]}


def hit(planted: str, findings: list[list[str]]) -> bool:
    """Return whether the planted thing is among the findings (of nothing: whether there are any)."""
    section, about, _ = PLANTED[planted]
    return any(section in ("", one[0]) and about in ("", one[1]) for one in findings)


def main() -> None:
    """Replicate, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replications", type=int, default=200)
    count = parser.parse_args().replications
    path = RESULTS / "audit-rates.json"
    done: dict[str, list[dict[str, Any]]] = json.loads(path.read_text()) if path.exists() else {}
    model = quiet_model()
    for seed in range(count):
        for planted in PLANTED:
            known = done.setdefault(planted, [])
            if len(known) <= seed:
                known.append(replicate(model, planted, seed))
        path.write_text(json.dumps(done) + "\n")
    (RESULTS / "audit-rates.md").write_text(page(done))
    print(page(done))


def page(done: dict[str, list[dict[str, Any]]]) -> str:
    """Return the figures as a table."""
    lines = [
        "# How often `audit` finds what is planted",
        "",
        "Tables of 600 rows in two groups, one thing planted in each (`benchmarks/audit_rates.py`); all "
        'tests of an audit are corrected together, so that "nothing" may be found in 5 % of tables at '
        "most. The last column has what a planted thing changes besides: other columns, and a model that "
        "no longer fits.",
        "",
        "| planted | replications | found | 95 % interval | something else found |",
        "| --- | --- | --- | --- | --- |",
    ]
    for planted, each in done.items():
        found = sum(hit(planted, one["findings"]) for one in each)
        low, high = share_interval(found, len(each))
        # What follows from the planted thing (its shadow in other tests) counts here too.
        other = sum(any(not hit(planted, [f]) for f in one["findings"]) for one in each)
        lines.append(
            f"| {planted} | {len(each)} | {found / len(each):.1%} | {low:.1%} to {high:.1%} | "
            f"{other / len(each):.1%} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
