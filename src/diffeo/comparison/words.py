"""A comparison in words: what its figures show, and no more than they show.

Two densities score the same rows, so their difference is paired: the spread of the rows themselves
cancels. Its error is √(s² / n + t² / S), s over n rows and t over S seeds; what is within two of it is no
difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diffeo.comparison.measuring import Beside, Entry

if TYPE_CHECKING:
    from diffeo.comparison.result import Comparison

Array = NDArray[np.float64]

#: Below this a p-value is taken as a difference.
_LEVEL = 0.01


@dataclass(frozen=True)
class _Scored:
    """A model's log p of the held-out rows, (seeds, rows)."""

    name: str
    density: str
    scores: Array

    @property
    def mean(self) -> float:
        return float(self.scores.mean())

    def ahead_of(self, other: _Scored) -> tuple[float, float]:
        """Return the mean difference and its error."""
        rows = self.scores.mean(0) - other.scores.mean(0)
        spread = rows.var(ddof=1) / len(rows)
        for scores in (self.scores, other.scores):
            if len(scores) > 1:
                spread += scores.mean(1).var(ddof=1) / len(scores)
        return float(rows.mean()), math.sqrt(spread)


def in_words(result: Comparison) -> str:
    """Return the text, a paragraph for each question."""
    parts = [
        _what(result),
        _densities(result),
        _told_apart(result),
        _modes(result),
        _copies(result),
        _limits(result),
    ]
    return "\n".join(part for part in parts if part)


def _what(result: Comparison) -> str:
    rows, seeds = result.rows, len({entry.seed for entry in result.entries})
    text = (
        f"{len(result.names)} model{'s' * (len(result.names) != 1)} of {rows.name}, {seeds} "
        f"seed{'s' * (seeds != 1)} each, fitted to {len(rows.train):,} rows and measured on "
        f"{len(rows.held):,} others."
    )
    failed = [f"{entry.model} (seed {entry.seed})" for entry in result.entries if entry.failed]
    return text + (f" Failed: {', '.join(failed)}." if failed else "")


def _densities(result: Comparison) -> str:
    scored = [found for name in result.names if (found := _scored(result.of(name))) is not None]
    impossible = [one.name for one in scored if not np.isfinite(one.scores).all()]
    exact = [one for one in scored if one.density == "exact" and one.name not in impossible]
    bounds = [one for one in scored if one.density == "lower bound" and one.name not in impossible]
    text: list[str] = []
    if exact:
        best = max(exact, key=_mean)
        text.append(_of_the_best(best, [one for one in exact if one is not best]))
        text += [_short_of_the_truth(best, result.reference)]
        text += [_bound(bound, best) for bound in bounds]
    if impossible:
        text.append(f"{_listed(impossible)} gave density 0 to some held-out rows.")
    if none := [name for name in result.names if any(entry.no_density for entry in result.of(name))]:
        has = "has" if len(none) == 1 else "have"
        text.append(f"{_listed(none)} {has} no density to compare: only the samples can be judged.")
    return " ".join(part for part in text if part)


def _of_the_best(best: _Scored, others: Sequence[_Scored]) -> str:
    if not others:
        return f"{best.name} reaches {best.mean:.3f} nats a held-out row."
    apart = {one.name: best.ahead_of(one) for one in others}
    equal = [name for name, (ahead, error) in apart.items() if ahead <= 2 * error]
    behind = {name: pair for name, pair in apart.items() if name not in equal}
    text = f"Of the exact densities {best.name} has the most held-out nats ({best.mean:.3f} a row)"
    if equal:
        text += f", not distinguishable from {_listed(equal)} (within two standard errors)"
    if behind:
        told = [f"{name} by {ahead:.3f} ± {error:.3f}" for name, (ahead, error) in behind.items()]
        text += f"; behind it {'is' if len(told) == 1 else 'are'} {_listed(told)}"
    return text + "."


def _short_of_the_truth(best: _Scored, reference: Entry) -> str:
    if reference.scores is None:
        return ""
    truth = _Scored(reference.model, "exact", reference.scores[None])
    short, error = truth.ahead_of(best)
    if short <= 2 * error:
        return f"It is not distinguishable from the exact density ({short:.3f} ± {error:.3f} nats short)."
    return f"It is {short:.3f} ± {error:.3f} nats a row short of the exact density."


def _bound(bound: _Scored, best: _Scored) -> str:
    ahead, error = bound.ahead_of(best)
    text = f"{bound.name} gives a lower bound, {bound.mean:.3f} nats a row"
    if ahead > 2 * error:
        return f"{text}, which is above {best.name}'s nats all the same, by {ahead:.3f} ± {error:.3f}."
    if ahead < -2 * error:
        return (
            f"{text}, {-ahead:.3f} ± {error:.3f} below {best.name}'s; its density itself may be higher, by "
            "how much the bound does not say."
        )
    return f"{text}, not distinguishable from {best.name}'s; its density itself may be higher."


def _told_apart(result: Comparison) -> str:
    measured = {name: _besides(result, name) for name in result.names}
    measured = {name: found for name, found in measured.items() if found}
    if not measured:
        return ""
    same = [name for name, all_ in measured.items() if all(b.classifier.p_value >= _LEVEL for b in all_)]
    text: list[str] = []
    if same:
        seeds = "for every seed" if len(measured[same[0]]) > 1 else "each"
        text.append(
            f"A classifier does not tell the samples of {_listed(same)} from held-out rows (p ≥ {_LEVEL:g} "
            f"{seeds}), which does not prove them alike."
        )
    apart = {
        name: float(np.mean([b.classifier.accuracy for b in all_]))
        for name, all_ in measured.items()
        if name not in same
    }
    if apart:
        told = [f"{name} ({share:.0%})" for name, share in sorted(apart.items(), key=_second)]
        who = "It tells" if same else "A classifier tells"
        text.append(f"{who} apart, right in so many rows where chance is 50 %: {_listed(told)}.")
    return " ".join(text)


def _modes(result: Comparison) -> str:
    """Say who leaves data out, or draws beside them, beyond what the data themselves show."""
    own = result.reference.beside
    if own is None:
        return ""
    text: list[str] = []
    for figure, place, words in (
        ("coverage", 3, "Parts of the data without samples"),
        ("recall", 1, "Data beyond the region of the samples"),
        ("precision", 0, "Samples beside the data"),
    ):
        found: list[str] = []
        for name in result.names:
            besides = _besides(result, name)
            if not besides:
                continue
            value = float(np.mean([getattr(b.regions, figure) for b in besides]))
            spread = float(np.mean([b.regions.errors[place] for b in besides]))
            least = getattr(own.regions, figure)
            if value < least - 3 * math.hypot(spread, own.regions.errors[place]):
                found.append(f"{name} ({value:.2f})")
        if found:
            text.append(
                f"{words}: {figure} is below that of {result.reference.model} "
                f"({getattr(own.regions, figure):.2f}) for {_listed(found)}."
            )
    return " ".join(text) or (
        f"No model's coverage, recall or precision is clearly below that of {result.reference.model}."
    )


def _copies(result: Comparison) -> str:
    tested: list[str] = []
    found: list[str] = []
    # As many tests as models: by chance alone one of a hundred is below the level.
    level = _LEVEL / len(result.names)
    for name in result.names:
        copies = [b.memorisation for b in _besides(result, name) if b.memorisation is not None]
        if copies:
            tested.append(name)
        if copies and float(np.median([one.p_value for one in copies])) < level:
            share = np.mean([one.share for one in copies])
            found.append(f"{name} ({share:.0%} where chance is {copies[0].expected:.0%})")
    if found:
        return f"Samples favour rows trained on as their nearest: {_listed(found)}."
    return "No model's samples were found to favour the rows it was trained on." if tested else ""


def _limits(result: Comparison) -> str:
    return (
        "These are figures of one division of these rows, of these settings, this budget and this machine."
    )


def _scored(entries: Sequence[Entry]) -> _Scored | None:
    kept = [entry for entry in entries if entry.scores is not None]
    if not kept:
        return None
    return _Scored(kept[0].model, kept[0].density, np.stack([np.asarray(e.scores) for e in kept]))


def _besides(result: Comparison, name: str) -> list[Beside]:
    return [entry.beside for entry in result.of(name) if entry.beside is not None]


def _mean(one: _Scored) -> float:
    return one.mean


def _second(pair: tuple[str, float]) -> float:
    return pair[1]


def _listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them.

    >>> _listed(["a", "b", "c"]), _listed(["a"])
    ('a, b and c', 'a')
    """
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
